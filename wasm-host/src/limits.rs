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
/// Room in the buffer that each text of a call leaves to its topics.
pub const TEXT_OUTPUT_BYTES: usize = 160;
/// Topics found in one text.
pub const TOPICS_PER_TEXT_MAX: usize = 32;
/// Fuel of one call. An instruction that does something costs 1, a branch 2, a call 4, a division 8,
/// bulk memory 1 a byte; constants and locals are free.
pub const FUEL_CALL_MAX: u64 = 100_000;
/// Fuel that a call has besides for each byte of the texts it is given.
pub const FUEL_TEXT_BYTE: u64 = 60;
/// Fuel of a call of the operator's own text program.
pub const FUEL_TEXT_DESK_CALL_MAX: u64 = 1_000_000;
/// Fuel that one tenant's program may use in a second.
pub const FUEL_SECOND_MAX: u32 = 5_000_000;
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
/// Bytes of a name or a message that a refused program put into the sentence about it.
pub const REJECTION_TEXT_BYTES_MAX: usize = 256;
/// Bytes of the message kept of a tenant's last fault.
pub const FAULT_BYTES_MAX: usize = 256;
/// Bytes of a component's memory; the standard library of Rust asks for 1.1 MiB at first.
pub const COMPONENT_MEMORY_BYTES_MAX: usize = 2 << 20;
/// Components that live in a shard at once; past it, tenants get the default program.
pub const COMPONENT_INSTANCES_MAX: usize = 1_024;
/// Core modules within a component.
pub const COMPONENT_MODULES_MAX: u32 = 8;
/// Components within a component; those have none.
pub const COMPONENT_PARTS_MAX: u32 = 32;
/// Instances that a component makes of its modules and parts.
pub const COMPONENT_INNER_INSTANCES_MAX: u32 = 256;
/// Core instances of one live component.
pub const COMPONENT_CORE_INSTANCES_MAX: usize = 32;
/// Tables of one live component.
pub const COMPONENT_TABLES_MAX: usize = 8;
/// Handles that a component holds at once.
pub const COMPONENT_HANDLES_MAX: usize = 64;
/// Bytes that a component hands over in one call, as they lie on our side.
pub const COMPONENT_OUTPUT_BYTES_MAX: usize = 256 << 10;
/// Fuel of each call that a component makes to the outside.
pub const COMPONENT_HOST_CALL_FUEL: u64 = 400;
/// Bytes of text shown to a component in one call; one text is shown whatever its size.
pub const COMPONENT_TEXT_BYTES_PER_CALL_MAX: usize = 4_096;
/// Bytes kept of what a component wrote to its standard error.
pub const COMPONENT_SAID_BYTES_MAX: usize = 160;

const _: () = assert!(TEXT_BUFFER_BYTES_MIN / 2 >= trendsrv_proto::limits::TEXT_BYTES_MAX);
const _: () = assert!(GROUP_SLOTS.is_power_of_two() && GROUP_DEAD_MAX < GROUP_SLOTS);
