//! The routes of tenant programs: upload, list, remove, assign, look.
//!
//! Owns what requests say and what replies look like. The library decides, and the shards are told
//! by mail.
//!
//! ```text
//!   PUT /v1/programs/x      body ─▶ prepare (child process) ─▶ put ─▶ every shard: Install
//!   PUT /v1/tenants/t/program    ─▶ assign ─▶ the owner of t: Assign
//! ```
//!
//! Invariant: a change that was begun is finished, whether or not its client still waits.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use trendsrv_proto::{Refusal, TenantId};
use trendsrv_wasm_host::ProgramLine;
use trendsrv_wasm_host::limits::PROGRAM_BYTES_MAX;

use super::mail::{DeskMail, ProgramMail, Refused, Reply};
use super::problem::Problem;
use super::routes::tenant_name;
use super::{DeskState, Phase};
use crate::programs::{Entry, LibraryError, ProgramName, Shelves, hex};

type Desk = State<Arc<DeskState>>;
type OnePath = Result<Path<String>, PathRejection>;

/// The routes.
pub(super) fn router() -> Router<Arc<DeskState>> {
    use axum::routing::{get, put};
    Router::new()
        .route("/v1/programs", get(list))
        .route("/v1/programs/{name}", put(upload).get(one).delete(remove))
        .route("/v1/tenants/{tenant}/program", put(assign).get(status).delete(unassign))
}

async fn list(State(state): Desk) -> Result<Response, Problem> {
    let counts = counts(&state).await?;
    let shelves = state.library.shelves().await;
    let lines = shelves.entries().map(|(name, entry)| line(&shelves, &counts, name, entry));
    let programs: Vec<Value> = lines.collect();
    let default = shelves.default_program().map_or(ProgramName::NATIVE, ProgramName::as_str);
    Ok(Json(json!({ "programs": programs, "default": default })).into_response())
}

async fn one(State(state): Desk, path: OnePath) -> Result<Response, Problem> {
    let name = program_name(path)?;
    let counts = counts(&state).await?;
    let shelves = state.library.shelves().await;
    let entry = shelves.entry(&name).map_err(|error| plain_problem_of(&error))?;
    Ok(Json(line(&shelves, &counts, &name, entry)).into_response())
}

fn line(shelves: &Shelves, counts: &[ProgramLine], name: &ProgramName, entry: &Entry) -> Value {
    let mut line = about(name, entry);
    let mine = || counts.iter().filter(|count| &*count.name == name.as_str());
    let sum = |field: fn(&ProgramLine) -> u64| mine().map(field).sum::<u64>();
    line["shipped"] = entry.shipped.into();
    line["default"] = (shelves.default_program() == Some(name)).into();
    line["assigned"] = entry.assigned.into();
    line["instances"] = sum(|count| count.instances).into();
    line["calls"] = sum(|count| count.calls).into();
    line["faults"] = sum(|count| count.faults).into();
    line["fuel_used"] = sum(|count| count.fuel_used).into();
    line
}

async fn upload(
    State(state): Desk,
    path: OnePath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name = program_name(path)?;
    not_draining(&state)?;
    let (wasm, grant) = state.bodies.read(&headers, body).await?.into_parts();
    if wasm.len() > PROGRAM_BYTES_MAX {
        let message = format!("a program has at most {PROGRAM_BYTES_MAX} bytes");
        return Err(Problem::new(Refusal::TooLarge, message));
    }
    to_its_end(async move {
        let prepared = state.library.prepare(name.clone(), wasm, false).await;
        drop(grant);
        let prepared = prepared.map_err(|error| problem_of(&name, &error))?;
        let mut shelves = state.library.shelves().await;
        let is_new = shelves.put(prepared).await.map_err(|error| problem_of(&name, &error))?;
        let entry = shelves.entry(&name).map_err(|error| problem_of(&name, &error))?;
        let told = entry.programs.iter().enumerate().map(|(shard, program)| {
            let program = program.clone();
            (shard, move |reply| ProgramMail::Install { program, reply })
        });
        // The next change waits, so that shards hear of changes in their order.
        tell(&state, told).await?;
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        Ok((status, Json(about(&name, entry))).into_response())
    })
    .await
}

async fn remove(State(state): Desk, path: OnePath) -> Result<Response, Problem> {
    let name = program_name(path)?;
    not_draining(&state)?;
    to_its_end(async move {
        let mut shelves = state.library.shelves().await;
        shelves.remove(&name).await.map_err(|error| problem_of(&name, &error))?;
        let told = (0..state.shards.count()).map(|shard| {
            let name = Box::from(name.as_str());
            (shard, move |reply| ProgramMail::Remove { name, reply })
        });
        tell(&state, told).await?;
        Ok(Json(json!({ "removed": name })).into_response())
    })
    .await
}

async fn assign(
    State(state): Desk,
    path: OnePath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let tenant = tenant_name(path)?;
    let (text, _grant) = state.bodies.read(&headers, body).await?.into_parts();
    let asked: Assignment = serde_json::from_slice(&text).map_err(|error| {
        Problem::malformed(format!("the body must be {{\"program\":\"name\"}}: {error}"))
    })?;
    let program = ProgramName::new(&asked.program)
        .map_err(|error| Problem::malformed(format!("program: {:?}: {error}", asked.program)))?;
    change_assignment(state, tenant, Some(program)).await
}

