//! The doors for operators and for the kubelet.

mod log;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::json;

use crate::drain::Drain;
use crate::health::Health;
use crate::security::caller::Caller;

/// What these doors can see and do.
#[derive(Clone)]
pub struct Admin {
    /// How everything stands.
    pub health: Arc<Health>,
    /// How to stop.
    pub drain: Arc<Drain>,
}

/// The paths of the kubelet, which has no token.
pub const HEALTH: &[&str] = &["/livez", "/readyz", "/startupz"];

/// Returns the operators' door: health, and what changes the server. Where callers are configured, that
/// takes the right to manage it; otherwise whoever reaches this listener is an operator.
pub fn router(admin: Admin) -> Router {
    let log = get(log::show).put(log::change);
    health_routes().route("/drain", post(drain)).route("/log", log).with_state(admin)
}

/// Returns the kubelet's door: health alone.
pub fn health_router(admin: Admin) -> Router {
    health_routes().with_state(admin)
}

fn health_routes() -> Router<Admin> {
    // Serving at all means that the listeners are bound: that is all that a start is.
    Router::new().route("/livez", get(alive)).route("/startupz", get(alive)).route("/readyz", get(ready))
}

async fn alive() -> Response {
    Json(json!({"ok": true})).into_response()
}

async fn ready(State(admin): State<Admin>) -> Response {
    let report = admin.health.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

async fn drain(State(admin): State<Admin>, request: Request) -> Response {
    if let Some(caller) = request.extensions().get::<Caller>()
        && let Err(error) = caller.require_manage()
    {
        return error.into_response();
    }
    // A caller that hangs up does not call it off.
    let drained = tokio::spawn(async move { admin.drain.deliveries().await });
    match drained.await {
        Ok(unfinished) => Json(unfinished).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
