//! The shard's own text program: finds topics for tenants whose program takes no texts.
//!
//! It is the operator's program, not a tenant's: one instance serves all of them.

use crate::abi::{Fault, texts};
use crate::group::call;
use crate::limits::FUEL_TEXT_DESK_CALL_MAX;
use crate::program::{Guest, Program, describe};
use std::sync::Arc;
use trendsrv_shard::Text;
use wasmtime::Store;

/// See the module header.
#[derive(Default)]
pub(crate) struct TextDesk {
    program: Option<Arc<Program>>,
    instance: Option<(Store<()>, Guest)>,
}

impl TextDesk {
    pub(crate) fn new(program: Option<Arc<Program>>) -> Self {
        Self { program, instance: None }
    }

    pub(crate) fn is_there(&self) -> bool {
        self.program.is_some()
    }

    /// Finds the topics of the first few texts; returns how many texts it looked at.
    ///
    /// # Errors
    /// When the program failed; it gets a fresh instance for the next call.
    pub(crate) fn find(
        &mut self,
        base_ms: u64,
        all: &[Text<'_>],
        found: &mut dyn FnMut(usize, u32, &str),
    ) -> Result<usize, (usize, Fault)> {
        let Some(program) = &self.program else { return Ok(all.len()) };
        let (store, guest) = match &mut self.instance {
            Some(instance) => instance,
            empty => {
                let mut store = Store::new(program.engine(), ());
                let made = store.set_fuel(FUEL_TEXT_DESK_CALL_MAX);
                let guest = made.and_then(|()| program.instantiate(&mut store));
                let guest = guest.map_err(|error| (1, Fault::NoInstance(format!("{error:#}"))))?;
                empty.insert((store, guest))
            }
        };
        let shape = program.shape;
        let buffer = shape.buf..shape.buf + shape.cap;
        let written =
            texts::write(&mut guest.memory.data_mut(&mut *store)[buffer.clone()], base_ms, all);
        let Some(function) = &guest.observe_text else { return Ok(all.len()) };
        let n = i32::try_from(written.texts).unwrap_or(i32::MAX);
        let (returned, _) = call(store, function, n, FUEL_TEXT_DESK_CALL_MAX);
        let told = returned
            .map_err(|error| Fault::Trap { call: "observe_text", message: describe(&error) })
            .and_then(|count| deliver(&guest.memory.data(&*store)[buffer], count, written, found));
        match told {
            Ok(()) => Ok(written.texts),
            Err(fault) => {
                self.instance = None;
                Err((written.texts, fault))
            }
        }
    }
}

/// Tells the topics of a call, each once a text, after all of them were checked.
pub(crate) fn deliver(
    buffer: &[u8],
    returned: i32,
    written: texts::Written,
    found: &mut dyn FnMut(usize, u32, &str),
) -> Result<(), Fault> {
    texts::read(buffer, returned, written, |_, _, _| {})?;
    let mut before: Vec<(usize, &str)> = Vec::new();
    texts::read(buffer, returned, written, |index, weight, name| {
        // A text has few topics, so a look over them is cheaper than a set.
        if before.iter().rev().any(|seen| *seen == (index, name)) {
            return;
        }
        before.push((index, name));
        found(index, weight, name);
    })
}
