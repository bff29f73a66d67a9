//! `POST /v1/topics/{topic}/messages`: one message.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use sidespan_bridge::Message;
use tokio::time::Instant;

use super::body::{Incoming, Limit};
use super::head::{Head, Terms};
use super::path::name;
use super::receipt::{AT_MOST_ONCE, StoredBody};
use super::upload::Upload;
use super::{Door, acceptable, json};
use crate::error::Error;
use crate::publish::fields::{event, own};
use crate::publish::{Admission, Route, Stored, new_id};
use crate::security::caller::Caller;

/// Publishes one message: refused before the body is read where there is no room, and the answer is
/// the broker's.
pub(super) async fn publish(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    let body = Upload::new(&parts.headers, body, &door.tasks);
    acceptable(&parts.headers, "application/json")?;
    let caller = Caller::of(&parts.extensions);
    let route = door.publishing.route(&caller, &name(&parts.uri)?)?;
    let terms = Terms::read(&parts.headers, &door.limits)?;
    let head = Head::read(&parts.headers)?;
    let (mut message, admission) = receive(&door, &route, &parts.headers, body, head, terms.deadline).await?;
    let id = terms.respond_async.then(|| message.id.get_or_insert_with(new_id).clone());
    let outcome = door.publishing.publish(&caller, &route, admission, vec![message], terms.deadline);
    if let Some(id) = id {
        unless_refused(&door, route.name(), outcome)?;
        return Ok(admitted(&id, route.name()));
    }
    let stored = outcome.await.pop().unwrap_or(Err(Error::Internal))?;
    Ok(json(&Receipt { topic: route.name(), stored: stored.into() }))
}

/// Waits for no broker. What refuses the message at once is the caller's to know, and the rest the log's.
fn unless_refused(
    door: &Door,
    topic: &str,
    outcome: impl Future<Output = Vec<Result<Stored, Error>>> + Send + 'static,
) -> Result<(), Error> {
    let mut outcome = Box::pin(outcome);
    if let Some(mut known) = (&mut outcome).now_or_never() {
        return known.pop().unwrap_or(Err(Error::Internal)).map(drop);
    }
    let topic = topic.to_owned();
    door.tasks.spawn(async move {
        if let Some(Err(error)) = outcome.await.pop() {
            tracing::warn!(topic, %error, "a message answered with 202 was not stored");
        }
    });
    Ok(())
}

/// Reads a message's body, as far as there is room for it at the broker.
pub(super) async fn receive(
    door: &Door,
    route: &Route,
    headers: &HeaderMap,
    body: Upload,
    head: Head,
    deadline: Instant,
) -> Result<(Message, Admission), Error> {
    let limit = Limit { name: "limits.max_message", most: door.limits.max_message };
    let mut body = Incoming::new(headers, body, limit, door.limits.read_timeout, deadline)?;
    // What is announced has to fit, but only what has come is counted: who announces much and sends
    // nothing keeps nobody out.
    drop(door.publishing.admit(route, 1, body.expected())?);
    let mut admission = door.publishing.admit(route, 1, 0)?;
    let payload = own(whole(&mut body, &mut admission).await?);
    Ok((complete(head, payload)?, admission))
}

/// Reads a body to its end. A body that came in one piece, as most do, is not copied.
async fn whole(body: &mut Incoming, admission: &mut Admission) -> Result<Bytes, Error> {
    let Some(first) = body.chunk().await? else { return Ok(Bytes::new()) };
    admission.grow(0, first.len())?;
    if body.is_whole() {
        return Ok(first);
    }
    let Some(second) = body.chunk().await? else { return Ok(first) };
    let mut all = BytesMut::with_capacity(body.expected().max(first.len() + second.len()));
    all.extend_from_slice(&first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        admission.grow(0, chunk.len())?;
        all.extend_from_slice(&chunk);
        next = body.chunk().await?;
    }
    Ok(all.freeze())
}

fn complete(head: Head, payload: Bytes) -> Result<Message, Error> {
    let Head { mut message, tombstone, format } = head;
    if tombstone {
        if format.is_some() || !payload.is_empty() {
            return Err(Error::Invalid(
                "a tombstone has no body: leave out the body or Sidespan-Tombstone".into(),
            ));
        }
        message.payload = None;
        return Ok(message);
    }
    message.payload = Some(payload);
    match format {
        Some(format) => event(message, format),
        None => Ok(message),
    }
}

fn admitted(id: &str, topic: &str) -> Response {
    #[derive(Serialize)]
    struct Admitted<'a> {
        topic: &'a str,
        id: &'a str,
        guarantee: &'static str,
    }
    let mut response =
        (StatusCode::ACCEPTED, json(&Admitted { topic, id, guarantee: AT_MOST_ONCE })).into_response();
    response.headers_mut().insert("preference-applied", HeaderValue::from_static("respond-async"));
    response
}

#[derive(Serialize)]
struct Receipt<'a> {
    topic: &'a str,
    #[serde(flatten)]
    stored: StoredBody,
}
