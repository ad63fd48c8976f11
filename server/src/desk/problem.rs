//! Every reply that is not what was asked for: one JSON shape, one status per refusal.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use trendsrv_proto::Refusal;

use super::mail::Refused;

/// A refusal on its way to an HTTP client: `{"code","message"}`, and `retry_after_ms` if it may
/// pass later.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after_ms: Option<u32>,
}

impl Problem {
    /// A refusal with the status its code has.
    #[must_use]
    pub fn new(code: Refusal, message: impl Into<String>) -> Self {
        Problem {
            status: status(code),
            code: code.name(),
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// The request breaks a rule.
    #[must_use]
    pub fn malformed(message: impl Into<String>) -> Self {
        Problem::new(Refusal::Malformed, message)
    }

    /// The request may pass later.
    #[must_use]
    pub fn overloaded(message: impl Into<String>, retry_after_ms: u32) -> Self {
        let mut problem = Problem::new(Refusal::Overloaded, message);
        problem.retry_after_ms = Some(retry_after_ms);
        problem
    }

    /// A refusal HTTP has a better status for than its code.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The server is on its way to serving.
    #[must_use]
    pub fn not_ready(retry_after_ms: u32) -> Self {
        Problem {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "NOT_READY",
            message: "the server reads back what it had before: try again".into(),
            retry_after_ms: Some(retry_after_ms),
        }
    }

    /// No route has this path.
    #[must_use]
    pub fn no_such_path(path: &str) -> Self {
        Problem::not_found(format!("no such path: {path}; see /openapi.json"))
    }

    /// What the path names is not here.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Problem {
            status: StatusCode::NOT_FOUND,
            code: "NOT_FOUND",
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// The path exists, with other methods.
    #[must_use]
    pub fn wrong_method(method: &str, path: &str) -> Self {
        Problem {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "METHOD_NOT_ALLOWED",
            message: format!("{path} has no {method}; see /openapi.json"),
            retry_after_ms: None,
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let mut problem = Problem::new(refused.code, refused.message);
        problem.retry_after_ms = refused.retry_after_ms;
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = serde_json::json!({ "code": self.code, "message": self.message });
        let mut retry_after = None;
        if let Some(ms) = self.retry_after_ms {
            body["retry_after_ms"] = ms.into();
            // The header has whole seconds only; rounding down would invite a retry too early.
            retry_after = Some(HeaderValue::from(ms.div_ceil(1_000)));
        }
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}

/// The HTTP status of each refusal.
#[must_use]
pub fn status(code: Refusal) -> StatusCode {
    match code {
        Refusal::RateLimited | Refusal::CreditExceeded => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Overloaded
        | Refusal::DiskFull
        | Refusal::StorageFailed
        | Refusal::TenantsFull
        | Refusal::ProgramFailed
        | Refusal::GoAway => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::SeqGap
        | Refusal::SeqReused
        | Refusal::Fenced
        | Refusal::ProducerUnknown
        | Refusal::IdCollision => StatusCode::CONFLICT,
        Refusal::Future | Refusal::Malformed | Refusal::Unsupported => StatusCode::BAD_REQUEST,
        Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::UnknownTenant => StatusCode::NOT_FOUND,
        Refusal::Unauthorised => StatusCode::UNAUTHORIZED,
    }
}
