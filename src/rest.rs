//! The REST door: HTTP requests in, the use cases of [`crate::publish`], [`crate::request`] and
//! [`crate::pull`] and the state of [`crate::delivery`], problems, receipts and replies out.
//!
//! `openapi/sidespan.yaml` says what there is; the server serves it, and tests hold one to the other.
//! One thin [`guard`] stands before all of it: who may call, panics, errors in one form. More layers
//! would cost a third of the throughput.

mod asked;
mod base64;
mod batch;
mod body;
mod describe;
mod guard;
mod head;
mod message;
mod page;
mod path;
mod problem;
mod publish;
mod pull;
mod receipt;
mod reply;
mod request;
mod socket;
mod stream;
mod subscriptions;
mod tally;
mod topics;
mod upload;
mod verdicts;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::FutureExt;
use futures_util::future::Either;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Limits;
use crate::error::Error;
use crate::listen::Service;
use crate::publish::Publishing;
use crate::pull::Pulling;
use crate::request::Requesting;
use crate::subscriptions::Subscriptions;
use crate::telemetry::counts::{self, Open, Stream};

use self::stream::Tails;
use self::subscriptions::change;

pub use guard::{Guard, Guarded};

/// What the handlers share.
#[derive(Debug)]
pub struct Door {
    publishing: Arc<Publishing>,
    requesting: Arc<Requesting>,
    subscriptions: Arc<Subscriptions>,
    pulling: Arc<Pulling>,
    limits: Limits,
    drain: CancellationToken,
    streams: Arc<Semaphore>,
    tails: Tails,
    tasks: TaskTracker,
}

impl Door {
    /// Makes a door; streams end when `drain` is cancelled.
    pub fn new(
        publishing: Arc<Publishing>,
        requesting: Arc<Requesting>,
        subscriptions: Arc<Subscriptions>,
        pulling: Arc<Pulling>,
        limits: Limits,
        drain: CancellationToken,
    ) -> Self {
        let streams = Arc::new(Semaphore::new(limits.max_streams.min(Semaphore::MAX_PERMITS)));
        let (tails, tasks) = (Tails::default(), TaskTracker::new());
        Self { publishing, requesting, subscriptions, pulling, limits, drain, streams, tails, tasks }
    }

    /// Returns the places for streams, which all doors share.
    pub fn streams(&self) -> &Arc<Semaphore> {
        &self.streams
    }

    /// Returns the tasks that outlive their requests: publishes answered with 202, WebSockets, and
    /// the rests of bodies that were refused. Close and await it before the bridges are closed.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Counts a stream as open until what is returned is dropped.
    fn admit_stream(&self, kind: Stream) -> Result<OpenStream, Error> {
        OpenStream::take(&self.streams, kind).ok_or_else(|| Error::Limited {
            limit: "limits.max_streams",
            reason: format!("{} streams are open", self.limits.max_streams),
        })
    }
}

/// The place of an open stream, until it is dropped.
#[derive(Debug)]
pub struct OpenStream {
    _permit: OwnedSemaphorePermit,
    _open: Open,
}

impl OpenStream {
    /// Takes one of the places, if there is one.
    pub fn take(places: &Arc<Semaphore>, kind: Stream) -> Option<Self> {
        let permit = places.clone().try_acquire_owned().ok()?;
        Some(Self { _permit: permit, _open: kind.open() })
    }
}

/// Answers at the door; [`Guard::protect`] makes it safe to serve.
#[derive(Clone, Debug)]
pub struct Rest {
    door: Arc<Door>,
    router: Router,
}

impl Rest {
    /// Answers by what the door has.
    pub fn new(door: Arc<Door>) -> Self {
        Self { router: router(door.clone()), door }
    }
}

/// Returns the paths that this door has, with `{name}` for what differs.
pub fn paths() -> Vec<String> {
    describe::paths()
}

impl Service for Rest {
    /// What nearly every request asks for does without the router, which would cost it a tenth of its
    /// time in this process.
    fn answer(self, request: Request<Body>) -> impl Future<Output = Response> + Send + 'static {
        counts::Door::Rest.asked();
        if request.method() == Method::POST && path::is_messages(request.uri()) {
            let published = publish::publish(State(self.door), request);
            return Either::Left(published.map(IntoResponse::into_response));
        }
        Either::Right(self.router.answer(request))
    }
}

fn router(door: Arc<Door>) -> Router {
    let subscription = get(subscriptions::one).put(change::put).patch(change::patch).delete(change::delete);
    Router::new()
        .route("/openapi.json", get(describe::json))
        .route("/openapi.yaml", get(describe::yaml))
        .route("/v1/subscriptions", get(subscriptions::list))
        .route("/v1/subscriptions/{subscription}", subscription)
        .route("/v1/subscriptions/{subscription}/ack", post(pull::ack))
        .route("/v1/subscriptions/{subscription}/extend", post(pull::extend))
        .route("/v1/subscriptions/{subscription}/lag", get(subscriptions::lag))
        .route("/v1/subscriptions/{subscription}/nack", post(pull::nack))
        .route("/v1/subscriptions/{subscription}/pause", post(change::pause))
        .route("/v1/subscriptions/{subscription}/pull", post(pull::pull))
        .route("/v1/subscriptions/{subscription}/reply", post(reply::reply))
        .route("/v1/subscriptions/{subscription}/resume", post(change::resume))
        .route("/v1/subscriptions/{subscription}/seek", post(change::seek))
        .route("/v1/subscriptions/{subscription}/stream", get(socket::consume))
        .route("/v1/topics", get(topics::list))
        .route("/v1/topics/{topic}", get(topics::one))
        .route("/v1/topics/{topic}/batches", post(batch::publish))
        .route("/v1/topics/{topic}/messages", post(publish::publish))
        .route("/v1/topics/{topic}/requests", post(request::request))
        .route("/v1/topics/{topic}/stream", get(stream::stream))
        .with_state(door)
}

/// Writes a body as JSON.
fn json(body: &impl Serialize) -> Response {
    let mut json = Vec::with_capacity(256);
    match serde_json::to_writer(&mut json, body) {
        Ok(()) => {
            // A terminal shows the next prompt on a line of its own.
            json.push(b'\n');
            ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response()
        }
        // Our own types have string keys only; if that breaks, callers must not see half a body.
        Err(error) => {
            tracing::error!(%error, "cannot write a response");
            http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Checks that the caller takes `media_type`, before anything is done for it.
fn acceptable(headers: &HeaderMap, media_type: &'static str) -> Result<(), Error> {
    let mut ranges = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    let takes = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let essence = parts.next().unwrap_or("");
        let refused =
            parts.any(|parameter| parameter.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)));
        let group = media_type.split_once('/').map_or("", |(group, _)| group);
        let matches = essence == "*/*"
            || essence.eq_ignore_ascii_case(media_type)
            || essence.strip_suffix("/*").is_some_and(|range| range.eq_ignore_ascii_case(group));
        matches && !refused
    };
    if ranges.peek().is_none() || ranges.any(|value| value.split(',').any(takes)) {
        return Ok(());
    }
    Err(Error::NotAcceptable(format!(
        "the answer is {media_type}: add it to the header Accept, or leave that out"
    )))
}
