//! `POST /v1/topics/{topic}/batches`: many messages, published while they arrive.
//!
//! The body is cut into items as it comes; items gather in a chunk, and chunks are submitted in
//! order, a few of them unanswered at a time. So a batch of any size takes a bounded part of memory,
//! and nothing waits for a confirmation that it does not need.

mod run;
mod split;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use self::run::Run;
use self::split::Form;
use super::body::{Incoming, Limit};
use super::head::{self, Terms};
use super::path::name;
use super::problem::Problem;
use super::tally::Tally;
use super::upload::Upload;
use super::{Door, acceptable, json};
use crate::cloudevents;
use crate::error::Error;
use crate::security::caller::Caller;

/// Publishes a batch and tells the outcome of each message.
pub(super) async fn publish(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    let body = Upload::new(&parts.headers, body, &door.tasks);
    acceptable(&parts.headers, "application/json")?;
    let caller = Caller::of(&parts.extensions);
    let route = door.publishing.route(&caller, &name(&parts.uri)?)?;
    let terms = Terms::read(&parts.headers, &door.limits)?;
    let context = head::of_batch(&parts.headers)?;
    let kind = Kind::of(&parts.headers)?;
    let limit = Limit { name: "limits.max_batch", most: door.limits.max_batch };
    let body = Incoming::new(&parts.headers, body, limit, door.limits.read_timeout, terms.deadline)?;
    let mut run = Run::new(&door, caller, route, terms.deadline, kind, context)?;
    run.read(body).await;
    let tally = run.finish().await;
    Ok(answer(tally, terms.lenient))
}

/// What the body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A JSON array of message objects.
    Array,
    /// A message object a line.
    Lines,
    /// A JSON array of CloudEvents.
    Events,
}

impl Kind {
    fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let kind = match essence.as_str() {
            "application/json" => Self::Array,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Self::Lines,
            cloudevents::BATCH => Self::Events,
            _ => {
                return Err(Error::UnsupportedMediaType(format!(
                    "a batch is application/json (an array), application/x-ndjson (an object a line) or {}",
                    cloudevents::BATCH
                )));
            }
        };
        head::utf8_only(content_type).map(|()| kind)
    }

    fn form(self) -> Form {
        match self {
            Self::Array | Self::Events => Form::Array,
            Self::Lines => Form::Lines,
        }
    }
}

fn answer(tally: Tally, lenient: bool) -> Response {
    let Some((index, class, detail)) = tally.worst() else { return json(&tally) };
    if lenient {
        let mut response = (StatusCode::MULTI_STATUS, json(&tally)).into_response();
        response.headers_mut().insert("preference-applied", HeaderValue::from_static("handling=lenient"));
        return response;
    }
    let detail = format!("stored: {}, failed: {}; message {index}: {detail}", tally.stored(), tally.failed());
    Problem::of_batch(class, detail, tally).into_response()
}
