//! Counts what a group has left, by what the server says of its consumer.

use std::time::SystemTime;

use sidespan_bridge::{Error, Fault, Lag, Subscribe};
use tokio::time::Instant;

use super::consumer::{Durability, Wanted};
use crate::api::Api;
use crate::settings::NatsSettings;
use crate::streams::Streams;

/// Counts what a group has not settled, whether it has members or not; `None` where it has no consumer yet.
pub(crate) async fn lag(
    to: &Subscribe,
    settings: &NatsSettings,
    api: &Api,
    streams: &Streams,
    deadline: Instant,
) -> Result<Option<Lag>, Error> {
    let Some(group) = &to.group else { return Err(none_of_a_cursor()) };
    count(&Wanted::of(to, settings, super::plain_name(group)), api, streams, deadline).await
}

/// Counts what a consumer has not settled; `None` where it does not exist.
pub(super) async fn count(
    wanted: &Wanted,
    api: &Api,
    streams: &Streams,
    deadline: Instant,
) -> Result<Option<Lag>, Error> {
    if wanted.durability == Durability::Cursor {
        return Err(none_of_a_cursor());
    }
    // The stream may have been made anew under another name.
    let stream = streams.find(&wanted.pattern, deadline).await?;
    let name = &stream.config.name;
    let info = match wanted.info(api, name, deadline).await {
        Ok(info) => info,
        Err(refusal) if refusal.is_missing() => return Ok(None),
        Err(refusal) => return Err(refusal.into()),
    };
    let messages = info.num_pending + info.num_ack_pending;
    // What comes first behind the floor is not settled, and often not delivered either.
    let taken = match messages {
        0 => None,
        _ => streams.taken_behind(name, &wanted.pattern, info.ack_floor.stream_seq, deadline).await?,
    };
    let oldest = taken.map(|taken| SystemTime::now().duration_since(taken).unwrap_or_default());
    Ok(Some(Lag { messages, oldest }))
}

fn none_of_a_cursor() -> Error {
    let detail = "a cursor of its own settles nothing, so nothing is left to settle";
    Error::new(Fault::Unsupported).detail(detail)
}
