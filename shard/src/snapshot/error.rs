//! Why a section of a snapshot is not believed, or does not fit.

use super::FORMAT;
use trendsrv_proto::{Clock, TenantId};

/// Why a section is refused. Nothing of it was restored, unless the sentence names a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes are no section of this kind.
    #[error("these bytes are not a snapshot's section of {kind}")]
    NotASection {
        /// What was looked for.
        kind: &'static str,
    },
    /// A newer program wrote it.
    #[error(
        "the section has format {got} and this program reads up to {FORMAT}: start the newer \
         version that wrote it"
    )]
    Newer {
        /// The section's format.
        got: u16,
    },
    /// The bytes do not have the shape of a section.
    #[error("damaged section: {0}")]
    Shape(String),
    /// A value that cannot be.
    #[error("damaged section: {what}")]
    Value {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A value of a tenant that cannot be.
    #[error("damaged section, at tenant id {id:#018x}: {what}", id = tenant.0)]
    Tenant {
        /// Whose.
        tenant: TenantId,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Windows of another shape.
    #[error(
        "the snapshot is of windows of {got_window_ms} ms that slide by {got_slide_ms} ms, and \
         this server has {window_ms} ms and {slide_ms} ms: start it with --window \
         {got_window_ms}ms --slide {got_slide_ms}ms, or with another directory"
    )]
    Grid {
        /// The snapshot's window.
        got_window_ms: u64,
        /// The snapshot's slide.
        got_slide_ms: u64,
        /// This server's window.
        window_ms: u64,
        /// This server's slide.
        slide_ms: u64,
    },
    /// Windows moved by another clock.
    #[error(
        "the snapshot is of windows moved by the {got:?} clock, and this server has the \
         {clock:?} clock: start it with the other --clock, or with another directory"
    )]
    Clock {
        /// The snapshot's.
        got: Clock,
        /// This server's.
        clock: Clock,
    },
    /// The table of tenants is full of tenants with live windows.
    #[error(
        "no room for tenant id {id:#018x}: all {tenants_max} tenants of this shard have live \
         windows; start with a larger --tenants-max", id = tenant.0
    )]
    TenantsFull {
        /// The first that found no room.
        tenant: TenantId,
        /// Tenants of this shard.
        tenants_max: usize,
    },
    /// The memory of windows does not hold a window.
    #[error(
        "no memory for the window of tenant id {id:#018x}, of {needed} bytes: the windows of this \
         shard have {capacity} bytes; start with a larger --window-memory", id = tenant.0
    )]
    MemoryFull {
        /// Whose.
        tenant: TenantId,
        /// Bytes of its block.
        needed: u64,
        /// Bytes there are.
        capacity: u64,
    },
    /// A window larger than this server lets them grow.
    #[error(
        "the window of tenant id {id:#018x} is of tier {tier}, and windows of this server grow \
         through {tiers_max} tiers only", id = tenant.0
    )]
    Tier {
        /// Whose.
        tenant: TenantId,
        /// Its tier, from 0.
        tier: usize,
        /// Tiers of this server.
        tiers_max: usize,
    },
}
