//! The ABI of tenant programs, from the program's side: `docs/programs.md` in Rust.
//!
//! Owns: the buffer, the shapes of its bytes, the exports ([`program!`]), the line that the shipped
//! programs write ([`trending`]). Never touches: an allocator, formatting machinery, the host.
//!
//! ```text
//! buf:  | header | rows, records or texts           | output            |
//!       '-- View, Events, Texts read this part -----'-- Reply, Topics --'
//!                                                   ^ the header's `out`
//! ```
//!
//! Invariants:
//! - A program written with it is safe code. What the host wrote is believed no further than the
//!   buffer reaches: anything beyond it is a trap, which costs the tenant a fault and nothing else.
//! - What is written never reaches past the buffer. A line that is too long is cut at a character's
//!   end; a topic that does not fit is refused, and the program sees that.
#![no_std]

mod bytes;
mod events;
mod exports;
pub mod limits;
mod reply;
mod shared;
mod texts;
mod trending;
mod view;

pub use bytes::copy;
pub use events::{Event, Events};
pub use reply::{Line, Reply, Told};
pub use shared::{Buffer, Shared, State};
pub use texts::{Text, Texts, Topics};
pub use trending::trending;
pub use view::{Row, Trend, View};

/// The version of the ABI.
pub const ABI: usize = 1;

/// A panic ends the call as a trap.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn on_panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
