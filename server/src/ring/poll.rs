//! The ring itself: one `poll` tells the kernel what is wished, and hands out what happened.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{Ordering, fence};

use io_uring::types::{CancelBuilder, Fd, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};

use super::buffers::BufferRing;
use super::connection::{Life, Slot};
use super::event::{RingEvent, RingEvents, RingStats, Turn, WakeBy};
use super::listener::{Listener, Listeners};
use super::operation::{Last, Multishot, OneShot};
use super::token::{Kind, Token};
use super::{ConnId, Connections, ListenerId, RingConfig, RingError};
use crate::runtime::{RuntimeError, patiently};

/// A shard's io_uring with its listeners, connections and receive buffers.
pub struct Ring {
    // Dropped first: the kernel lets go of the buffers before they are freed.
    uring: IoUring,
    buffers: BufferRing,
    connections: Connections,
    listeners: Listeners,
    /// Completions of receives that nobody wanted yet. At most one a buffer and a last one a
    /// connection: a receive is armed again only once they have been handled.
    put_off: VecDeque<cqueue::Entry>,
    /// Whether the last poll handed out bytes; if not, what waits for a buffer goes on waiting.
    receives: bool,
    stats: RingStats,
    config: RingConfig,
    eventfd_on: bool,
    stays: PhantomData<*const ()>,
}

impl Ring {
    /// Makes a ring whose completions ring `doorbell` while the shard sleeps by it.
    ///
    /// Call it inside the shard's executor: only the thread that makes a ring may use it.
    ///
    /// # Errors
    /// [`RingError::Config`] for a size that breaks its rule, [`RingError::Setup`] for what this
    /// machine does not give.
    pub fn new(config: RingConfig, doorbell: impl AsFd) -> Result<Self, RingError> {
        config.check()?;
        let uring = patiently(|| builder(config.completions).build(config.submissions))
            .map_err(|source| RuntimeError::from_setup("io_uring_setup", source))?;
        let buffers = BufferRing::new(&uring.submitter(), config.buffers, config.buffer_bytes)?;
        uring
            .submitter()
            .register_eventfd(doorbell.as_fd().as_raw_fd())
            .map_err(|source| RuntimeError::from_setup("registration of the eventfd", source))?;
        let mut ring = Self {
            uring,
            buffers,
            connections: Connections::new(config.connections_max),
            listeners: Listeners::new(&config),
            put_off: VecDeque::with_capacity(config.buffers.into()),
            receives: true,
            stats: RingStats::default(),
            config,
            eventfd_on: true,
            stays: PhantomData,
        };
        ring.listen_to_eventfd(false);
        Ok(ring)
    }

    /// Accepts from `socket`, which listens already, from the next poll on.
    ///
    /// # Errors
    /// [`RingError::ListenersFull`] beyond `listeners_max`.
    pub fn add_listener(&mut self, socket: impl Into<OwnedFd>) -> Result<ListenerId, RingError> {
        self.listeners.add(socket.into())
    }

    /// Stops accepting and closes the listening socket as soon as the kernel lets go of it.
    /// Sockets accepted before that are still handed out.
    pub fn remove_listener(&mut self, listener: ListenerId) {
        self.listeners.remove(listener);
    }

    /// Takes in a connected socket that was not accepted here. `None` when the table is full.
    pub fn adopt(&mut self, socket: impl Into<OwnedFd>) -> Option<ConnId> {
        self.connections.insert(socket.into()).ok()
    }

    /// Submits what is wished and hands out what has completed, up to the limits of one turn.
    ///
    /// Makes no system call when nothing is wished and the kernel has nothing to say.
    ///
    /// # Errors
    /// [`RingError::Enter`] when the kernel refuses the ring itself; the shard cannot go on.
    pub fn poll(&mut self, consumer: &mut impl RingEvents) -> Result<Turn, RingError> {
        self.poll_for(consumer, true)
    }

    /// As [`Ring::poll`], but hands out no bytes and no end of a stream: they come with the next
    /// `poll`. Once all buffers are full the kernel takes no more from the peers.
    ///
    /// # Errors
    /// As [`Ring::poll`].
    pub fn poll_without_receiving(
        &mut self,
        consumer: &mut impl RingEvents,
    ) -> Result<Turn, RingError> {
        self.poll_for(consumer, false)
    }