async fn unassign(State(state): Desk, path: OnePath) -> Result<Response, Problem> {
    let tenant = tenant_name(path)?;
    change_assignment(state, tenant, None).await
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Assignment {
    program: String,
}

async fn change_assignment(
    state: Arc<DeskState>,
    tenant: String,
    program: Option<ProgramName>,
) -> Result<Response, Problem> {
    not_draining(&state)?;
    to_its_end(async move {
        let mut shelves = state.library.shelves().await;
        let done = shelves.assign(&tenant, program.clone()).await;
        done.map_err(|error| plain_problem_of(&error))?;
        let id = TenantId::of(&tenant);
        let program = program.map(|program| Box::from(program.as_str()));
        let mail = move |reply| ProgramMail::Assign { tenant: id, program, reply };
        tell(&state, std::iter::once((state.shards.owner(id), mail))).await?;
        drop(shelves);
        status_of(&state, &tenant).await
    })
    .await
}

async fn status(State(state): Desk, path: OnePath) -> Result<Response, Problem> {
    status_of(&state, &tenant_name(path)?).await
}

async fn status_of(state: &DeskState, tenant: &str) -> Result<Response, Problem> {
    let id = TenantId::of(tenant);
    let ask = |reply| DeskMail::Program(ProgramMail::Status { tenant: id, reply });
    let status = state.shards.ask(state.shards.owner(id), ask).await?;
    let assigned = state.library.shelves().await.assignments().contains_key(tenant);
    Ok(Json(json!({
        "tenant": tenant,
        "program": status.program,
        "assigned": assigned,
        "state": status.state.name(),
        "faults": status.faults,
        "last_error": status.last_error,
        "retry_at_ms": status.retry_at_ms,
        "calls": status.calls,
        "fuel_used": status.fuel_used,
    }))
    .into_response())
}

/// Tells shards of a change and awaits that all have heard; the first that cannot is told.
async fn tell<M>(state: &DeskState, mails: impl Iterator<Item = (usize, M)>) -> Result<(), Problem>
where
    M: FnOnce(Reply<Result<(), Refused>>) -> ProgramMail + Send + 'static,
{
    // One task each, so that a silent shard keeps nobody else from hearing.
    let told: Vec<_> = mails
        .map(|(shard, mail)| {
            let shards = state.shards.clone();
            tokio::spawn(
                async move { shards.ask(shard, |reply| DeskMail::Program(mail(reply))).await },
            )
        })
        .collect();
    let mut first = Ok(());
    for done in told {
        let done = done.await.map_err(lost)?.map_err(Problem::from);
        first = first.and(done.and_then(|done| done.map_err(Problem::from)));
    }
    first
}

/// What each program did, a line for each program and shard.
async fn counts(state: &DeskState) -> Result<Vec<ProgramLine>, Problem> {
    let asked: Vec<_> = (0..state.shards.count())
        .map(|shard| {
            let shards = state.shards.clone();
            let mail = |reply| DeskMail::Program(ProgramMail::List { reply });
            tokio::spawn(async move { shards.ask(shard, mail).await })
        })
        .collect();
    let mut lines = Vec::new();
    for answer in asked {
        lines.extend(answer.await.map_err(lost)??);
    }
    Ok(lines)
}

/// Does a change whether or not its client goes away meanwhile.
async fn to_its_end(
    change: impl Future<Output = Result<Response, Problem>> + Send + 'static,
) -> Result<Response, Problem> {
    tokio::spawn(change).await.map_err(lost)?
}

fn about(name: &ProgramName, entry: &Entry) -> Value {
    json!({
        "name": name,
        "hash": hex(&entry.hash),
        "bytes": entry.bytes,
        "artefact_bytes": entry.artefact_bytes,
        "exports": entry.exports(),
    })
}

fn program_name(path: OnePath) -> Result<ProgramName, Problem> {
    let Path(name) =
        path.map_err(|error| Problem::malformed(format!("program: {}", error.body_text())))?;
    ProgramName::new(&name)
        .map_err(|error| Problem::malformed(format!("program: {name:?}: {error}")))
}

fn not_draining(state: &DeskState) -> Result<(), Problem> {
    match state.phase.current() {
        Phase::Draining => Err(Problem::new(Refusal::GoAway, "the server is draining")),
        Phase::Starting | Phase::Ready => Ok(()),
    }
}

/// A problem with a program, whose name it says.
fn problem_of(name: &ProgramName, error: &LibraryError) -> Problem {
    let is_final = match error {
        LibraryError::Rejected(_) => true,
        LibraryError::Compile(error) => error.is_final(),
        _ => false,
    };
    if is_final {
        return Problem::new(Refusal::ProgramFailed, format!("program {name}: {error}"))
            .with_status(StatusCode::UNPROCESSABLE_ENTITY);
    }
    plain_problem_of(error)
}

fn plain_problem_of(error: &LibraryError) -> Problem {
    let message = error.to_string();
    match error {
        LibraryError::Compile(_) | LibraryError::Rejected(_) => {
            Problem::overloaded(message, RETRY_COMPILE_MS)
        }
        LibraryError::Reserved(_) | LibraryError::InUse { .. } | LibraryError::Default(_) => {
            Problem::malformed(message).with_status(StatusCode::CONFLICT)
        }
        LibraryError::TooMany | LibraryError::TooMuchCode | LibraryError::TooManyAssignments(_) => {
            Problem::new(Refusal::TooLarge, message).with_status(StatusCode::CONFLICT)
        }
        LibraryError::Unknown(_) => Problem::not_found(message),
        LibraryError::Journal(_) => Problem::new(Refusal::StorageFailed, message),
    }
}

fn lost(error: tokio::task::JoinError) -> Problem {
    Problem::overloaded(format!("asking a shard failed: {error}"), RETRY_LOST_MS)
}

const RETRY_COMPILE_MS: u32 = 2_000;
const RETRY_LOST_MS: u32 = 1_000;
