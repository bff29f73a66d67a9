//! The door for the other replicas of the service: one path on the listener for services, before
//! everything that is meant for callers. Who knows the shared secret may call, and nobody else.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::response::{IntoResponse, Response};
use futures_util::TryFutureExt;
use futures_util::future::Either;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request};
use tokio::time::timeout;

use crate::error::Error;
use crate::listen::Service;
use crate::pull::Pulling;
use crate::pull::peers::{CODE, PATH};

/// Answers replicas, and leaves all other requests to `door`.
#[derive(Clone, Debug)]
pub struct Replicas<S> {
    pulling: Arc<Pulling>,
    door: S,
}

impl<S: Service> Replicas<S> {
    /// Stands before a door.
    pub fn before(door: S, pulling: Arc<Pulling>) -> Self {
        Self { pulling, door }
    }
}

impl<S: Service> Service for Replicas<S> {
    fn answer(self, request: Request<Body>) -> impl Future<Output = Response> + Send + 'static {
        if request.uri().path() == PATH && self.pulling.peers().is_some() {
            let answered = async move { answer(&self.pulling, request).await };
            // In a box, as every connection has room for what is returned here.
            return Either::Left(Box::pin(answered.unwrap_or_else(IntoResponse::into_response)));
        }
        Either::Right(self.door.answer(request))
    }
}

async fn answer(pulling: &Pulling, request: Request<Body>) -> Result<Response, Error> {
    let peers = pulling.peers().ok_or(Error::NotFound)?;
    if request.method() != Method::POST {
        return Err(Error::MethodNotAllowed);
    }
    let stranger = || Error::Forbidden("only replicas of this service call here".into());
    let (parts, body) = request.into_parts();
    let code = parts.headers.get(CODE).and_then(|code| code.to_str().ok()).ok_or_else(stranger)?;
    let body = timeout(READ, to_bytes(body, MOST_ASKED)).await.map_err(|_| Error::RequestTimeout)?;
    let body = body.map_err(|_| stranger())?;
    if !peers.is_signed(code, &body) {
        return Err(stranger());
    }
    let ask = serde_json::from_slice(&body).map_err(|_| {
        Error::Invalid("the call of the replica is not understood: is it of another release?".into())
    })?;
    let told = serde_json::to_vec(&pulling.answer(ask).await).map_err(|_| Error::Internal)?;
    let code = peers.sign_answer(code, &told);
    let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut response = ([json], told).into_response();
    response.headers_mut().insert(CODE, HeaderValue::from_str(&code).map_err(|_| Error::Internal)?);
    Ok(response)
}

/// Replicas send their calls in one piece.
const READ: Duration = Duration::from_secs(5);
/// As many ack ids as are sent in one call, or the largest reply, in base64.
const MOST_ASKED: usize = 2 << 20;