    fn poll_for(
        &mut self,
        consumer: &mut impl RingEvents,
        receives: bool,
    ) -> Result<Turn, RingError> {
        self.listen_to_eventfd(false);
        self.receives = receives;
        if receives {
            // Re-arming all at once makes each of them find no buffer again: millions of ENOBUFS
            // a second. Half of the buffers leaves room for those that are armed already.
            self.connections.feed(usize::from(self.buffers.count() / 2));
        }
        self.submit_wishes()?;
        let mut turn = Turn::default();
        let bytes_max = self.config.bytes_per_turn_max;
        while receives && turn.received_bytes < bytes_max {
            let Some(completion) = self.put_off.pop_front() else { break };
            self.complete(&completion, consumer, &mut turn);
        }
        while turn.received_bytes < bytes_max {
            let Some(completion) = self.uring.completion().next() else { break };
            turn.completions += 1;
            if !receives && is_receive(&completion) {
                self.put_off.push_back(completion);
            } else {
                self.complete(&completion, consumer, &mut turn);
            }
        }
        self.hand_out_accepted(consumer, &mut turn);
        turn.more = self.has_work() || receives && self.has_put_off();
        Ok(turn)
    }

    /// Whether [`Ring::poll_without_receiving`] has left something for [`Ring::poll`]: bytes, or
    /// connections that wait for a buffer.
    #[must_use]
    pub fn has_put_off(&self) -> bool {
        !self.put_off.is_empty() || !self.receives && self.connections.has_starved()
    }

    /// Submits what is left, then says whether the shard may sleep until `wake`.
    ///
    /// With [`WakeBy::Doorbell`], completions ring the doorbell from now until the next poll, and
    /// `false` means that there is work already: poll again. With [`WakeBy::Timer`] they are
    /// silent, and the answer only says whether the next poll is sure to find work.
    ///
    /// # Errors
    /// As [`Ring::poll`].
    pub fn prepare_sleep(&mut self, wake: WakeBy) -> Result<bool, RingError> {
        self.submit_wishes()?;
        self.listen_to_eventfd(wake == WakeBy::Doorbell);
        // The kernel publishes a completion, then looks at the eventfd flag; we have set the
        // flag and look for completions next. With a full fence between, one of us sees it.
        fence(Ordering::SeqCst);
        Ok(!self.has_work())
    }

    /// The connections, to answer outside of a callback.
    pub fn connections_mut(&mut self) -> &mut Connections {
        &mut self.connections
    }

    /// The connections, to look at.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Counters since the ring was made.
    pub fn stats(&self) -> RingStats {
        self.stats
    }

    fn has_work(&mut self) -> bool {
        let completed = !self.uring.completion().is_empty();
        let submissions = self.uring.submission();
        let waiting = !submissions.is_empty() || submissions.taskrun() || submissions.cq_overflow();
        drop(submissions);
        let wishes = self.connections.has_wishes();
        let starved = self.receives && self.connections.has_starved();
        completed || waiting || wishes || starved || self.listeners.has_work()
    }

    fn submit_wishes(&mut self) -> Result<(), RingError> {
        for (index, listener) in self.listeners.wishes() {
            if !make_room(&mut self.uring, &mut self.stats)? {
                return Ok(());
            }
            submit_listener(&mut self.uring.submission(), index, listener);
        }
        while self.connections.has_wishes() {
            if !make_room(&mut self.uring, &mut self.stats)? {
                return Ok(());
            }
            let Some((index, slot)) = self.connections.next_wish() else { break };
            submit_connection(&mut self.uring.submission(), index, slot);
        }
        let submissions = self.uring.submission();
        let idle = submissions.is_empty() && !submissions.taskrun() && !submissions.cq_overflow();
        drop(submissions);
        if idle { Ok(()) } else { enter(&mut self.uring, &mut self.stats) }
    }

    fn complete(
        &mut self,
        completion: &cqueue::Entry,
        consumer: &mut impl RingEvents,
        turn: &mut Turn,
    ) {
        let Some(token) = Token::decode(completion.user_data()) else {
            self.stats.stray += 1;
            return;
        };
        let listener = ListenerId(token.index);
        match token.kind {
            Kind::Receive => self.on_receive(token, completion, consumer, turn),
            Kind::Write => self.on_write(token, consumer),
            // Its target completes by itself, cancelled or not.
            Kind::Cancel => {}
            Kind::Accept => self.on_accept(listener, completion, consumer),
            Kind::AcceptRetry => self.listeners.retry_ended(listener),
        }
    }

