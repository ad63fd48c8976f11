//! Which programs there are, and who is assigned which.

use crate::engine::HostError;
use crate::limits::PROGRAMS_MAX;
use crate::program::{Program, Shape};
use std::collections::HashMap;
use std::sync::Arc;
use trendsrv_proto::TenantId;

/// A program's place in the registry; kept by a name for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ix(pub(crate) u16);

#[derive(Debug)]
struct Entry {
    program: Arc<Program>,
    /// Grows with every replacement.
    version: u32,
    removed: bool,
    assigned: u64,
    instances: u64,
    calls: u64,
    faults: u64,
    fuel_used: u64,
}

/// See the module header.
#[derive(Debug)]
pub(crate) struct Registry {
    entries: Vec<Entry>,
    assignments: HashMap<TenantId, Ix>,
    default: Option<Ix>,
    assignments_max: usize,
    /// Whether a program that somebody may run looks at events.
    pub(crate) observes_any: bool,
}

/// One program in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramLine {
    /// Its name.
    pub name: Box<str>,
    /// The hash of its source.
    pub hash: [u8; 32],
    /// Tenants it is assigned to by name.
    pub assigned: u64,
    /// Whether tenants without an assignment run it.
    pub is_default: bool,
    /// Live instances.
    pub instances: u64,
    /// Calls.
    pub calls: u64,
    /// Faults.
    pub faults: u64,
    /// Fuel used.
    pub fuel_used: u64,
}

/// Why a tenant is not assigned a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    /// There is none of that name.
    #[error("no program {0:?}; PUT /v1/programs/{0} first")]
    Unknown(Box<str>),
    /// The table is full.
    #[error("{0} tenants are assigned programs already, which is the most this shard keeps")]
    TooMany(usize),
}

/// Why a program is not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// There is none of that name.
    #[error("no program {0:?}")]
    Unknown(Box<str>),
    /// Tenants run it.
    #[error("program {name:?} is assigned to {assigned} tenants; assign them another first")]
    InUse {
        /// Which.
        name: Box<str>,
        /// To how many.
        assigned: u64,
    },
    /// It is what tenants without an assignment run.
    #[error("program {0:?} is the default of this server")]
    Default(Box<str>),
}

impl Registry {
    pub(crate) fn new(
        default: Option<Arc<Program>>,
        tenants_max: usize,
    ) -> Result<Self, HostError> {
        let mut registry = Self {
            entries: Vec::new(),
            assignments: HashMap::new(),
            default: None,
            observes_any: false,
            assignments_max: tenants_max.saturating_mul(2).max(1_024),
        };
        if let Some(program) = default {
            registry.default = Some(registry.install(program)?.0);
            registry.look();
        }
        Ok(registry)
    }

    /// Adds a program or replaces the one of its name; says whether it was there.
    pub(crate) fn install(&mut self, program: Arc<Program>) -> Result<(Ix, bool), HostError> {
        if let Some(ix) = self.by_name(program.name()) {
            let entry = self.entry_mut(ix);
            let was = !entry.removed;
            (entry.program, entry.removed) = (program, false);
            entry.version += 1;
            self.look();
            return Ok((ix, was));
        }
        if self.entries.len() >= PROGRAMS_MAX {
            return Err(HostError::TooManyPrograms(PROGRAMS_MAX));
        }
        let ix = Ix(u16::try_from(self.entries.len()).unwrap_or(u16::MAX));
        self.entries.push(Entry {
            program,
            version: 1,
            removed: false,
            assigned: 0,
            instances: 0,
            calls: 0,
            faults: 0,
            fuel_used: 0,
        });
        Ok((ix, false))
    }

    pub(crate) fn remove(&mut self, name: &str) -> Result<(), RemoveError> {
        let ix = self.find(name).ok_or_else(|| RemoveError::Unknown(name.into()))?;
        if self.default == Some(ix) {
            return Err(RemoveError::Default(name.into()));
        }
        let entry = self.entry_mut(ix);
        if entry.assigned > 0 {
            return Err(RemoveError::InUse { name: name.into(), assigned: entry.assigned });
        }
        entry.removed = true;
        Ok(())
    }

    /// Assigns a tenant a program, or takes the assignment back.
    pub(crate) fn assign(
        &mut self,
        tenant: TenantId,
        name: Option<&str>,
    ) -> Result<(), AssignError> {
        let ix = name
            .map(|name| self.find(name).ok_or_else(|| AssignError::Unknown(name.into())))
            .transpose()?;
        let is_new = !self.assignments.contains_key(&tenant);
        if ix.is_some() && is_new && self.assignments.len() >= self.assignments_max {
            return Err(AssignError::TooMany(self.assignments_max));
        }
        let before = match ix {
            Some(ix) => self.assignments.insert(tenant, ix),
            None => self.assignments.remove(&tenant),
        };
        if let Some(before) = before {
            self.entry_mut(before).assigned -= 1;
        }
        if let Some(ix) = ix {
            self.entry_mut(ix).assigned += 1;
        }
        self.look();
        Ok(())
    }

    /// What a tenant runs; `None` is the plain-Rust twin.
    pub(crate) fn assigned(&self, tenant: TenantId) -> Option<Ix> {
        self.assignments.get(&tenant).copied().or(self.default)
    }

    pub(crate) fn current(&self, ix: Ix) -> (&Arc<Program>, u32) {
        let entry = &self.entries[usize::from(ix.0)];
        (&entry.program, entry.version)
    }

    pub(crate) fn shape(&self, ix: Ix) -> Shape {
        self.current(ix).0.shape
    }

    pub(crate) fn count_instance(&mut self, ix: Ix, born: bool) {
        let entry = self.entry_mut(ix);
        entry.instances = if born { entry.instances + 1 } else { entry.instances - 1 };
    }

    pub(crate) fn count_fault(&mut self, ix: Ix) {
        self.entry_mut(ix).faults += 1;
    }

    #[inline]
    pub(crate) fn count_call(&mut self, ix: Ix, fuel: u64) {
        let entry = self.entry_mut(ix);
        entry.calls += 1;
        entry.fuel_used += fuel;
    }

    pub(crate) fn lines(&self) -> Vec<ProgramLine> {
        let present = self.entries.iter().enumerate().filter(|(_, entry)| !entry.removed);
        let line = |(index, entry): (usize, &Entry)| ProgramLine {
            name: entry.program.name().into(),
            hash: *entry.program.hash(),
            assigned: entry.assigned,
            is_default: self.default.is_some_and(|ix| usize::from(ix.0) == index),
            instances: entry.instances,
            calls: entry.calls,
            faults: entry.faults,
            fuel_used: entry.fuel_used,
        };
        present.map(line).collect()
    }

    fn look(&mut self) {
        let default = self.default.map(|ix| usize::from(ix.0));
        self.observes_any = self.entries.iter().enumerate().any(|(index, entry)| {
            entry.program.shape.observes && (entry.assigned > 0 || default == Some(index))
        });
    }

    /// The program of this name.
    pub(crate) fn find(&self, name: &str) -> Option<Ix> {
        self.by_name(name).filter(|ix| !self.entries[usize::from(ix.0)].removed)
    }

    fn by_name(&self, name: &str) -> Option<Ix> {
        let at = self.entries.iter().position(|entry| entry.program.name() == name)?;
        Some(Ix(u16::try_from(at).unwrap_or(u16::MAX)))
    }

    fn entry_mut(&mut self, ix: Ix) -> &mut Entry {
        &mut self.entries[usize::from(ix.0)]
    }
}
