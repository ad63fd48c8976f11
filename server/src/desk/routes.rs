//! The HTTP routes: what each reads from a request and what it answers.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{MatchedPath, Path, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use trendsrv_proto::limits::{TIME_MS_MAX, TOP_K_MAX};
use trendsrv_proto::{Rank, Refusal, TenantId, check_name};

use super::answer::TenantLine;
use super::ingest::{Asked, deliver};
use super::lines::{Lines, Rules, name_fault};
use super::mail::{DeskMail, QueryMail, TenantsMail};
use super::problem::Problem;
use super::{DeskState, Phase, latency, metrics, openapi, programs};
use crate::config::limits::TENANT_PAGE_MAX;

type Desk = State<Arc<DeskState>>;
type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// All routes.
pub(super) fn router(state: Arc<DeskState>) -> Router {
    Router::new()
        .route("/", get(pointer))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .route("/openapi.json", get(description))
        .route("/v1/events", post(mixed_events))
        .route("/v1/latency", get(latency))
        .route("/v1/shards", get(shards))
        .route("/v1/tenants", get(tenants))
        .route("/v1/tenants/{tenant}/events", post(tenant_events))
        .route("/v1/tenants/{tenant}/trending", get(trending))
        .merge(programs::router())
        .fallback(|uri: Uri| async move { Problem::no_such_path(uri.path()) })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            Problem::wrong_method(method.as_str(), uri.path())
        })
        .layer(from_fn_with_state(state.clone(), refuse_before_ready))
        .layer(from_fn_with_state(state.clone(), count_reply))
        .with_state(state)
}

/// While shards recover, only what needs none of them is answered.
async fn refuse_before_ready(State(state): Desk, request: Request, next: Next) -> Response {
    let needs_no_shard = ["/", "/healthz", "/openapi.json"].contains(&request.uri().path());
    if state.phase.current() == Phase::Starting && !needs_no_shard {
        return Problem::not_ready(RETRY_START_MS).into_response();
    }
    next.run(request).await
}

/// Counts by route pattern, never by path: the label set stays bounded.
async fn count_reply(State(state): Desk, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    state.requests.count(route, response.status().as_u16());
    response
}

async fn pointer() -> &'static str {
    "trendsrv: what is trending for each tenant right now.\n\
     GET  /v1/tenants/{tenant}/trending   its top topics\n\
     POST /v1/tenants/{tenant}/events     send events, one JSON object a line\n\
     GET  /v1/tenants                     who is there\n\
     PUT  /v1/programs/{name}             a program of your own, in WebAssembly\n\
     GET  /openapi.json                   everything else\n"
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(state): Desk) -> Response {
    match state.phase.current() {
        Phase::Ready => {}
        Phase::Starting => return Problem::not_ready(RETRY_START_MS).into_response(),
        Phase::Draining => {
            return Problem::new(Refusal::GoAway, "draining").into_response();
        }
    }
    match state.shards.stats().await.into_iter().find_map(Result::err) {
        Some(refused) => Problem::from(refused).into_response(),
        None => "ready\n".into_response(),
    }
}

async fn scrape(State(state): Desk) -> Response {
    let sources = metrics::Sources {
        shards: &state.shards,
        requests: &state.requests,
        connections: &state.connections,
        bodies: &state.bodies,
        builder: state.library.builder(),
    };
    let text = metrics::scrape(&sources).await;
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
        .into_response()
}

async fn description() -> Response {
    ([(CONTENT_TYPE, "application/json")], openapi::DOCUMENT).into_response()
}

async fn shards(State(state): Desk) -> Json<serde_json::Value> {
    let shards: Vec<_> = (0_usize..)
        .zip(state.shards.stats().await)
        .map(|(shard, stats)| match stats {
            Ok(stats) => json!(stats),
            Err(refused) => {
                json!({ "shard": shard, "code": refused.code.name(), "message": refused.message })
            }
        })
        .collect();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "shards": shards,
        "memory_plan": state.plan,
        "memory_planned_bytes": state.plan.planned_bytes(),
        "memory_cap_bytes": state.plan.cap_bytes(),
    }))
}

async fn latency(State(state): Desk) -> Result<Json<serde_json::Value>, Problem> {
    Ok(Json(latency::report(&state.shards).await?))
}

async fn tenant_events(
    State(state): Desk,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let tenant = tenant_name(path)?;
    ingest(&state, Some(&tenant), &headers, body).await
}

async fn mixed_events(
    State(state): Desk,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    ingest(&state, None, &headers, body).await
}