    fn on_receive(
        &mut self,
        token: Token,
        completion: &cqueue::Entry,
        consumer: &mut impl RingEvents,
        turn: &mut Turn,
    ) {
        let (result, flags) = (completion.result(), completion.flags());
        let conn = ConnId { index: token.index, generation: token.generation };
        if let Some(buffer) = cqueue::buffer_select(flags) {
            if let Ok(len) = usize::try_from(result)
                && len > 0
                && self.connections.is_open(conn)
            {
                turn.received_bytes += len;
                self.stats.received_bytes += len as u64;
                self.stats.receives += 1;
                let bytes = self.buffers.received(buffer, len);
                consumer.on_event(&mut self.connections, RingEvent::Received { conn, bytes });
            }
            self.buffers.recycle(buffer);
        }
        if cqueue::more(flags) {
            return;
        }
        if self.connections.holder(conn).is_none() {
            self.stats.stray += 1;
            return;
        }
        let why = last_receive(result);
        self.stats.starved += u64::from(why == Last::Starved);
        self.connections.receive_ended(conn.index, why);
        if why == Last::Over && self.connections.is_open(conn) {
            if result == 0 {
                consumer.on_event(&mut self.connections, RingEvent::HalfClosed { conn });
            } else {
                let event = RingEvent::Closed { conn, errno: -result };
                consumer.on_event(&mut self.connections, event);
                self.connections.close(conn);
            }
        }
    }

    fn on_write(&mut self, token: Token, consumer: &mut impl RingEvents) {
        let conn = ConnId { index: token.index, generation: token.generation };
        if self.connections.holder(conn).is_none() {
            self.stats.stray += 1;
            return;
        }
        self.connections.write_ended(conn.index);
        if self.connections.is_open(conn) {
            consumer.on_event(&mut self.connections, RingEvent::Writable { conn });
        }
    }

    fn on_accept(
        &mut self,
        listener: ListenerId,
        completion: &cqueue::Entry,
        consumer: &mut impl RingEvents,
    ) {
        let result = completion.result();
        if result >= 0 {
            // SAFETY: a successful accept hands over a new descriptor that nobody else owns.
            let socket = unsafe { OwnedFd::from_raw_fd(result) };
            self.stats.accepted += 1;
            if self.listeners.accepted(listener, socket).is_err() {
                self.turn_away(listener, consumer);
            }
        }
        if cqueue::more(completion.flags()) {
            return;
        }
        let why = last_accept(result);
        let retry_ms = self.listeners.accept_ended(listener, why);
        if result < 0 && result != -libc::ECANCELED {
            self.stats.accept_failures += 1;
            let event = RingEvent::AcceptFailed { listener, errno: -result, retry_ms };
            consumer.on_event(&mut self.connections, event);
        }
    }

    fn hand_out_accepted(&mut self, consumer: &mut impl RingEvents, turn: &mut Turn) {
        for _ in 0..self.config.accepts_per_turn_max {
            let Some((listener, socket)) = self.listeners.next_accepted() else { return };
            match self.connections.insert(socket) {
                Ok(conn) => {
                    turn.accepted += 1;
                    let event = RingEvent::Accepted { listener, conn };
                    consumer.on_event(&mut self.connections, event);
                }
                Err(_closed_here) => self.turn_away(listener, consumer),
            }
        }
    }

    fn turn_away(&mut self, listener: ListenerId, consumer: &mut impl RingEvents) {
        self.stats.turned_away += 1;
        consumer.on_event(&mut self.connections, RingEvent::TurnedAway { listener });
    }

