//! What the compiling process and the server say to each other beside the bytes.

use serde::{Deserialize, Serialize};

/// The line on standard error when a program is rejected.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Rejected {
    /// Why.
    pub(super) message: String,
}

/// The exit code when a program is rejected.
pub(super) const REJECTED: u8 = 3;
