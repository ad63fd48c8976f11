//! The engine of one shard: how programs are compiled and where their instances live.
//!
//! Owns the configuration that was measured to hold 100,000 instances (docs/decisions). Never
//! touches a tenant.
//!
//! ```text
//! pool: | 64 KiB | 64 KiB | 64 KiB | …   one memory an instance, no guard pages, no images:
//!                                        the whole pool is a handful of mappings
//! ```
//!
//! Invariants:
//! - one engine a shard: its pool and its locks are nobody else's;
//! - a program can reach its own memory only: bounds are checked in code, and masked against
//!   speculation.

use crate::component;
use crate::limits::{
    INSTANCE_BYTES_MAX, MEMORY_BYTES, PROGRAM_BYTES_MAX, STACK_BYTES_MAX, TABLE_ELEMENTS_MAX,
};
use crate::program::Rejection;
use crate::validate::{self, features};
use std::hash::{Hash, Hasher};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OperatorCost, OptLevel, PoolingAllocationConfig,
};

/// The engine of one shard.
#[derive(Clone, Debug)]
pub struct ShardEngine {
    engine: Engine,
    components: Engine,
    instances_max: usize,
}

/// Why an engine cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The pool's address space or the engine was refused.
    #[error("no engine for {instances_max} program instances: {message}; lower --tenants-max")]
    Engine {
        /// Instances asked for.
        instances_max: usize,
        /// What the engine says.
        message: String,
    },
    /// The table of programs is full.
    #[error("this server holds {0} programs already; remove one")]
    TooManyPrograms(usize),
}

impl ShardEngine {
    /// An engine whose pool holds so many live instances, with room for those that are replaced.
    ///
    /// # Errors
    /// When the operating system refuses the address space.
    pub fn new(instances_max: usize) -> Result<Self, HostError> {
        let pool = instances_max + instances_max / 4 + SPARE_INSTANCES;
        let mut config = settings();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(pool)));
        let failed = |error| HostError::Engine { instances_max, message: format!("{error:#}") };
        let engine = Engine::new(&config).map_err(failed)?;
        let components = Engine::new(&component::settings(settings())).map_err(failed)?;
        Ok(Self { engine, components, instances_max: pool })
    }

    pub(crate) const fn wasmtime(&self) -> &Engine {
        &self.engine
    }

    pub(crate) const fn components(&self) -> &Engine {
        &self.components
    }

    /// Instances that the pool holds, those in replacement included.
    #[must_use]
    pub const fn instances_max(&self) -> usize {
        self.instances_max
    }
}

/// Checks a program and compiles it. This is long work on untrusted bytes: run it in a process of
/// its own, with limits.
///
/// # Errors
/// When the program is not one that runs here.
pub fn compile(wasm: &[u8]) -> Result<Vec<u8>, Rejection> {
    compile_any(wasm).map_err(Rejection::brief)
}

fn compile_any(wasm: &[u8]) -> Result<Vec<u8>, Rejection> {
    if wasm.len() > PROGRAM_BYTES_MAX {
        return Err(Rejection::TooLarge { bytes: wasm.len() });
    }
    if component::is_component(wasm) {
        return component::compile(&compiler(component::settings(settings()))?, wasm);
    }
    validate::check(wasm)?;
    let engine = compiler(settings())?;
    engine.precompile_module(wasm).map_err(|error| Rejection::NotCompiled(format!("{error:#}")))
}

/// Changes whenever artefacts of before can no longer be loaded: settings, version, processor.
///
/// # Panics
/// When this machine cannot compile at all.
#[must_use]
pub fn compatibility() -> u64 {
    #[expect(deprecated, reason = "a fixed hash: the same in every process of one build")]
    let mut hasher = std::hash::SipHasher::new();
    for config in [settings(), component::settings(settings())] {
        let engine = compiler(config).expect("the compiler's settings are constant");
        engine.precompile_compatibility_hash().hash(&mut hasher);
    }
    hasher.finish()
}

fn compiler(config: Config) -> Result<Engine, Rejection> {
    Engine::new(&config).map_err(|error| Rejection::NotCompiled(format!("{error:#}")))
}

/// What is common to compiling and running.
fn settings() -> Config {
    let mut config = Config::new();
    config
        .wasm_features(wasmtime::WasmFeatures::all(), false)
        .wasm_features(features(), true)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .consume_fuel(true)
        .operator_cost(costs())
        .max_wasm_stack(STACK_BYTES_MAX)
        .memory_reservation(MEMORY_BYTES as u64)
        .memory_reservation_for_growth(0)
        .memory_guard_size(0)
        .guard_before_linear_memory(false)
        .memory_may_move(false)
        .memory_init_cow(false)
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false)
        .concurrency_support(false)
        // Traps are explicit checks: no signal handlers in a process with rings of its own.
        .signals_based_traps(false);
    config
}

/// Fuel by what an instruction costs at worst, so that fuel is time.
fn costs() -> OperatorCost {
    OperatorCost {
        I32DivS: DIVISION,
        I32DivU: DIVISION,
        I32RemS: DIVISION,
        I32RemU: DIVISION,
        I64DivS: DIVISION,
        I64DivU: DIVISION,
        I64RemS: DIVISION,
        I64RemU: DIVISION,
        F32Div: DIVISION,
        F64Div: DIVISION,
        F32Sqrt: DIVISION,
        F64Sqrt: DIVISION,
        MemoryGrow: GROW,
        TableGrow: GROW,
        MemoryCopy: BULK,
        MemoryFill: BULK,
        MemoryInit: BULK,
        TableCopy: BULK,
        TableInit: BULK,
        Call: CALL,
        Br: BRANCH,
        BrIf: BRANCH,
        BrTable: BRANCH,
        If: BRANCH,
        // They name values; the compiler makes no instructions of them.
        LocalGet: 0,
        LocalSet: 0,
        LocalTee: 0,
        I32Const: 0,
        I64Const: 0,
        CallIndirect: CALL,
        ..OperatorCost::new()
    }
}

fn pooling(instances: usize) -> PoolingAllocationConfig {
    let instances = u32::try_from(instances).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(instances)
        .total_memories(instances)
        .total_tables(instances)
        .max_memories_per_module(1)
        .max_tables_per_module(1)
        .max_memory_size(MEMORY_BYTES)
        .table_elements(TABLE_ELEMENTS_MAX as usize)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        .decommit_batch_size(DECOMMIT_BATCH)
        .linear_memory_keep_resident(0)
        .max_unused_warm_slots(0);
    pool
}

/// Room beside the live instances: a group in replacement, and what each program's check needs.
const SPARE_INSTANCES: usize = 256;
/// Memories given back to the kernel together.
const DECOMMIT_BATCH: usize = 64;
const DIVISION: u8 = 8;
const BRANCH: u8 = 2;
const CALL: u8 = 4;
const BULK: u8 = 16;
const GROW: u8 = 200;
