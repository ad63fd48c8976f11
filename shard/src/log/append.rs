//! The shard's side of its log: what is appended when, and what there is no room for.

use super::writer::{LogSpace, LogStart, Writer, fits};
use crate::effect::{Counted, Effect, Effects, Refused};
use crate::limits::LOG_BACKLOG_BYTES_MAX;
use crate::memory::Memory;
use crate::programs::Programs;
use crate::shard::{Origin, Part, Shard, TextPart};
use trendsrv_proto::{NameKind, Refusal};

/// The log of a shard and how much room there is for it.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) writer: Option<Writer>,
    pub(crate) space: LogSpace,
    /// Of the parts that no log holds, those that a complete snapshot does.
    pub(crate) unlogged_kept: u64,
}

impl<P: Programs, M: Memory> Shard<P, M> {
    /// From now on what is applied is logged.
    ///
    /// # Panics
    /// With a first number of 0.
    pub fn start_log(&mut self, start: LogStart) {
        self.log.writer = Some(Writer::new(&start));
    }

    /// The log, if there is one.
    pub const fn log(&mut self) -> Option<&mut Writer> {
        self.log.writer.as_mut()
    }

    /// The number of the newest record; 0 without a log.
    #[must_use]
    pub fn last_lsn(&self) -> u64 {
        self.log.writer.as_ref().map_or(0, Writer::last_lsn)
    }

    /// Everything up to this record is durable.
    ///
    /// # Panics
    /// When there is no such record yet.
    pub fn on_durable(&mut self, lsn: u64) {
        if let Some(writer) = &mut self.log.writer {
            writer.on_durable(lsn);
        }
    }

    /// How much room there is for the log.
    pub const fn set_log_space(&mut self, space: LogSpace) {
        self.log.space = space;
    }

    /// A snapshot of all vnodes and marks is durable that began when [`crate::Stats`] counted
    /// this many unlogged parts: these are as durable as it is.
    pub fn on_snapshot_durable(&mut self, unlogged_parts: u64) {
        self.log.unlogged_kept = self.log.unlogged_kept.max(unlogged_parts);
    }

    /// Whether a part whose turn it is can be logged as its sender wants.
    pub(crate) fn check_log(
        &self,
        from: &Origin,
        part: &Part<'_>,
        texts: &TextPart<'_>,
    ) -> Result<(), Refused> {
        let Some(writer) = &self.log.writer else {
            return if from.durable { Err(no_log()) } else { Ok(()) };
        };
        if writer.backlog_bytes() >= LOG_BACKLOG_BYTES_MAX {
            let message = format!(
                "{LOG_BACKLOG_BYTES_MAX} bytes of the log wait to be written: send again later"
            );
            let retry_after_ms = RETRY_BACKLOG_MS;
            return Err(Refused { retry_after_ms, ..Refused::new(Refusal::Overloaded, message) });
        }
        if !fits(part, texts) {
            let message = "the events of one frame do not fit a record of the log: send fewer";
            return Err(Refused::new(Refusal::TooLarge, message.to_owned()));
        }
        match self.log.space {
            LogSpace::Plenty => Ok(()),
            LogSpace::Low | LogSpace::None if from.durable => Err(disk_full()),
            LogSpace::Low | LogSpace::None => Ok(()),
        }
    }

    /// A part that was counted before: it is as durable as what is logged by now, unless it was
    /// applied when there was no room to log it.
    pub(crate) fn accept_duplicate(&mut self, from: &Origin, fx: &mut Effects) {
        if from.durable && self.log.writer.is_none() {
            return self.tell_refused(from, no_log(), fx);
        }
        let unlogged =
            from.sequence.is_some_and(|at| self.marks.unlogged(&at) > self.log.unlogged_kept);
        if from.durable && unlogged {
            return self.tell_refused(from, disk_full(), fx);
        }
        self.stats.parts_duplicate += 1;
        let (to, seq, lsn) = (from.to, from.seq, self.last_lsn());
        let counted = Counted::default();
        fx.list.push(Effect::Accepted { to, seq, counted, duplicate: true, lsn });
    }

    /// Appends a part that was applied.
    pub(crate) fn append(
        &mut self,
        now_ms: u64,
        from: &Origin,
        part: &Part<'_>,
        texts: &TextPart<'_>,
    ) {
        let Some(writer) = &mut self.log.writer else { return };
        if self.log.space == LogSpace::None {
            self.stats.log_unlogged_parts += 1;
            if let Some(at) = &from.sequence {
                self.marks.applied_unlogged(at, self.stats.log_unlogged_parts);
            }
            return;
        }
        writer.part(now_ms, from.sequence, part, texts);
    }

    /// Notes a name that was new, to be appended with the others of this call.
    pub(crate) fn append_name(&mut self, kind: NameKind, id: u64, name: &str) {
        if self.log.space != LogSpace::None
            && let Some(writer) = &mut self.log.writer
        {
            writer.name(kind, id, name);
        }
    }

    pub(crate) fn flush_names(&mut self) {
        if let Some(writer) = &mut self.log.writer {
            writer.flush_names();
        }
    }
}

fn no_log() -> Refused {
    let message = "there is no log, so nothing can be durable: use applied";
    Refused::new(Refusal::Unsupported, message.to_owned())
}

fn disk_full() -> Refused {
    let message = "the disk has no room for durable events: try again later, make room, or use \
                   applied";
    let retry_after_ms = RETRY_DISK_FULL_MS;
    Refused { retry_after_ms, ..Refused::new(Refusal::DiskFull, message.to_owned()) }
}

/// When a durable part may be sent again: about when the disk is looked at again.
const RETRY_DISK_FULL_MS: u32 = 1_000;
/// When a part may be sent again that found too much of the log waiting.
const RETRY_BACKLOG_MS: u32 = 100;
