//! The access log: a line for a share of the requests, and for each that fails.
//!
//! It stands before everything else of a door, so that it sees what callers get. A line is written once the answer's
//! body has ended, and so it has the whole time of a stream; a socket that is upgraded has that of its handshake.

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bytes::{Buf, Bytes};
use futures_util::future::Either;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body::{Frame, SizeHint};

use super::Service;
use crate::grpc;
use crate::security::caller::Caller;
use crate::telemetry::log::{ACCESS, trace_id_of};

/// Which requests get a line. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Access(Option<Arc<Share>>);

/// A door whose requests may get lines.
#[derive(Clone, Debug)]
pub struct Logged<S> {
    access: Access,
    door: S,
}

/// Where the guard leaves the caller of a request that may get a line.
#[derive(Clone, Debug, Default)]
pub struct Sender(Arc<OnceLock<Caller>>);

#[derive(Debug)]
struct Share {
    of: f64,
    count: AtomicU64,
    hasher: RandomState,
    templates: Vec<String>,
}

impl Access {
    /// Writes lines for a share of all requests, from 0 (none at all) to 1. `templates` are the paths that there are, with
    /// `{name}` for what differs: what callers write is not repeated.
    pub fn new(share: f64, templates: impl FnOnce() -> Vec<String>) -> Self {
        let is_on = share > 0.0;
        Self(is_on.then(|| {
            let (count, hasher) = (AtomicU64::new(0), RandomState::new());
            Arc::new(Share { of: share, count, hasher, templates: templates() })
        }))
    }

    /// Puts it before a door.
    pub fn before<S: Service>(&self, door: S) -> Logged<S> {
        Logged { access: self.clone(), door }
    }
}

impl Sender {
    /// Notes who it is.
    pub fn is(&self, caller: &Caller) {
        let _ = self.0.set(caller.clone());
    }
}

impl Share {
    /// Draws a lot.
    fn wants_next(&self) -> bool {
        let number = self.hasher.hash_one(self.count.fetch_add(1, Ordering::Relaxed));
        // 53 bits are what such a number has room for.
        (number >> 11) as f64 / (1_u64 << 53) as f64 <= self.of
    }

    fn template(&self, path: &str) -> &str {
        let fits = |template: &&String| {
            let mut given = path.split('/');
            let same = |part: &str| {
                given
                    .next()
                    .is_some_and(|given| given == part || (part.starts_with('{') && !given.is_empty()))
            };
            template.split('/').all(same) && given.next().is_none()
        };
        // Of two that fit, the one that says more.
        let found = self.templates.iter().filter(fits).min_by_key(|template| template.matches('{').count());
        found.map_or("other", String::as_str)
    }
}

impl<S: Service> Service for Logged<S> {
    fn answer(self, request: Request<Body>) -> impl Future<Output = Response> + Send + 'static {
        match self.access.0 {
            None => Either::Left(self.door.answer(request)),
            Some(share) => Either::Right(Box::pin(observe(share, self.door, request))),
        }
    }
}

async fn observe(share: Arc<Share>, door: impl Service, mut request: Request<Body>) -> Response {
    let is_wanted = share.wants_next();
    let is_call = grpc::is_call(&request);
    let mut entry = Entry {
        share,
        is_wanted,
        is_call,
        began: Instant::now(),
        method: request.method().clone(),
        uri: request.uri().clone(),
        sender: Sender::default(),
        trace_id: trace_id_of(request.headers()).map(Into::into),
        status: StatusCode::OK,
        grpc_status: None,
        bytes: 0,
    };
    request.extensions_mut().insert(entry.sender.clone());
    let response = door.answer(request).await;
    entry.status = response.status();
    entry.read_grpc_status(response.headers());
    if entry.is_wanted || entry.is_call || entry.has_failed() {
        return response.map(|body| Body::new(Observed { body, entry }));
    }
    response
}

/// What a line says.
#[derive(Debug)]
struct Entry {
    share: Arc<Share>,
    is_wanted: bool,
    is_call: bool,
    began: Instant,
    method: Method,
    uri: Uri,
    sender: Sender,
    trace_id: Option<Box<str>>,
    status: StatusCode,
    grpc_status: Option<u8>,
    bytes: u64,
}

impl Entry {
    fn read_grpc_status(&mut self, headers: &HeaderMap) {
        let status = headers.get("grpc-status").and_then(|status| status.to_str().ok()?.parse().ok());
        self.grpc_status = status.or(self.grpc_status);
    }

    /// The codes that stand for 5xx: unknown, deadline exceeded, internal, unavailable, data loss.
    fn has_failed(&self) -> bool {
        self.status.is_server_error() || matches!(self.grpc_status, Some(2 | 4 | 13..=15))
    }

    fn write(&self) {
        let Self { method, status, grpc_status, bytes, trace_id, .. } = self;
        let route = self.share.template(self.uri.path());
        let caller = self.sender.0.get().map(Caller::name);
        let status = status.as_u16();
        let duration_ms = self.began.elapsed().as_secs_f64() * 1e3;
        if self.has_failed() {
            tracing::warn!(target: ACCESS, %method, route, status, grpc_status, bytes, duration_ms, caller, trace_id, "request");
        } else {
            tracing::info!(target: ACCESS, %method, route, status, grpc_status, bytes, duration_ms, caller, trace_id, "request");
        }
    }
}

/// The body of an answer that is counted; the line is written at its end, or when nobody wants the rest.
struct Observed {
    body: Body,
    entry: Entry,
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => self.entry.bytes += data.remaining() as u64,
                (None, Some(trailers)) => self.entry.read_grpc_status(trailers),
                (None, None) => {}
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if self.entry.is_wanted || self.entry.has_failed() {
            self.entry.write();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(of: f64) -> Share {
        let templates = [
            "/v1/topics",
            "/v1/topics/{topic}/messages",
            "/v1/subscriptions/{name}",
            "/v1/subscriptions/all",
        ];
        let templates = templates.map(str::to_owned).to_vec();
        Share { of, count: AtomicU64::new(0), hasher: RandomState::new(), templates }
    }

    #[test]
    fn a_line_says_which_route_and_never_which_name() {
        let share = share(1.0);
        for (path, template) in [
            ("/v1/topics", "/v1/topics"),
            ("/v1/topics/secret/messages", "/v1/topics/{topic}/messages"),
            ("/v1/subscriptions/all", "/v1/subscriptions/all"),
            ("/v1/subscriptions/bob", "/v1/subscriptions/{name}"),
            ("/v1/topics//messages", "other"),
            ("/v1/topics/a/messages/b", "other"),
            ("/", "other"),
        ] {
            assert_eq!(share.template(path), template, "{path}");
        }
    }

    #[test]
    fn as_many_get_a_line_as_was_asked_for() {
        for of in [0.01, 0.5, 1.0] {
            let share = share(of);
            let lines = (0..100_000).filter(|_| share.wants_next()).count() as f64;
            assert!((lines - of * 100_000.0).abs() < 1_500.0, "{of}: {lines}");
        }
    }
}
