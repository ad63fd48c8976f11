//! One instance of a program.

use crate::input::{Event, View, events, texts};
use wasmi::{Engine, Linker, Memory, Module, Store, TypedFunc};

/// An instance.
pub struct Guest {
    store: Store<()>,
    instance: wasmi::Instance,
    memory: Memory,
    buf: usize,
    cap: usize,
}

/// What a program wrote about a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The rows it ranks; none keeps their order.
    pub ranking: Option<Vec<u16>>,
    /// Its line.
    pub tldr: String,
}

/// What ends a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A trap.
    Trap(String),
    /// A number of the program's own.
    Reported(u32),
}

impl Guest {
    /// Makes an instance.
    ///
    /// # Panics
    /// When the module is no program.
    #[must_use]
    pub fn new(wasm: &[u8]) -> Self {
        let engine = Engine::default();
        let module = Module::new(&engine, wasm).expect("a module");
        let mut store = Store::new(&engine, ());
        let linker = Linker::new(&engine);
        let instance = linker.instantiate_and_start(&mut store, &module).expect("no imports");
        let memory = instance.get_memory(&store, "memory").expect("an exported memory");
        let mut guest = Self { store, instance, memory, buf: 0, cap: 0 };
        assert_eq!(guest.constant("trend_abi"), 1);
        guest.buf = guest.constant("buf");
        guest.cap = guest.constant("cap");
        assert!(guest.buf.is_multiple_of(8) && guest.buf + guest.cap <= 65_536);
        guest
    }

    /// What an export without parameters returns.
    ///
    /// # Panics
    /// When there is no such export.
    pub fn constant(&mut self, name: &str) -> usize {
        let function: TypedFunc<(), u32> =
            self.instance.get_typed_func(&self.store, name).expect("an export of the ABI");
        function.call(&mut self.store, ()).expect("a constant") as usize
    }

    /// Sums up a window.
    ///
    /// # Errors
    /// When the program faults.
    ///
    /// # Panics
    /// When its output is not what the ABI allows.
    pub fn summarise(&mut self, view: &View) -> Result<Told, Fault> {
        let input = view.bytes();
        let code = self.call("summarise", &input, view.rows.len())?;
        if code != 0 {
            return Err(Fault::Reported(code));
        }
        let out = &self.buffer()[input.len()..];
        let ranked = u16_at(out, 0);
        let tldr_len = usize::from(u16_at(out, 2));
        let places = if ranked == 0xffff { 0 } else { usize::from(ranked) };
        let ranking = (ranked != 0xffff)
            .then(|| (0..places).map(|place| u16_at(out, 4 + 2 * place)).collect());
        let tldr = out[4 + 2 * places..][..tldr_len].to_vec();
        assert!(tldr_len <= 512);
        Ok(Told { ranking, tldr: String::from_utf8(tldr).expect("the line is UTF-8") })
    }

    /// Finds the topics of texts, as the place of the text and the name.
    ///
    /// # Errors
    /// When the program faults.
    ///
    /// # Panics
    /// When its output is not what the ABI allows.
    pub fn observe_text<T: AsRef<[u8]>>(
        &mut self,
        of: &[T],
    ) -> Result<Vec<(usize, String)>, Fault> {
        let input = texts(of);
        let count = self.call("observe_text", &input, of.len())?;
        let mut topics = Vec::new();
        let mut out = &self.buffer()[input.len()..];
        for _ in 0..count {
            let len = usize::from(u16_at(out, 2));
            let name = String::from_utf8(out[8..8 + len].to_vec()).expect("names are UTF-8");
            topics.push((usize::from(u16_at(out, 0)), name));
            // The last one may end with the buffer, without its padding.
            out = out.get((8 + len).next_multiple_of(8)..).unwrap_or_default();
        }
        Ok(topics)
    }

    /// Rewrites events.
    ///
    /// # Errors
    /// When the program faults.
    ///
    /// # Panics
    /// When its output is not what the ABI allows.
    pub fn observe(&mut self, base_ms: u64, of: &[Event]) -> Result<Vec<Event>, Fault> {
        let count = self.call("observe", &events(base_ms, of), of.len())? as usize;
        assert!(count <= of.len());
        let out = &self.buffer()[16..][..16 * count];
        Ok(out.chunks_exact(16).map(event).collect())
    }

    /// The private state.
    pub fn state(&mut self) -> Vec<u8> {
        let (at, len) = (self.constant("state"), self.constant("state_len"));
        self.memory.data(&self.store)[at..at + len].to_vec()
    }

    /// The pages of 4 KiB that hold anything but zeros.
    #[must_use]
    pub fn pages(&self) -> Vec<usize> {
        let pages = self.memory.data(&self.store).chunks(4_096).enumerate();
        let touched = pages.filter(|(_, page)| page.iter().any(|byte| *byte != 0));
        touched.map(|(page, _)| page).collect()
    }

    /// Where the buffer ends.
    #[must_use]
    pub fn buffer_end(&self) -> usize {
        self.buf + self.cap
    }

    fn buffer(&self) -> &[u8] {
        &self.memory.data(&self.store)[self.buf..self.buf + self.cap]
    }

    fn call(&mut self, name: &str, input: &[u8], count: usize) -> Result<u32, Fault> {
        assert!(input.len() <= self.cap, "the input fits into the buffer");
        self.memory.write(&mut self.store, self.buf, input).expect("the buffer is in the memory");
        let function: TypedFunc<u32, u32> =
            self.instance.get_typed_func(&self.store, name).expect("an export of the ABI");
        let count = u32::try_from(count).expect("a buffer is small");
        function.call(&mut self.store, count).map_err(|trap| Fault::Trap(trap.to_string()))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn event(bytes: &[u8]) -> Event {
    let (topic, rest) = bytes.split_first_chunk().expect("16 bytes");
    let (weight, rest) = rest.split_first_chunk().expect("8 bytes");
    Event {
        topic: u64::from_le_bytes(*topic),
        weight: u32::from_le_bytes(*weight),
        offset_ms: i32::from_le_bytes(*rest.first_chunk().expect("4 bytes")),
    }
}
