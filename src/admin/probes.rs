//! What the kubelet asks, each question by its own path, so that a chart can choose which one takes a pod out of
//! service.
//!
//! A broker that is away must not take a service out of service that stands beside a sidecar: two thousand would
//! go at once. So `/readyz/listeners` knows only of the listeners, `/readyz/publish` of the way to the brokers,
//! and `/readyz` of everything.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, Uri};
use serde::Serialize;
use serde_json::json;

use super::Admin;
use crate::health::Summary;

/// The paths of the kubelet, which has no token.
pub const PATHS: &[&str] = &["/livez", "/readyz", "/readyz/listeners", "/readyz/publish", "/startupz"];

pub(super) fn routes() -> Router<Admin> {
    // Serving at all means that the listeners are bound: that is all that a start is.
    Router::new()
        .route("/livez", get(alive))
        .route("/startupz", get(alive))
        .route("/readyz", get(ready))
        .route("/readyz/listeners", get(listening))
        .route("/readyz/publish", get(publishing))
}

async fn alive() -> Response {
    Json(json!({"ok": true})).into_response()
}

/// A server that drains still takes messages: the service beside it has not said its last word.
async fn listening(State(admin): State<Admin>) -> Response {
    let draining = admin.drain.started().is_cancelled();
    Json(Summary { ready: true, draining, waiting_for: Vec::new() }).into_response()
}

async fn publishing(State(admin): State<Admin>, uri: Uri) -> Response {
    let report = admin.health.publish_report();
    if is_verbose(&uri) { tell(report.ready, &report) } else { tell(report.ready, &report.summary()) }
}

async fn ready(State(admin): State<Admin>, uri: Uri) -> Response {
    let report = admin.health.report();
    if is_verbose(&uri) { tell(report.ready, &report) } else { tell(report.ready, &report.summary()) }
}

fn tell(ready: bool, report: &impl Serialize) -> Response {
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

/// `?verbose`, as with the probes of Kubernetes itself.
fn is_verbose(uri: &Uri) -> bool {
    uri.query().unwrap_or_default().split('&').any(|part| part == "verbose" || part.starts_with("verbose="))
}
