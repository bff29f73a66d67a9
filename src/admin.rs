//! The doors for operators and for the kubelet.

mod log;
mod probes;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use crate::drain::Drain;
use crate::error::Error;
use crate::health::Health;
use crate::scrape::Scrape;
use crate::security::caller::Caller;
use crate::telemetry::metrics::Format;

/// What these doors can see and do.
#[derive(Clone)]
pub struct Admin {
    /// How everything stands.
    pub health: Arc<Health>,
    /// How to stop.
    pub drain: Arc<Drain>,
    /// What is counted and measured, if it is told.
    pub scrape: Option<Arc<Scrape>>,
}

pub use probes::PATHS as HEALTH;

/// Returns the operators' door: health, and what changes the server. Where callers are configured, that
/// takes the right to manage it; otherwise whoever reaches this listener is an operator.
pub fn router(admin: Admin) -> Router {
    let log = get(log::show).put(log::change);
    told().route("/drain", post(drain)).route("/log", log).with_state(admin)
}

/// Returns the door of the kubelet and of Prometheus: health and metrics alone.
pub fn health_router(admin: Admin) -> Router {
    told().with_state(admin)
}

/// What both doors tell.
fn told() -> Router<Admin> {
    probes::routes().route("/metrics", get(metrics))
}

/// Whatever Prometheus asks for; without a wish plain text. Names of topics and subscriptions stand in it, so who
/// calls an operators' door that asks for tokens needs one, of any caller.
async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let Some(scrape) = admin.scrape else { return Error::NotFound.into_response() };
    let format = Format::asked(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()));
    ([(CONTENT_TYPE, format.content_type())], scrape.read().write(format)).into_response()
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
