//! `POST /v1/subscriptions/{subscription}/reply`: one who fetches answers a request.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use sidespan_bridge::Message;

use super::Door;
use super::head::Terms;
use super::message::parse;
use super::pull::asked;
use crate::error::Error;

/// Sends the reply, and settles the request.
pub(super) async fn reply(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    let deadline = Terms::read(request.headers(), &door.limits)?.deadline;
    let (fetching, Given { ack_id, status, message }) = asked(&door, request).await?;
    fetching.reply(&ack_id, status, read(message)?, deadline).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A reply to one message.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    ack_id: String,
    #[serde(default = "success")]
    status: u16,
    message: Option<Box<RawValue>>,
}

/// What a reply says that does not say more.
pub(in crate::rest) fn success() -> u16 {
    200
}

/// Reads what is answered: nothing, or a message object without what only a topic has a use for.
pub(in crate::rest) fn read(given: Option<Box<RawValue>>) -> Result<Message, Error> {
    let Some(given) = given else {
        return Ok(Message { payload: Some(Bytes::new()), ..Message::default() });
    };
    let message = parse(&Box::<str>::from(given).into_string().into())?;
    if message.deduplication.is_some() || message.key.is_some() || message.partition.is_some() {
        return Err(Error::Invalid(
            "a reply has no `id`, `key` and `partition`: it goes to who asked".into(),
        ));
    }
    if message.payload.is_none() {
        return Err(Error::Invalid("a reply is no tombstone; leave `message` out for an empty one".into()));
    }
    Ok(message)
}
