//! The description of the HTTP interface, kept by hand and held to the routes by tests.

/// OpenAPI 3.1, as JSON.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");
