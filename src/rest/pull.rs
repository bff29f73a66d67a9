//! `POST /v1/subscriptions/{subscription}/pull`, and the verdicts on what was pulled: `/ack`, `/nack` and
//! `/extend`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sidespan_bridge::Span;
use tokio::time::Instant;

use super::head::Terms;
use super::message::Received;
use super::path::name;
use super::problem::Problem;
use super::upload::Upload;
use super::verdicts::Verdicts;
use super::{Door, acceptable, json};
use crate::delivery::Amount;
use crate::error::Error;
use crate::pull::{Fetching, Handed, Settle};
use crate::security::caller::Caller;

/// Hands out messages, and waits for the first if there is none.
pub(super) async fn pull(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    let (fetching, wish) = asked::<Wish>(&door, request).await?;
    let (most, wait) = wish.read(&door)?;
    let handed = tokio::select! {
        handed = fetching.fetch(most, Instant::now() + wait) => handed?,
        () = door.drain.cancelled() => return Err(Error::Draining),
    };
    let messages = handed.iter().map(|handed| describe(&fetching, handed)).collect();
    Ok(json(&Pulled { messages }))
}

/// Settles messages as handled.
pub(super) async fn ack(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    let deadline = Terms::read(request.headers(), &door.limits)?.deadline;
    let (fetching, Ids { ack_ids }) = asked(&door, request).await?;
    settle(&door, &fetching, &ack_ids, Settle::Ack, deadline).await
}

/// Gives messages back.
pub(super) async fn nack(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    let deadline = Terms::read(request.headers(), &door.limits)?.deadline;
    let (fetching, GiveBack { ack_ids, delay }) = asked(&door, request).await?;
    settle(&door, &fetching, &ack_ids, Settle::Nack(delay.map(|Span(delay)| delay)), deadline).await
}

/// Lets leases last longer.
pub(super) async fn extend(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    let deadline = Terms::read(request.headers(), &door.limits)?.deadline;
    let (fetching, Longer { ack_ids, lease: Span(by) }) = asked(&door, request).await?;
    settle(&door, &fetching, &ack_ids, Settle::Extend(by), deadline).await
}

/// What to hand out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    max_messages: Option<usize>,
    max_bytes: Option<usize>,
    wait: Option<Span>,
}

impl Wish {
    fn read(&self, door: &Door) -> Result<(Amount, Duration), Error> {
        let limits = &door.limits;
        let within = |name: &str, asked: Option<usize>, default: usize, most: usize, limit: &str| match asked
            .unwrap_or(default.min(most))
        {
            value if (1..=most).contains(&value) => Ok(value),
            _ => Err(Error::Invalid(format!("`{name}` must be from 1 to {most} ({limit})"))),
        };
        let messages = within(
            "max_messages",
            self.max_messages,
            MESSAGES,
            limits.max_batch_messages,
            "limits.max_batch_messages",
        )?;
        let bytes = within("max_bytes", self.max_bytes, BYTES, limits.max_batch, "limits.max_batch")?;
        let Span(wait) = self.wait.unwrap_or(Span(WAIT.min(limits.max_timeout)));
        if wait > limits.max_timeout {
            let most = humantime::format_duration(limits.max_timeout);
            return Err(Error::Invalid(format!("`wait` must be at most {most} (limits.max_timeout)")));
        }
        Ok((Amount { messages, bytes }, wait))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ids {
    ack_ids: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GiveBack {
    ack_ids: Vec<String>,
    delay: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Longer {
    ack_ids: Vec<String>,
    lease: Span,
}

#[derive(Debug, Serialize)]
struct Pulled<'a> {
    messages: Vec<Received<'a>>,
}

/// Describes a message that is handed out.
pub(super) fn describe<'a>(fetching: &'a Fetching, handed: &'a Handed) -> Received<'a> {
    let letter = &handed.letter;
    Received::new(letter.message(), fetching.topic(letter), letter.position(), Some(handed.attempt))
        .leased(letter.id(), &handed.ack_id)
}

async fn settle(
    door: &Door,
    fetching: &Fetching,
    ack_ids: &[String],
    verdict: Settle,
    deadline: Instant,
) -> Result<Response, Error> {
    let most = door.limits.max_batch_messages;
    if ack_ids.len() > most {
        return Err(Error::TooMany { limit: "limits.max_batch_messages", most });
    }
    let outcomes = fetching.settle(ack_ids, verdict.check()?, deadline).await;
    let verdicts = Verdicts::new(ack_ids, &outcomes);
    Ok(match verdicts.worst() {
        None => json(&verdicts),
        Some((class, detail)) => Problem::of_verdicts(class, detail, verdicts).into_response(),
    })
}

/// Finds the subscription and reads what is asked of it; an absent body asks for nothing special.
pub(super) async fn asked<T: for<'de> Deserialize<'de>>(
    door: &Door,
    request: Request,
) -> Result<(Fetching, T), Error> {
    let (parts, body) = request.into_parts();
    let body = Upload::new(&parts.headers, body, &door.tasks);
    acceptable(&parts.headers, "application/json")?;
    let fetching = door.pulling.find(&Caller::of(&parts.extensions), &name(&parts.uri)?)?;
    let asked = super::asked::read(door, &parts.headers, body).await?;
    Ok((fetching, asked))
}

/// What is handed out at most where the caller does not say.
const MESSAGES: usize = 100;
const BYTES: usize = 4 << 20;
/// How long a pull waits for its first message where the caller does not say.
const WAIT: Duration = Duration::from_secs(10);
