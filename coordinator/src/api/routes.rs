//! The one table of routes, each with the token that opens it and the size of body it takes.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post, put};
use gristmill_common::{Code, limits};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;

use super::answer::{Answer, Refusal};
use super::{App, answer, blobs, bundles, exchange, files, guard, jobs, logs, output, status};
use crate::auth::Scope::{self, Attempt, Client, Public, Worker};

/// Largest JSON body of a route, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct BodyLimit(pub(super) usize);

const NONE: BodyLimit = BodyLimit(0);
const JSON: BodyLimit = BodyLimit(limits::BODY_BYTES);
const SPEC: BodyLimit = BodyLimit(limits::SPEC_BYTES);
const POLL: BodyLimit = BodyLimit(limits::POLL_BYTES);
const LOG: BodyLimit = BodyLimit(limits::LOG_BYTES);
/// The body is a stream that its handler bounds.
const STREAM: BodyLimit = BodyLimit(0);

/// One route.
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) scope: Scope,
    body: BodyLimit,
    handler: MethodRouter<App>,
}

fn route(method: &'static str, path: &'static str, scope: Scope, body: BodyLimit, handler: MethodRouter<App>) -> Route {
    Route { method, path, scope, body, handler }
}

/// All routes.
#[rustfmt::skip]
pub(super) fn table() -> Vec<Route> {
    vec![
        route("GET",    "/healthz",                    Public,  NONE,   get(status::healthz)),
        route("GET",    "/readyz",                     Public,  NONE,   get(status::readyz)),

        route("GET",    "/v1/about",                   Client,  NONE,   get(status::about)),
        route("GET",    "/v1/workers",                 Client,  NONE,   get(status::workers)),
        route("POST",   "/v1/workers/{id}/drain",      Client,  NONE,   post(status::drain)),

        route("POST",   "/v1/jobs",                    Client,  SPEC,   post(jobs::submit)),
        route("GET",    "/v1/jobs",                    Client,  NONE,   get(jobs::list)),
        route("GET",    "/v1/jobs/{id}",               Client,  NONE,   get(jobs::show)),
        route("DELETE", "/v1/jobs/{id}",               Client,  NONE,   delete(jobs::remove)),
        route("POST",   "/v1/jobs/{id}/cancel",        Client,  NONE,   post(jobs::cancel)),
        route("POST",   "/v1/jobs/{id}/retry",         Client,  NONE,   post(jobs::retry)),
        route("POST",   "/v1/jobs/{id}/replay",        Client,  NONE,   post(jobs::replay)),
        route("GET",    "/v1/jobs/{id}/tasks",         Client,  NONE,   get(jobs::tasks)),
        route("GET",    "/v1/jobs/{id}/explain",       Client,  NONE,   get(jobs::explain)),
        route("GET",    "/v1/jobs/{id}/events",        Client,  NONE,   get(jobs::events)),
        route("GET",    "/v1/jobs/{id}/output",        Client,  NONE,   get(output::whole)),
        route("GET",    "/v1/jobs/{id}/output/{part}", Client,  NONE,   get(output::part)),

        route("GET",    "/v1/jobs/{id}/logs",          Client,  NONE,   get(logs::read)),

        route("PUT",    "/v1/bundles/{sha256}",        Client,  STREAM, put(bundles::write)),
        route("GET",    "/v1/bundles/{sha256}",        Client,  NONE,   get(bundles::read)),

        route("GET",    "/v1/store",                   Client,  NONE,   get(files::list)),
        route("DELETE", "/v1/store",                   Client,  NONE,   delete(files::remove_all)),
        route("PUT",    "/v1/store/{*path}",           Client,  STREAM, put(files::write)),
        route("GET",    "/v1/store/{*path}",           Client,  NONE,   get(files::read)),
        route("DELETE", "/v1/store/{*path}",           Client,  NONE,   delete(files::remove)),

        route("POST",   "/v1/worker/poll",             Worker,  POLL,   post(exchange::poll)),

        route("GET",    "/v1/worker/plan",             Attempt, NONE,   get(exchange::plan)),
        route("GET",    "/v1/worker/splits",           Attempt, NONE,   get(exchange::splits)),
        route("GET",    "/v1/worker/skips",            Attempt, NONE,   get(exchange::skips)),
        route("GET",    "/v1/worker/outputs",          Attempt, NONE,   get(exchange::outputs)),
        route("GET",    "/v1/worker/input/{file}",     Attempt, NONE,   get(blobs::input)),
        route("GET",    "/v1/worker/part/{n}",         Attempt, NONE,   get(blobs::part)),
        route("POST",   "/v1/worker/fetch",            Attempt, JSON,   post(blobs::fetch)),
        route("PUT",    "/v1/worker/output/{index}",   Attempt, STREAM, put(blobs::store_output)),
        route("PUT",    "/v1/worker/log/{index}",      Attempt, LOG,    put(logs::write)),
        route("GET",    "/v1/worker/bundle/{sha256}",  Attempt, NONE,   get(bundles::read_for_attempt)),
    ]
}

/// Returns the methods that the route of this path takes.
pub(super) fn methods_of(path: &str) -> Vec<&'static str> {
    table().iter().filter(|route| route.path == path).map(|route| route.method).collect()
}

/// Builds the router out of the table.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for Route { path, scope, body, handler, .. } in table() {
        let gate = middleware::from_fn_with_state((app.clone(), scope), guard::gate);
        let sheds = body == SPEC;
        let limited = move |State(app), request, next| limited(app, body, sheds, request, next);
        let limit = middleware::from_fn_with_state(app.clone(), limited);
        router = router.route(path, handler.route_layer(limit).route_layer(gate));
    }
    router
        .fallback(answer::no_such_route)
        .method_not_allowed_fallback(answer::no_such_method)
        // Bodies are bounded by the extractors here; axum's own default would cut uploads off.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(app.clone(), guard::address))
        .layer(CatchPanicLayer::custom(answer::panicked))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(TraceLayer::new_for_http().make_span_with(span))
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .with_state(app)
}

/// Notes the limit of the route for the extractors of bodies. Of submits, which are shed first, only so many bytes are in
/// work at a time; polls are not counted: they are as many as workers, and carry the reports that end work.
async fn limited(app: App, limit: BodyLimit, sheds: bool, mut request: Request, next: Next) -> Answer<Response> {
    request.extensions_mut().insert(limit);
    let _permit = if sheds { Some(submit_permit(&app, &request, limit)?) } else { None };
    Ok(next.run(request).await)
}

fn submit_permit(app: &App, request: &Request, limit: BodyLimit) -> Answer<OwnedSemaphorePermit> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok()).unwrap_or(limit.0);
    let kib = u32::try_from(length.min(limit.0) / 1_024 + 1).unwrap_or(u32::MAX);
    Arc::clone(&app.submits).try_acquire_many_owned(kib).map_err(|_| {
        Refusal::new(Code::Unavailable, "more submits are in work than there is memory for: try again later")
    })
}

/// Names a request in the log. Never its headers: they carry tokens.
fn span(request: &Request) -> tracing::Span {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let id: String = id.chars().take(64).collect();
    tracing::debug_span!("request", method = %request.method(), path = request.uri().path(), id)
}
