//! The table of one shard's connections, and what may be asked of them from inside a callback.
//!
//! Owns the descriptors and the wishes (arm, cancel, watch); never submits anything itself, so it
//! can be lent to the consumer while completions are being handed out.
//!
//! Invariants:
//! - A slot is in the wish queue at most once, and in the starved queue at most once, whichever
//!   connections have had it: both queues are bounded by the table.
//! - A slot becomes free only when the kernel holds neither of its operations.

use std::collections::VecDeque;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::SockRef;

use super::connection::{ConnId, Life, Slot};
use super::operation::{Last, Multishot, OneShot};

/// The connections of one ring.
#[derive(Debug)]
pub struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
    wishes: VecDeque<u32>,
    starved: VecDeque<u32>,
    open: u32,
    open_high: u32,
}

/// What became of bytes given to [`Connections::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// The kernel took this many of them, at least one; keep the rest and ask for `Writable`.
    Sent(usize),
    /// The socket's buffer is full: ask for `Writable`.
    WouldBlock,
    /// The connection is broken (the error number); close it.
    Broken(i32),
    /// No such connection is open.
    Unknown,
}

impl Connections {
    pub(super) fn new(connections_max: u32) -> Self {
        let capacity = connections_max as usize;
        Self {
            slots: (0..connections_max).map(|_| Slot::empty()).collect(),
            free: (0..connections_max).rev().collect(),
            wishes: VecDeque::with_capacity(capacity),
            starved: VecDeque::with_capacity(capacity),
            open: 0,
            open_high: 0,
        }
    }

