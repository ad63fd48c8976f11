//! The desk's questions to a shard's programs, answered by whatever runs beside its windows.
//!
//! Owns the translation between [`ProgramMail`] and [`Host`]. The plain-Rust twin refuses what only
//! a sandbox can do.

use super::answer::{Counter, Level, ProgramFault};
use super::mail::{ProgramMail, Refused};
use trendsrv_proto::{Refusal, TenantId};
use trendsrv_shard::Trending;
use trendsrv_wasm_host::limits::PARKED_STATE_BYTES_MAX;
use trendsrv_wasm_host::{Host, ProgramState, RemoveError, TenantProgram};

/// What the desk asks of programs.
pub trait DeskPrograms {
    /// Answers one mail.
    fn answer(&mut self, mail: ProgramMail);

    /// The fault of a tenant's program that failed and waits.
    fn fault_of(&self, tenant: TenantId) -> Option<ProgramFault>;

    /// Numbers that only rise.
    fn counters(&mut self) -> Vec<Counter>;

    /// How full tables are.
    fn levels(&mut self) -> Vec<Level>;
}

impl DeskPrograms for Host {
    fn answer(&mut self, mail: ProgramMail) {
        // A caller that has gone away gets nothing, and nothing is undone.
        match mail {
            ProgramMail::Install { program, reply } => {
                let done = self.install(program).map_err(|error| refuse(error.to_string()));
                let _ = reply.send(done);
            }
            ProgramMail::Remove { name, reply } => {
                let done = match self.remove(&name) {
                    // Asked again after an answer that was lost.
                    Ok(()) | Err(RemoveError::Unknown(_)) => Ok(()),
                    Err(error) => Err(refuse(error.to_string())),
                };
                let _ = reply.send(done);
            }
            ProgramMail::Assign { tenant, program, reply } => {
                let done = self.assign(tenant, program.as_deref());
                let _ = reply.send(done.map_err(|error| refuse(error.to_string())));
            }
            ProgramMail::Status { tenant, reply } => {
                let _ = reply.send(self.status(tenant));
            }
            ProgramMail::List { reply } => {
                let _ = reply.send(self.list());
            }
        }
    }

    fn fault_of(&self, tenant: TenantId) -> Option<ProgramFault> {
        let status = self.status(tenant);
        (status.state == ProgramState::Failed).then(|| ProgramFault {
            code: Refusal::ProgramFailed.name(),
            message: status.last_error.unwrap_or_default(),
            retry_at_ms: status.retry_at_ms,
            faults: status.faults,
        })
    }

    fn counters(&mut self) -> Vec<Counter> {
        let stats = self.stats();
        [
            ("program_calls", "Calls of programs", stats.calls),
            ("program_fuel", "Fuel that programs used", stats.fuel_used),
            ("program_faults", "Faults of programs", stats.faults),
            ("program_throttled", "Calls not made: fuel of the second used up", stats.throttled),
            ("program_instances_made", "Instances made", stats.instantiated),
            ("program_rebuilds", "Stores made anew", stats.rebuilds),
            ("program_texts_by_default", "Texts read by the default", stats.texts_by_default),
            ("program_text_faults", "Faults of the default for texts", stats.text_faults),
        ]
        .map(|(name, help, value)| Counter { name, help, value })
        .into()
    }

    fn levels(&mut self) -> Vec<Level> {
        let stats = self.stats();
        let instances_max = stats.instances_max;
        let bytes_max = PARKED_STATE_BYTES_MAX as u64;
        let (bytes, bytes_high) = (stats.parked_state_bytes, stats.parked_state_bytes_high);
        let level = |name, help, now, high_water, max| Level { name, help, now, max, high_water };
        vec![
            level(
                "programs_live",
                "Live instances of programs",
                stats.instances,
                stats.instances_high,
                instances_max,
            ),
            level(
                "programs_pending",
                "Tenants whose instance is still to be made",
                stats.pending,
                stats.pending_high,
                instances_max,
            ),
            level(
                "programs_failed",
                "Tenants whose program failed and waits",
                stats.waiting,
                stats.waiting_high,
                instances_max,
            ),
            level(
                "program_state_bytes",
                "States kept for tenants without an instance",
                bytes,
                bytes_high,
                bytes_max,
            ),
        ]
    }
}

impl DeskPrograms for Trending {
    fn answer(&mut self, mail: ProgramMail) {
        match mail {
            ProgramMail::Install { reply, .. }
            | ProgramMail::Remove { reply, .. }
            | ProgramMail::Assign { reply, .. } => {
                let message = "this shard runs no programs of tenants".to_owned();
                let code = Refusal::Unsupported;
                let _ = reply.send(Err(Refused { code, message, retry_after_ms: None }));
            }
            ProgramMail::Status { reply, .. } => {
                let _ = reply.send(TenantProgram {
                    program: "native".into(),
                    state: ProgramState::Native,
                    faults: 0,
                    last_error: None,
                    retry_at_ms: None,
                    calls: 0,
                    fuel_used: 0,
                });
            }
            ProgramMail::List { reply } => {
                let _ = reply.send(Vec::new());
            }
        }
    }

    fn fault_of(&self, _tenant: TenantId) -> Option<ProgramFault> {
        None
    }

    fn counters(&mut self) -> Vec<Counter> {
        Vec::new()
    }

    fn levels(&mut self) -> Vec<Level> {
        Vec::new()
    }
}

/// The library allowed it; a shard that cannot has no room for it now.
fn refuse(message: String) -> Refused {
    Refused { code: Refusal::Overloaded, message, retry_after_ms: Some(RETRY_MS) }
}

const RETRY_MS: u32 = 1_000;
