//! Every limit of tenant programs, in one place. Sizes are bytes, times milliseconds.

/// Bytes of a program as it is uploaded.
pub const PROGRAM_BYTES_MAX: usize = 1 << 20;
/// Bytes of a program's memory: one page, no more and no less.
pub const MEMORY_BYTES: usize = 65_536;
/// Least size of a program's buffer.
pub const BUFFER_BYTES_MIN: usize = 1_024;
/// Least size of the buffer of a program that takes texts: one whole text and room for its topics.
pub const TEXT_BUFFER_BYTES_MIN: usize = 8_192;
/// Bytes of a program's private state.
pub const STATE_BYTES_MAX: usize = 2_048;
/// Tables of a program.
pub const TABLES_MAX: u32 = 1;
/// Elements of a program's table.
pub const TABLE_ELEMENTS_MAX: u32 = 1_024;
/// Functions of a program.
pub const FUNCTIONS_MAX: u32 = 4_096;
/// Globals of a program.
pub const GLOBALS_MAX: u32 = 64;
/// Exports of a program.
pub const EXPORTS_MAX: u32 = 64;
/// Blocks within blocks in a function.
pub const NESTING_MAX: u32 = 256;
/// Bytes of one function's code.
pub const FUNCTION_BYTES_MAX: usize = 128 << 10;
/// Bytes of an instance beside its memory: grows with a program's functions and globals.
pub const INSTANCE_BYTES_MAX: usize = 256 << 10;
/// Bytes of stack that a program may use.
pub const STACK_BYTES_MAX: usize = 64 << 10;
/// Records shown to a program in one call.
pub const RECORDS_PER_CALL_MAX: usize = 256;
/// Texts shown to a program in one call.
pub const TEXTS_PER_CALL_MAX: usize = 64;
/// Topics found in one text.
pub const TOPICS_PER_TEXT_MAX: usize = 32;
/// Fuel of one call. An instruction costs 1, a division 8, bulk memory 1 a byte.
pub const FUEL_CALL_MAX: u64 = 100_000;
/// Fuel that one tenant's program may use in a second.
pub const FUEL_SECOND_MAX: u32 = 2_000_000;
/// Fuel that all programs of a shard may use in a second; past it, tenants above their share wait.
pub const FUEL_SHARD_SECOND_MAX: u64 = 400_000_000;
/// Fuel a second that a tenant has for certain, whatever the others of its shard do.
pub const FUEL_SHARE_MIN: u32 = 20_000;
/// Slots that share a Store.
pub const GROUP_SLOTS: usize = 64;
/// Instances in a Store that nobody uses any more; past it the Store is made anew.
pub const GROUP_DEAD_MAX: usize = 16;
/// Instances made in one turn, about half a millisecond.
pub const INSTANCES_PER_TURN: usize = 128;
/// Wait after a first fault.
pub const BACKOFF_MS_MIN: u64 = 1_000;
/// Longest wait after a fault.
pub const BACKOFF_MS_MAX: u64 = 300_000;
/// Time without a fault after which earlier ones are forgiven.
pub const FORGIVE_MS: u64 = 60_000;
/// Programs known to a shard.
pub const PROGRAMS_MAX: usize = 1_024;
/// Bytes of private states of tenants whose window is empty.
pub const PARKED_STATE_BYTES_MAX: usize = 32 << 20;
/// Bytes of the message kept of a tenant's last fault.
pub const FAULT_BYTES_MAX: usize = 256;

const _: () = assert!(TEXT_BUFFER_BYTES_MIN / 2 >= trendsrv_proto::limits::TEXT_BYTES_MAX);
const _: () = assert!(GROUP_SLOTS.is_power_of_two() && GROUP_DEAD_MAX < GROUP_SLOTS);
