//! The operator's side of the host: install, assign, remove, look.

use crate::engine::HostError;
use crate::host::Host;
use crate::program::Program;
use crate::registry::{AssignError, ProgramLine, RemoveError};
use crate::seat::Seat;
use std::sync::Arc;
use trendsrv_proto::TenantId;

/// How a tenant's program fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantProgram {
    /// Its name; `native` for the plain-Rust twin.
    pub program: Box<str>,
    /// What it does now.
    pub state: ProgramState,
    /// Faults so far.
    pub faults: u64,
    /// The last of them.
    pub last_error: Option<Box<str>>,
    /// When it is tried again, ms since the epoch.
    pub retry_at_ms: Option<u64>,
    /// Calls.
    pub calls: u64,
    /// Fuel used.
    pub fuel_used: u64,
}

/// What a tenant's program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramState {
    /// The tenant has no window: nothing runs.
    Idle,
    /// The plain-Rust twin runs.
    Native,
    /// An instance is on its way.
    Starting,
    /// It runs.
    Running,
    /// It failed and waits; the default answers.
    Failed,
}

impl ProgramState {
    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Native => "native",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Failed => "failed",
        }
    }
}

impl Host {
    /// Adds a program, or replaces the one of its name: its tenants get instances of it over the
    /// next turns, their windows untouched.
    ///
    /// # Errors
    /// When the table of programs is full.
    pub fn install(&mut self, program: Arc<Program>) -> Result<(), HostError> {
        let (ix, was_there) = self.registry.install(program)?;
        if was_there {
            self.replace(ix);
        }
        Ok(())
    }

    /// Removes a program that nobody is assigned.
    ///
    /// # Errors
    /// When there is none, it is assigned, or it is the default.
    pub fn remove(&mut self, name: &str) -> Result<(), RemoveError> {
        self.registry.remove(name)
    }

    /// Assigns a tenant, present or not, a program; `None` goes back to the default.
    ///
    /// # Errors
    /// When there is no such program or too many tenants are assigned.
    pub fn assign(&mut self, tenant: TenantId, program: Option<&str>) -> Result<(), AssignError> {
        self.registry.assign(tenant, program)?;
        if let Some(&slot) = self.slots.get(&tenant) {
            self.equip(slot);
        }
        Ok(())
    }

    /// How a tenant's program fares.
    #[must_use]
    pub fn status(&self, tenant: TenantId) -> TenantProgram {
        let name = |ix| self.registry.current(ix).0.name();
        let program = self.registry.assigned(tenant).map_or("native", name).into();
        let seat = self.slots.get(&tenant).and_then(|&slot| self.seat(slot));
        let trouble = seat.and_then(|seat| seat.trouble.as_deref());
        let state = match seat {
            None => ProgramState::Idle,
            Some(seat) if seat.program.is_none() => ProgramState::Native,
            Some(seat) if seat.is_live() => ProgramState::Running,
            Some(seat) if seat.is_waiting() => ProgramState::Failed,
            Some(_) => ProgramState::Starting,
        };
        let of_seat = |field: fn(&Seat) -> u64| seat.map_or(0, field);
        TenantProgram {
            program,
            state,
            faults: trouble.map_or(0, |trouble| trouble.faults),
            last_error: trouble.map(|trouble| trouble.message.clone()),
            retry_at_ms: trouble.and_then(|trouble| trouble.retry_at_ms),
            calls: of_seat(|seat| seat.calls),
            fuel_used: of_seat(|seat| seat.fuel_used),
        }
    }

    /// The programs there are.
    #[must_use]
    pub fn list(&self) -> Vec<ProgramLine> {
        self.registry.lines()
    }
}
