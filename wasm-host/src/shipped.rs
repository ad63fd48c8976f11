//! The programs that come with the server, built from `guests/`.

/// Name and module of each.
pub const SHIPPED: &[(&str, &[u8])] =
    &[("trending", include_bytes!("../../guests/wasm/trending.wasm"))];
