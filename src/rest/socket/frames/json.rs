//! Frames in JSON: an object each, of the `type` that comes first.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sidespan_bridge::Span;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;

use super::{Asked, Told};
use crate::error::Error;
use crate::pull::{Fetching, Handed, Settle};
use crate::rest::message::{self, Received};
use crate::rest::pull::describe;
use crate::rest::reply;
use crate::rest::tally::Told as Published;
use crate::rest::verdicts::Verdict;

/// Reads a frame.
pub(super) fn read(json: &Bytes) -> Result<Asked, Error> {
    let invalid = |error: serde_json::Error| {
        let told: String = error.to_string().chars().take(MOST_TOLD).collect();
        Error::Invalid(format!("this is no frame that is known here: {told}"))
    };
    let Typed { r#type } = serde_json::from_slice(json).map_err(invalid)?;
    if r#type == Type::Publish {
        let Publish { seq, topic, message, .. } = serde_json::from_slice(json).map_err(invalid)?;
        let message = message::parse(&json.slice_ref(message.get().as_bytes()));
        return Ok(Asked::Publish { seq, topic, message });
    }
    if r#type == Type::Reply {
        let Reply { ack_id, status, message, seq, .. } = serde_json::from_slice(json).map_err(invalid)?;
        return Ok(Asked::Reply { seq, ack_id, reply: reply::read(message).map(|reply| (status, reply)) });
    }
    let verdict = |seq, ack_ids, verdict| Asked::Verdict { seq, ack_ids, verdict };
    Ok(match serde_json::from_slice(json).map_err(invalid)? {
        Object::Ack { ack_ids, seq } => verdict(seq, ack_ids, Settle::Ack),
        Object::Credit { messages, bytes } => Asked::Credit { messages, bytes },
        Object::Extend { ack_ids, lease: Span(by), seq } => verdict(seq, ack_ids, Settle::Extend(by)),
        Object::Nack { ack_ids, delay, seq } => {
            verdict(seq, ack_ids, Settle::Nack(delay.map(|Span(delay)| delay)))
        }
        Object::Ping { seq } => Asked::Ping { seq },
    })
}

/// Writes what a client is told.
pub(super) fn write(told: Told<'_>) -> Frame {
    let answer = match told {
        Told::Draining { detail } => Answer::Draining { detail },
        Told::Error(error) => {
            let class = error.class();
            Answer::Error { code: class.code(), retryable: class.retryable, detail: error.to_string() }
        }
        Told::Pong { seq } => Answer::Pong { seq },
        Told::Published { seq, outcome } => {
            let outcome = Published::from(outcome);
            Answer::Published { seq, status: outcome.status(), outcome }
        }
        Told::Settled { seq, outcomes } => {
            let outcomes = outcomes.iter().map(|(ack_id, outcome)| Verdict::new(ack_id, outcome));
            Answer::Settled { seq, outcomes: outcomes.collect() }
        }
    };
    // Our own types have text keys only: it cannot fail.
    Frame::text(serde_json::to_string(&answer).unwrap_or_default())
}

/// Writes a message that is handed out.
pub(super) fn message(fetching: &Fetching, handed: &Handed, weight: usize) -> Frame {
    #[derive(Serialize)]
    struct MessageFrame<'a> {
        r#type: &'static str,
        bytes: usize,
        message: Received<'a>,
    }
    let frame = MessageFrame { r#type: "message", bytes: weight, message: describe(fetching, handed) };
    let mut json = Vec::with_capacity(weight + BESIDE_PAYLOAD);
    // As above.
    let _ = serde_json::to_writer(&mut json, &frame);
    Frame::text(String::from_utf8(json).unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(expecting = "an object with a `type`")]
struct Typed {
    r#type: Type,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Type {
    Ack,
    Credit,
    Extend,
    Nack,
    Ping,
    Publish,
    Reply,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Object {
    Ack { ack_ids: Vec<String>, seq: Option<u64> },
    Credit { messages: u64, bytes: Option<u64> },
    Extend { ack_ids: Vec<String>, lease: Span, seq: Option<u64> },
    Nack { ack_ids: Vec<String>, delay: Option<Span>, seq: Option<u64> },
    Ping { seq: u64 },
}

/// By itself, since the others are read by way of a tree, where a payload's own writing is lost.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish<'a> {
    #[serde(rename = "type")]
    _type: Type,
    seq: u64,
    topic: String,
    #[serde(borrow)]
    message: &'a RawValue,
}

/// By itself too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    #[serde(rename = "type")]
    _type: Type,
    ack_id: String,
    #[serde(default = "reply::success")]
    status: u16,
    message: Option<Box<RawValue>>,
    seq: Option<u64>,
}

/// What a client is told, but for messages.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Answer {
    Draining {
        detail: &'static str,
    },
    Error {
        code: String,
        retryable: bool,
        detail: String,
    },
    Pong {
        seq: u64,
    },
    Published {
        seq: u64,
        status: u16,
        #[serde(flatten)]
        outcome: Published,
    },
    Settled {
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        outcomes: Vec<Verdict>,
    },
}

/// A caller's own text need not come back whole.
const MOST_TOLD: usize = 300;
/// What a message's other fields take, mostly.
const BESIDE_PAYLOAD: usize = 256;
