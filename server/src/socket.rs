//! Listening sockets: made here, handed to a ring.
//!
//! Owns: how an address is bound, and the message when it cannot be. Never touches: accepting.
//!
//! ```text
//!   listen_shared(addr, 3)   socket 0: bind alone ── then SO_REUSEPORT ── listen
//!                            socket 1, 2:         SO_REUSEPORT ── bind ── listen
//! ```
//!
//! Invariants:
//! - The first socket is bound without SO_REUSEPORT, so a port of another process is in use for
//!   us too, even if that process shares its port: two servers never split their clients.
//! - A port that a killed server's ring still holds is waited for, a second at most.
//! - TCP_NODELAY is set on the listener; accepted sockets inherit it and cost no extra call.

use std::io;
use std::net::SocketAddr;

use crate::runtime::patiently;
use socket2::{Domain, Protocol, Socket, Type};

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody listens there already.
    #[error(
        "cannot listen on {address}: another process already uses port {}; stop it, or choose \
         another port with {setting} (see who: ss -ltnp sport = :{})",
        address.port(), address.port()
    )]
    PortInUse {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        setting: &'static str,
    },

    /// The address is not one of this machine's.
    #[error(
        "cannot listen on {address}: this machine has no such address; correct {setting} (its \
         addresses: ip addr)"
    )]
    NoSuchAddress {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        setting: &'static str,
    },

    /// The port is reserved for privileged processes.
    #[error(
        "cannot listen on {address}: this process may not use port {}; choose one from 1024 on \
         with {setting}, or give it CAP_NET_BIND_SERVICE",
        address.port()
    )]
    NotAllowed {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        setting: &'static str,
    },

    /// Anything else, with the step that failed.
    #[error("cannot listen on {address} ({setting}): {step}: {source}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        setting: &'static str,
        /// The step.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// One listening socket on `address`; port 0 lets the kernel choose. `setting` is the flag that
/// set the address, for the message.
///
/// # Errors
/// [`SocketError`], which says what to change.
pub fn listen(address: SocketAddr, setting: &'static str) -> Result<Socket, SocketError> {
    let failed = Failure { address, setting };
    let socket = failed.at("socket", open(address))?;
    failed.at("bind", patiently(|| socket.bind(&address.into())))?;
    failed.at("listen", socket.listen(BACKLOG))?;
    Ok(socket)
}

/// `count` listening sockets on one address, between which the kernel spreads the connections.
/// All of them get the port of the first when `address` names port 0.
///
/// # Errors
/// [`SocketError`], which says what to change.
pub fn listen_shared(
    address: SocketAddr,
    count: usize,
    setting: &'static str,
) -> Result<Vec<Socket>, SocketError> {
    let failed = Failure { address, setting };
    let mut sockets = Vec::with_capacity(count);
    let mut shared = address;
    for index in 0..count {
        let socket = failed.at("socket", open(address))?;
        if index == 0 {
            // Alone at first: a port that anybody else has refuses this bind.
            failed.at("bind", patiently(|| socket.bind(&address.into())))?;
            failed.at("SO_REUSEPORT", socket.set_reuse_port(true))?;
            shared = failed.at("local address", local_address(&socket))?;
        } else {
            failed.at("SO_REUSEPORT", socket.set_reuse_port(true))?;
            failed.at("bind", socket.bind(&shared.into()))?;
        }
        failed.at("listen", socket.listen(BACKLOG))?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// The address a socket is bound to.
///
/// # Errors
/// When the kernel does not say, or it is not an IP address.
pub fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "not an IP address"))
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        // An IPv6 address means itself, not IPv4 as well: what is listed is what is open.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

struct Failure {
    address: SocketAddr,
    setting: &'static str,
}

impl Failure {
    fn at<T>(&self, step: &'static str, result: io::Result<T>) -> Result<T, SocketError> {
        let Self { address, setting } = *self;
        result.map_err(|source| match source.raw_os_error() {
            Some(libc::EADDRINUSE) => SocketError::PortInUse { address, setting },
            Some(libc::EADDRNOTAVAIL) => SocketError::NoSuchAddress { address, setting },
            Some(libc::EACCES) => SocketError::NotAllowed { address, setting },
            _ => SocketError::Other { address, setting, step, source },
        })
    }
}

/// Connections that wait in the kernel; capped by net.core.somaxconn (4096 by default).
const BACKLOG: i32 = 4_096;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const ANY: &str = "127.0.0.1:0";

    fn any() -> SocketAddr {
        ANY.parse().unwrap()
    }

    #[test]
    fn refuses_a_port_that_another_listener_has() {
        let other = TcpListener::bind(ANY).unwrap();
        let taken = other.local_addr().unwrap();
        for result in
            [listen_shared(taken, 2, "--listen").map(|_| ()), listen(taken, "--listen").map(|_| ())]
        {
            let error = result.unwrap_err();
            assert!(matches!(error, SocketError::PortInUse { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(&taken.to_string()) && text.contains("--listen"), "{text}");
        }
    }

    #[test]
    fn refuses_a_port_that_another_server_shares_between_its_shards() {
        let first = listen_shared(any(), 3, "--listen").unwrap();
        let taken = local_address(&first[0]).unwrap();
        assert!(first.iter().all(|socket| local_address(socket).unwrap() == taken));
        let error = listen_shared(taken, 3, "--listen").unwrap_err();
        assert!(matches!(error, SocketError::PortInUse { .. }), "{error}");
        drop(first);
        listen_shared(taken, 3, "--listen").unwrap();
    }

    #[test]
    fn says_when_the_address_is_not_ours_or_not_allowed() {
        let error = listen("192.0.2.1:0".parse().unwrap(), "--listen").unwrap_err();
        assert!(matches!(error, SocketError::NoSuchAddress { .. }), "{error}");
    }

    #[test]
    fn spreads_connections_and_accepted_sockets_inherit_nodelay() {
        let sockets = listen_shared(any(), 2, "--listen").unwrap();
        let address = local_address(&sockets[0]).unwrap();
        let clients: Vec<_> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut accepted = [0, 0];
        for (index, socket) in sockets.iter().enumerate() {
            socket.set_nonblocking(true).unwrap();
            while let Ok((peer, _)) = socket.accept() {
                assert!(peer.tcp_nodelay().unwrap());
                accepted[index] += 1;
            }
        }
        assert_eq!(accepted[0] + accepted[1], clients.len());
        assert!(accepted.iter().all(|&count| count > 0), "{accepted:?}");
    }
}
