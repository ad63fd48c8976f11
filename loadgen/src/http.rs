//! One request at a time to the server's HTTP side.

use crate::limits::{GET_MS_MAX, PUT_MS_MAX, REPLY_BYTES_MAX};
use anyhow::{Context as _, bail};
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// Status and body of `GET path`.
pub(crate) fn get(address: &str, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    request(address, "GET", path, b"", GET_MS_MAX)
}

/// Status and body of `PUT path`.
pub(crate) fn put(address: &str, path: &str, body: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
    request(address, "PUT", path, body, PUT_MS_MAX)
}

fn request(
    address: &str,
    method: &str,
    path: &str,
    body: &[u8],
    ms_max: u64,
) -> anyhow::Result<(u16, Vec<u8>)> {
    let timeout = Duration::from_millis(ms_max);
    let target = address
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .with_context(|| format!("--http {address:?} is not host:port"))?;
    let mut stream = TcpStream::connect_timeout(&target, timeout)
        .with_context(|| format!("no HTTP at {address}; start trendsrv there, or use --spawn"))?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    // A body that is refused is answered before all of it is read: the answer tells.
    let sent = stream.write_all(body);
    let mut reply = Vec::new();
    let read = stream.take(REPLY_BYTES_MAX).read_to_end(&mut reply);
    if reply.is_empty() {
        sent.and(read.map(drop)).context("reading the HTTP reply")?;
    }
    parse(&reply).with_context(|| format!("reply to {method} http://{address}{path}"))
}

fn parse(reply: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
    let end = reply.windows(4).position(|w| w == b"\r\n\r\n").context("no end of headers")?;
    let (head, body) = (std::str::from_utf8(&reply[..end])?, &reply[end + 4..]);
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok((status, if chunked { unchunk(body)? } else { body.to_vec() }))
}

fn unchunk(mut body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|w| w == b"\r\n").context("chunk without size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end])?.trim(), 16)?;
        let rest = &body[end + 2..];
        if size == 0 {
            return Ok(whole);
        }
        let Some((chunk, next)) = rest.split_at_checked(size) else { bail!("chunk is cut") };
        whole.extend_from_slice(chunk);
        body = next.strip_prefix(b"\r\n").context("chunk without end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_chunked_bodies_are_read() {
        let plain = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(parse(plain).unwrap(), (200, b"ok".to_vec()));
        let chunked = b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap(), (503, b"abc".to_vec()));
        assert!(parse(b"nonsense").is_err());
    }
}