    /// Sends what fits into the socket's buffer right now, without waiting.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) -> SendOutcome {
        let Some(socket) = self.socket(conn) else { return SendOutcome::Unknown };
        if bytes.is_empty() {
            return SendOutcome::Sent(0);
        }
        let socket = SockRef::from(&socket);
        loop {
            match socket.send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) {
                Ok(count) => return SendOutcome::Sent(count),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::ENOBUFS) => return SendOutcome::WouldBlock,
                    errno => return SendOutcome::Broken(errno.unwrap_or(libc::EIO)),
                },
            }
        }
    }

    /// Asks for one `Writable` as soon as the socket takes bytes again.
    pub fn want_writable(&mut self, conn: ConnId) {
        if let Some(slot) = self.open_slot(conn) {
            slot.write = slot.write.want();
            self.wish(conn.index);
        }
    }

    /// Stops receiving from a peer that must wait. What its completions already hold still
    /// arrives (at most all buffers of the ring).
    pub fn pause(&mut self, conn: ConnId) {
        if let Some(slot) = self.open_slot(conn) {
            slot.receive = slot.receive.pause();
            self.wish(conn.index);
        }
    }

    /// Receives again after a pause.
    pub fn resume(&mut self, conn: ConnId) {
        if let Some(slot) = self.open_slot(conn) {
            slot.receive = slot.receive.resume();
            self.wish(conn.index);
        }
    }

    /// Tells the peer that nothing more will be sent; receiving goes on.
    ///
    /// To end a connection with a last message that surely arrives: send it, call this, ignore
    /// what is received until `HalfClosed`, then close. Closing with unread bytes resets the
    /// connection, which can destroy the message on its way.
    pub fn shutdown_write(&mut self, conn: ConnId) {
        if let Some(socket) = self.socket(conn) {
            // A socket that is not connected any more says so through its receive.
            let _ = SockRef::from(&socket).shutdown(Shutdown::Write);
        }
    }

    /// Ends a connection: no event of it follows, and its id is never valid again.
    pub fn close(&mut self, conn: ConnId) {
        let Some(slot) = self.open_slot(conn) else { return };
        slot.life = Life::Closing;
        slot.receive = slot.receive.pause();
        slot.write = slot.write.stop();
        self.open -= 1;
        self.settle(conn.index);
    }

    /// The socket, for its addresses and options. `None` once closed.
    pub fn socket(&self, conn: ConnId) -> Option<BorrowedFd<'_>> {
        let slot = self.slots.get(conn.index as usize)?;
        if slot.generation != conn.generation || slot.life != Life::Open {
            return None;
        }
        slot.socket.as_ref().map(AsFd::as_fd)
    }

    /// Whether `conn` is open.
    pub fn is_open(&self, conn: ConnId) -> bool {
        self.socket(conn).is_some()
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.open as usize
    }

    /// The most connections that were ever open at a time.
    pub fn open_high(&self) -> usize {
        self.open_high as usize
    }

    /// How many connections the table holds.
    pub fn connections_max(&self) -> usize {
        self.slots.len()
    }

    /// How many slots are in use, those still being closed included.
    pub fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a connection in, to be received from at once; gives the socket back if full.
    pub(super) fn insert(&mut self, socket: OwnedFd) -> Result<ConnId, OwnedFd> {
        let Some(index) = self.free.pop() else { return Err(socket) };
        let slot = &mut self.slots[index as usize];
        assert_eq!(slot.life, Life::Free, "a free list entry in use");
        slot.socket = Some(socket);
        slot.life = Life::Open;
        slot.receive = Multishot::Wanted;
        slot.write = OneShot::Idle;
        let conn = ConnId { index, generation: slot.generation };
        self.open += 1;
        self.open_high = self.open_high.max(self.open);
        self.wish(index);
        Ok(conn)
    }

    /// The slot a completion belongs to, if it is still that connection's.
    pub(super) fn holder(&self, conn: ConnId) -> Option<&Slot> {
        self.slots
            .get(conn.index as usize)
            .filter(|slot| slot.generation == conn.generation && slot.life != Life::Free)
    }

    /// The kernel has let go of the receive of `index`.
    pub(super) fn receive_ended(&mut self, index: u32, why: Last) {
        let slot = &mut self.slots[index as usize];
        slot.receive = slot.receive.last(why);
        self.settle(index);
    }

    /// The kernel has let go of the poll of `index`.
    pub(super) fn write_ended(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.write = slot.write.last();
        self.settle(index);
    }

    /// Lets up to `count` of those that found no buffer try again, longest waiting first.
    pub(super) fn feed(&mut self, count: usize) {
        for _ in 0..count {
            let Some(index) = self.starved.pop_front() else { return };
            let slot = &mut self.slots[index as usize];
            slot.starving = false;
            slot.receive = slot.receive.fed();
            self.wish(index);
        }
    }

    /// The next slot with something to tell the kernel.
    pub(super) fn next_wish(&mut self) -> Option<(u32, &mut Slot)> {
        loop {
            let index = self.wishes.pop_front()?;
            self.slots[index as usize].queued = false;
            if self.slots[index as usize].has_wish() {
                return Some((index, &mut self.slots[index as usize]));
            }
        }
    }

    /// Whether anything waits to be submitted; some of it may have been taken back since.
    pub(super) fn has_wishes(&self) -> bool {
        !self.wishes.is_empty()
    }

    /// Whether receives wait for a buffer.
    pub(super) fn has_starved(&self) -> bool {
        !self.starved.is_empty()
    }

    /// After any change of `index`: queue its wishes, or free it if it is closing and let go.
    fn settle(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.life == Life::Closing {
            slot.receive = slot.receive.pause();
            if !slot.held() {
                slot.socket = None;
                slot.life = Life::Free;
                slot.generation = slot.generation.wrapping_add(1);
                self.free.push(index);
                return;
            }
        }
        self.wish(index);
    }

    fn wish(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if slot.has_wish() && !slot.queued {
            slot.queued = true;
            self.wishes.push_back(index);
        }
        if slot.receive == Multishot::Starved && !slot.starving {
            slot.starving = true;
            self.starved.push_back(index);
        }
    }

    fn open_slot(&mut self, conn: ConnId) -> Option<&mut Slot> {
        self.slots
            .get_mut(conn.index as usize)
            .filter(|slot| slot.generation == conn.generation && slot.life == Life::Open)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn socket() -> OwnedFd {
        UnixStream::pair().unwrap().0.into()
    }

    /// Pretends to submit every wish, and returns the slots told.
    fn submit(table: &mut Connections) -> Vec<u32> {
        let mut told = Vec::new();
        while let Some((index, slot)) = table.next_wish() {
            slot.receive = slot.receive.submitted();
            slot.write = slot.write.submitted();
            told.push(index);
        }
        told
    }

    #[test]
    fn refuses_when_full_and_gives_the_socket_back() {
        let mut table = Connections::new(2);
        table.insert(socket()).unwrap();
        table.insert(socket()).unwrap();
        assert!(table.insert(socket()).is_err());
        assert_eq!((table.open(), table.used()), (2, 2));
    }

    #[test]
    fn a_slot_is_reused_only_after_the_kernel_let_go() {
        let mut table = Connections::new(1);
        let first = table.insert(socket()).unwrap();
        assert_eq!(submit(&mut table), [0]);
        table.close(first);
        assert!(!table.is_open(first));
        assert!(table.insert(socket()).is_err(), "the kernel still holds the receive");
        assert_eq!(submit(&mut table), [0]);
        table.receive_ended(0, Last::Again);
        let second = table.insert(socket()).unwrap();
        assert_eq!(second.index(), first.index());
        assert_ne!(second.generation(), first.generation());
        assert!(table.holder(first).is_none());
        assert_eq!(table.send(first, b"late"), SendOutcome::Unknown);
        table.close(first);
        assert!(table.is_open(second), "an old id closes nothing");
    }

    #[test]
    fn closes_at_once_when_the_kernel_holds_nothing() {
        let mut table = Connections::new(1);
        for _ in 0..3 {
            let conn = table.insert(socket()).unwrap();
            table.close(conn);
            assert_eq!(table.used(), 0);
        }
        assert!(submit(&mut table).is_empty());
        assert!(table.wishes.len() <= 1 && table.starved.is_empty());
    }

    #[test]
    fn queues_stay_within_the_table_however_slots_are_reused() {
        let mut table = Connections::new(2);
        for _ in 0..100 {
            let conn = table.insert(socket()).unwrap();
            submit(&mut table);
            table.receive_ended(conn.index, Last::Starved);
            table.pause(conn);
            table.resume(conn);
            table.close(conn);
        }
        assert!(table.wishes.len() <= 2, "{}", table.wishes.len());
        assert!(table.starved.len() <= 2, "{}", table.starved.len());
    }

    #[test]
    fn feeds_the_longest_waiting_first_and_no_more_than_told() {
        let mut table = Connections::new(4);
        for _ in 0..4 {
            table.insert(socket()).unwrap();
        }
        submit(&mut table);
        for index in [2, 0, 3, 1] {
            table.receive_ended(index, Last::Starved);
        }
        assert!(submit(&mut table).is_empty());
        table.feed(3);
        assert_eq!(submit(&mut table), [2, 0, 3]);
        assert!(table.has_starved());
        table.feed(3);
        assert_eq!(submit(&mut table), [1]);
        assert!(!table.has_starved());
    }

    #[test]
    fn a_pause_before_submission_tells_the_kernel_nothing() {
        let mut table = Connections::new(1);
        let conn = table.insert(socket()).unwrap();
        table.pause(conn);
        assert!(submit(&mut table).is_empty());
        table.resume(conn);
        assert_eq!(submit(&mut table), [0]);
    }
}
