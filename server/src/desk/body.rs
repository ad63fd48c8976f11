//! Reading a request body within three bounds: its size, its time, and what all bodies hold.
//!
//! Memory is granted chunk by chunk as bytes arrive, so a client that opens a request and sends
//! nothing holds nothing: the slow cannot keep the honest out by being many.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trendsrv_proto::Refusal;

use super::mail::Grant;
use super::problem::Problem;
use crate::config::limits::{HTTP_BODIES_MAX, HTTP_BODY_BYTES_MAX};

/// The memory all bodies share.
#[derive(Clone, Debug)]
pub(super) struct BodyBudget {
    bytes: Arc<Semaphore>,
    time_max: Duration,
}

/// A body and the memory granted for it; dropping it gives the memory back.
pub(super) struct GrantedBody {
    bytes: Vec<u8>,
    grant: Option<OwnedSemaphorePermit>,
}

impl GrantedBody {
    /// The text, and the grant to travel with what is made of it.
    pub(super) fn into_parts(self) -> (Vec<u8>, Grant) {
        (self.bytes, Grant(self.grant.map(Arc::new)))
    }

    /// One permit for all chunks: a body of single bytes must not cost a permit each.
    fn keep(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.grant {
            Some(grant) => grant.merge(more),
            None => self.grant = Some(more),
        }
    }
}

impl BodyBudget {
    pub(super) fn new(time_max: Duration) -> Self {
        BodyBudget { bytes: Arc::new(Semaphore::new(BODY_MEMORY_MAX)), time_max }
    }

    /// Bytes granted now, and the most there can be.
    pub(super) fn level(&self) -> (usize, usize) {
        (BODY_MEMORY_MAX - self.bytes.available_permits(), BODY_MEMORY_MAX)
    }

    /// Reads a whole body.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<GrantedBody, Problem> {
        if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|e| *e != "identity") {
            return Err(Problem::new(
                Refusal::Unsupported,
                format!("Content-Encoding: {encoding:?} is not supported; send plain NDJSON"),
            )
            .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let announced = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
            .unwrap_or(0);
        if announced > HTTP_BODY_BYTES_MAX as u64 {
            return Err(too_large());
        }
        tokio::time::timeout(self.time_max, self.collect(body)).await.unwrap_or_else(|_| {
            Err(Problem::malformed(format!(
                "the body did not arrive within {} ms",
                self.time_max.as_millis()
            ))
            .with_status(StatusCode::REQUEST_TIMEOUT))
        })
    }

    async fn collect(&self, mut body: Body) -> Result<GrantedBody, Problem> {
        let mut granted = GrantedBody { bytes: Vec::new(), grant: None };
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|error| Problem::malformed(format!("the body broke off: {error}")))?;
            let Ok(chunk) = frame.into_data() else { continue };
            if granted.bytes.len() + chunk.len() > HTTP_BODY_BYTES_MAX {
                return Err(too_large());
            }
            granted.keep(self.grant(&chunk)?);
            granted.bytes.extend_from_slice(&chunk);
        }
        Ok(granted)
    }

    fn grant(&self, chunk: &Bytes) -> Result<OwnedSemaphorePermit, Problem> {
        let size = u32::try_from(chunk.len()).map_err(|_| too_large())?;
        self.bytes.clone().try_acquire_many_owned(size).map_err(|_| {
            Problem::overloaded(
                format!("request bodies hold {BODY_MEMORY_MAX} bytes already"),
                RETRY_BODY_MS,
            )
        })
    }
}

fn too_large() -> Problem {
    Problem::new(
        Refusal::TooLarge,
        format!("a body may have at most {HTTP_BODY_BYTES_MAX} bytes; split it"),
    )
}

const BODY_MEMORY_MAX: usize = HTTP_BODIES_MAX * HTTP_BODY_BYTES_MAX;
const RETRY_BODY_MS: u32 = 500;
