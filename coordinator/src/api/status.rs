//! Whether the coordinator is well, what it is, and which workers it has.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use gristmill_common::WorkerId;
use gristmill_common::api::{About, WorkersPage};
use gristmill_common::{Code, Problem};

use super::App;
use super::answer::Answer;
use super::ask::{Asked, Nothing, Segment};
use crate::scheduler::Command;

/// The process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The driver answers, and with it the journal.
pub(super) async fn readyz(State(app): State<App>) -> Answer<&'static str> {
    app.driver.query(|_, _| ()).await?;
    Ok("ready\n")
}

pub(super) async fn about(State(app): State<App>, Asked(Nothing {}): Asked<Nothing>) -> Json<About> {
    Json(About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: app.epoch.cluster,
        epoch: app.epoch.counter,
        roots: app.roots.allowed().map(|root| root.display().to_string()).collect(),
    })
}

pub(super) async fn workers(State(app): State<App>, Asked(Nothing {}): Asked<Nothing>) -> Answer<Json<WorkersPage>> {
    Ok(Json(app.driver.query(|scheduler, now| scheduler.workers(now)).await?))
}

pub(super) async fn drain(State(app): State<App>, Segment(id): Segment) -> Answer<StatusCode> {
    let worker: WorkerId = id.parse().map_err(|_| Problem::new(Code::NotFound, "there is no such worker"))?;
    app.driver.command(Command::DrainWorker { worker }).await?;
    Ok(StatusCode::NO_CONTENT)
}
