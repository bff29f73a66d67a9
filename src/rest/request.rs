//! `POST /v1/topics/{topic}/requests`: a message, and the reply to it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use sidespan_bridge::{Message, REPLY_STATUS};

use super::Door;
use super::head::{Head, Terms};
use super::path::name;
use super::publish::receive;
use super::upload::Upload;
use crate::error::Error;
use crate::headers;
use crate::request::status;
use crate::security::caller::Caller;

/// Asks, and answers with the reply. A failure of ours is a problem, and has no `Sidespan-Reply`.
pub(super) async fn request(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    let body = Upload::new(&parts.headers, body, &door.tasks);
    let caller = Caller::of(&parts.extensions);
    let route = door.publishing.route(&caller, &name(&parts.uri)?)?;
    let terms = Terms::read(&parts.headers, &door.limits)?;
    let head = Head::read(&parts.headers)?;
    let place = door.requesting.place()?;
    let (message, admission) = receive(&door, &route, &parts.headers, body, head, terms.deadline).await?;
    let Door { publishing, requesting, .. } = &*door;
    let reply = requesting.ask(place, publishing, &route, admission, message, terms.deadline).await?;
    written(reply).ok_or(Error::ReplyTooLarge { most: MOST_HEADERS })
}

/// Tells whether an answer is a responder's, whatever its status.
pub(super) fn is_reply(response: &Response) -> bool {
    response.headers().contains_key(&REPLY)
}

/// Writes a reply as an answer; `None` where its headers are more than a client would read.
fn written(reply: Message) -> Option<Response> {
    let told = reply.headers.iter().filter(|header| !header.name.eq_ignore_ascii_case(REPLY_STATUS));
    let weight: usize = told.clone().map(|header| header.name.len() + header.value.len() + PER_HEADER).sum();
    if weight > MOST_HEADERS {
        return None;
    }
    let mut response = Response::new(Body::empty());
    // Only statuses that there are.
    *response.status_mut() = StatusCode::from_u16(status(&reply)).unwrap_or(StatusCode::OK);
    let to = response.headers_mut();
    let is_event = reply.is_cloud_event();
    told.for_each(|header| headers::append(to, header, is_event));
    // As RFC 9110, 8.3, has it where nothing is said.
    to.insert(CONTENT_TYPE, headers::content_type(&reply).unwrap_or(UNTYPED));
    to.insert(REPLY, HeaderValue::from_static("true"));
    *response.body_mut() = Body::from(reply.payload.unwrap_or_default());
    Some(response)
}

/// Says that the answer is the responder's, and not ours.
const REPLY: HeaderName = HeaderName::from_static("sidespan-reply");
/// What clients read of an answer's headers, in bytes.
const MOST_HEADERS: usize = 32 << 10;
const PER_HEADER: usize = 32;
const UNTYPED: HeaderValue = HeaderValue::from_static("application/octet-stream");
