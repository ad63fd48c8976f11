//! One tenant's place among the programs of a shard.

use crate::group::Addresses;
use crate::program::{Lane, Shape};
use crate::registry::Ix;
use trendsrv_proto::TenantId;

/// See the module header. A default seat is free.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    pub(crate) tenant: TenantId,
    /// What it runs; `None` is the plain-Rust twin.
    pub(crate) program: Option<Ix>,
    phase: Phase,
    /// How the instance is run.
    pub(crate) lane: Lane,
    pub(crate) observes: bool,
    pub(crate) takes_texts: bool,
    /// The version of the program that the instance is of.
    pub(crate) version: u32,
    pub(crate) state: Option<(usize, usize)>,
    /// The instance's buffer, which that of another version need not be: where in its memory.
    pub(crate) buf: u32,
    pub(crate) cap: u32,
    /// Address of the buffer, to be asked for ahead of a call.
    pub(crate) buffer: usize,
    /// Address of what wasmtime knows of the instance, likewise.
    pub(crate) context: usize,
    /// The second that `spent` is of.
    pub(crate) second: u64,
    pub(crate) spent: u32,
    pub(crate) calls: u64,
    pub(crate) fuel_used: u64,
    pub(crate) trouble: Option<Box<Trouble>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Free,
    Native,
    Pending,
    Live,
    Waiting,
}

/// What went wrong with a tenant's program.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    pub(crate) faults: u64,
    /// Faults that none long enough without lies between.
    pub(crate) strikes: u32,
    pub(crate) last_ms: u64,
    pub(crate) message: Box<str>,
    pub(crate) retry_at_ms: Option<u64>,
}

impl Seat {
    pub(crate) fn taken(tenant: TenantId) -> Self {
        Self { tenant, phase: Phase::Native, ..Self::default() }
    }

    pub(crate) fn equip(&mut self, program: Option<Ix>, shape: Option<Shape>) {
        let shape = shape.unwrap_or_default();
        if program != self.program {
            self.trouble = None;
        }
        self.program = program;
        self.phase = if program.is_some() { Phase::Pending } else { Phase::Native };
        self.take_shape(shape);
    }

    /// An instance lives, of the program as it is now.
    pub(crate) fn live(&mut self, version: u32, shape: Shape, at: Addresses) {
        self.take_shape(shape);
        (self.phase, self.version) = (Phase::Live, version);
        (self.buffer, self.context) = (at.memory, at.context);
    }

    fn take_shape(&mut self, shape: Shape) {
        (self.observes, self.takes_texts) = (shape.observes, shape.takes_texts);
        (self.lane, self.state) = (shape.lane, shape.state);
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        (self.buf, self.cap) = (size(shape.buf), size(shape.cap));
    }

    pub(crate) fn lose_instance(&mut self) {
        self.phase = Phase::Waiting;
        (self.buffer, self.context) = (0, 0);
    }

    pub(crate) fn retry(&mut self) {
        self.phase = Phase::Pending;
        if let Some(trouble) = &mut self.trouble {
            trouble.retry_at_ms = None;
        }
    }

    pub(crate) fn forgive(&mut self) {
        self.retry();
        if let Some(trouble) = &mut self.trouble {
            trouble.strikes = 0;
        }
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.phase != Phase::Free
    }

    pub(crate) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.phase == Phase::Waiting
    }

    pub(crate) fn is_component(&self) -> bool {
        self.lane == Lane::Component
    }

    pub(crate) fn wants_instance(&self) -> bool {
        self.phase == Phase::Pending
    }
}