    fn listen_to_eventfd(&mut self, on: bool) {
        if self.eventfd_on == on {
            return;
        }
        self.eventfd_on = on;
        let completions = self.uring.completion();
        if on {
            completions.enable_eventfd();
        } else {
            completions.disable_eventfd();
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Every operation has ended before the buffers are freed. Finding nothing to cancel, or
        // an operation that takes longer, leaves the rest to the kernel's own teardown, which
        // receives nothing any more.
        let _ = self
            .uring
            .submitter()
            .register_sync_cancel(Some(Timespec::new().sec(1)), CancelBuilder::any());
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Ring")
            .field("open", &self.connections.open())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// The flags every ring of ours is made with; needs Linux 6.1.
pub(crate) fn builder(completions: u32) -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(completions)
        .dontfork();
    builder
}

fn is_receive(completion: &cqueue::Entry) -> bool {
    Token::decode(completion.user_data()).is_some_and(|token| token.kind == Kind::Receive)
}

fn last_receive(result: i32) -> Last {
    match -result {
        0 => Last::Over,
        libc::ENOBUFS => Last::Starved,
        libc::EINTR | libc::EAGAIN | libc::ECANCELED => Last::Again,
        _ if result > 0 => Last::Again,
        _ => Last::Over,
    }
}

fn last_accept(result: i32) -> Last {
    match -result {
        _ if result >= 0 => Last::Again,
        libc::EINTR
        | libc::EAGAIN
        | libc::ECANCELED
        | libc::ECONNABORTED
        | libc::EPROTO
        | libc::EPERM
        | libc::ENETDOWN
        | libc::ENETUNREACH
        | libc::EHOSTDOWN
        | libc::EHOSTUNREACH => Last::Again,
        // EMFILE, ENFILE, ENOMEM, ENOBUFS, and whatever else would fail again at once.
        _ => Last::Starved,
    }
}

fn submit_listener(queue: &mut squeue::SubmissionQueue<'_>, index: u32, listener: &mut Listener) {
    let token = |kind| Token { kind, index, generation: 0 }.encode();
    match listener.accept {
        Multishot::Wanted => {
            let fd = listener.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            let accept = opcode::AcceptMulti::new(Fd(fd)).flags(libc::SOCK_CLOEXEC).build();
            push(queue, &accept.user_data(token(Kind::Accept)));
        }
        Multishot::StopWanted => push(queue, &cancel(token(Kind::Accept), token(Kind::Cancel))),
        Multishot::Paused
        | Multishot::Starved
        | Multishot::Armed
        | Multishot::Stopping
        | Multishot::Restarting
        | Multishot::Ended => {}
    }
    listener.accept = listener.accept.submitted();
    if listener.retry == OneShot::Wanted {
        let pause = opcode::Timeout::new(&raw const *listener.pause).build();
        push(queue, &pause.user_data(token(Kind::AcceptRetry)));
        listener.retry = listener.retry.submitted();
    }
}

fn submit_connection(queue: &mut squeue::SubmissionQueue<'_>, index: u32, slot: &mut Slot) {
    let token = |kind| Token { kind, index, generation: slot.generation }.encode();
    let fd: RawFd = slot.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd);
    debug_assert!(slot.life != Life::Free, "a wish of nobody");
    match slot.receive {
        Multishot::Wanted => {
            let receive = opcode::RecvMulti::new(Fd(fd), BufferRing::GROUP).build();
            push(queue, &receive.user_data(token(Kind::Receive)));
        }
        Multishot::StopWanted => push(queue, &cancel(token(Kind::Receive), token(Kind::Cancel))),
        Multishot::Paused
        | Multishot::Starved
        | Multishot::Armed
        | Multishot::Stopping
        | Multishot::Restarting
        | Multishot::Ended => {}
    }
    match slot.write {
        OneShot::Wanted => {
            let watch = opcode::PollAdd::new(Fd(fd), WRITABLE).build();
            push(queue, &watch.user_data(token(Kind::Write)));
        }
        OneShot::StopWanted => push(queue, &cancel(token(Kind::Write), token(Kind::Cancel))),
        OneShot::Idle | OneShot::Armed | OneShot::Stopping => {}
    }
    slot.receive = slot.receive.submitted();
    slot.write = slot.write.submitted();
}

fn cancel(target: u64, token: u64) -> squeue::Entry {
    opcode::AsyncCancel::new(target).build().user_data(token).flags(squeue::Flags::SKIP_SUCCESS)
}

fn push(queue: &mut squeue::SubmissionQueue<'_>, entry: &squeue::Entry) {
    // SAFETY: the entry names a descriptor that its slot keeps open while the operation is held,
    // and no memory but the buffer group, a boxed timespec and the buffer of the file write, which
    // all outlive the operation.
    let pushed = unsafe { queue.push(entry) };
    assert!(pushed.is_ok(), "make_room left room for one slot's wishes");
}

/// Makes room for the most that one slot submits: two entries. `false` when the kernel takes
/// nothing until completions are read; the wishes then wait for the next turn.
fn make_room(uring: &mut IoUring, stats: &mut RingStats) -> Result<bool, RingError> {
    if has_room(uring) {
        return Ok(true);
    }
    enter(uring, stats)?;
    Ok(has_room(uring))
}

fn has_room(uring: &mut IoUring) -> bool {
    let queue = uring.submission();
    queue.capacity() - queue.len() >= 2
}

/// Submits what is queued and lets the kernel run what it deferred, without waiting.
fn enter(uring: &mut IoUring, stats: &mut RingStats) -> Result<(), RingError> {
    stats.enters += 1;
    let queued = u32::try_from(uring.submission().len()).unwrap_or(u32::MAX);
    // SAFETY: no argument struct is passed; every queued entry was checked when it was pushed.
    // Deferred work runs only in a call with GETEVENTS, so it is always asked for.
    let entered = unsafe {
        uring.submitter().enter::<libc::sigset_t>(queued, 0, EnterFlags::GETEVENTS.bits(), None)
    };
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            // Interrupted, or the completion queue must be read first: the next turn goes on.
            Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
            _ => Err(RingError::Enter(error)),
        },
    }
}

/// POLLOUT as the kernel's 32-bit event mask.
const WRITABLE: u32 = libc::POLLOUT.unsigned_abs() as u32;