async fn ingest(
    state: &DeskState,
    tenant: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if state.phase.current() == Phase::Draining {
        return Err(Problem::new(Refusal::GoAway, "the server is draining"));
    }
    let asked = Asked::from_headers(headers)?;
    let body = state.bodies.read(headers, body).await?;
    let rules = Rules { tenant, now_ms: (state.now_ms)(), clock: state.clock };
    // The grant travels with the mail: a body's memory is free when its shard is done with it.
    let (text, grant) = body.into_parts();
    let lines = Lines::read(&text, &rules)
        .map_err(|error| Problem::new(Refusal::TooLarge, error.to_string()))?;
    drop(text);
    Ok(deliver(lines, asked, &grant, &state.shards).await)
}

async fn trending(
    State(state): Desk,
    path: Result<Path<String>, PathRejection>,
    pairs: Pairs,
) -> Result<Response, Problem> {
    let name = tenant_name(path)?;
    let parameters = Parameters::read(pairs, &["k", "rank", "at"])?;
    let k = parameters.number("k", 1, TOP_K_MAX as u64)?.unwrap_or(10);
    let k = u16::try_from(k).expect("checked: at most top_k_max");
    let rank = match parameters.text("rank") {
        None | Some("score") => Rank::Score,
        Some("count") => Rank::Count,
        Some(other) => {
            return Err(Problem::malformed(format!("rank: must be score or count, not {other:?}")));
        }
    };
    let at_ms = parameters.number("at", 1, TIME_MS_MAX)?;
    let tenant = TenantId::of(&name);
    let name = name.into_boxed_str();
    let answer = state
        .shards
        .ask(state.shards.owner(tenant), |reply| {
            DeskMail::Query(QueryMail { tenant, name, k, rank, at_ms, reply })
        })
        .await??;
    Ok(Json(answer).into_response())
}

async fn tenants(State(state): Desk, pairs: Pairs) -> Result<Response, Problem> {
    let parameters = Parameters::read(pairs, &["prefix", "limit", "after"])?;
    let limit = parameters.number("limit", 1, TENANT_PAGE_MAX as u64)?.unwrap_or(100);
    let limit = u16::try_from(limit).expect("checked: at most tenant_page_max");
    let (prefix, after) =
        (parameters.text("prefix").unwrap_or(""), parameters.text("after").unwrap_or(""));
    for (what, text) in [("prefix", prefix), ("after", after)] {
        if !text.is_empty() {
            check_name(text.as_bytes()).map_err(|error| name_problem(what, error))?;
        }
    }
    let asked: Vec<_> = (0..state.shards.count())
        .map(|shard| {
            let (state, prefix, after) = (state.clone(), prefix.into(), after.into());
            tokio::spawn(async move {
                let mail = |reply| DeskMail::Tenants(TenantsMail { prefix, after, limit, reply });
                state.shards.ask(shard, mail).await
            })
        })
        .collect();
    let mut page: Vec<TenantLine> = Vec::new();
    for answer in asked {
        let lines = answer.await.map_err(|error| {
            Problem::overloaded(format!("asking a shard failed: {error}"), RETRY_START_MS)
        })?;
        page.extend(lines?);
    }
    page.sort_unstable_by(|a, b| a.tenant.as_bytes().cmp(b.tenant.as_bytes()));
    // A full page may have a next one; each shard gave its own first `limit`, so none is skipped.
    let full = page.len() >= usize::from(limit);
    page.truncate(usize::from(limit));
    let next = page.last().filter(|_| full).map(|line| line.tenant.clone());
    Ok(Json(json!({ "tenants": page, "next": next })).into_response())
}

pub(super) fn tenant_name(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(name) =
        path.map_err(|error| Problem::malformed(format!("tenant: {}", error.body_text())))?;
    check_name(name.as_bytes()).map_err(|error| name_problem("tenant", error))?;
    Ok(name)
}

/// A name in an address that breaks the rule: never 413, which is about bodies.
fn name_problem(what: &str, error: trendsrv_proto::NameError) -> Problem {
    let (code, message) = name_fault(what, error);
    Problem::new(code, message).with_status(StatusCode::BAD_REQUEST)
}

/// The parameters of a query string: known, and each at most once.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn read(pairs: Pairs, known: &[&str]) -> Result<Self, Problem> {
        let Query(pairs) = pairs
            .map_err(|error| Problem::malformed(format!("parameters: {}", error.body_text())))?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let known = known.join(", ");
                return Err(Problem::malformed(format!(
                    "{name}: no such parameter; there are {known}"
                )));
            }
            if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::malformed(format!("{name}: given twice")));
            }
        }
        Ok(Parameters(pairs))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    fn number(&self, name: &str, low: u64, high: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse::<u64>().ok().filter(|n| (low..=high).contains(n)).map(Some).ok_or_else(|| {
            Problem::malformed(format!(
                "{name}: must be a whole number from {low} to {high}, not {text:?}"
            ))
        })
    }
}

const RETRY_START_MS: u32 = 1_000;
