//! The programs that come with the server, built from `guests/`.

/// Name and module of each.
pub const SHIPPED: &[(&str, &[u8])] = &[
    ("trending", include_bytes!("../../guests/wasm/trending.wasm")),
    ("hashtags", include_bytes!("../../guests/wasm/hashtags.wasm")),
    ("log-signatures", include_bytes!("../../guests/wasm/log-signatures.wasm")),
];
