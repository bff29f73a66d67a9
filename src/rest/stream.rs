//! `GET /v1/topics/{topic}/stream`: messages as server-sent events, for people and browsers.
//!
//! The cursor is the stream's own: nothing is kept at the broker, nothing is settled, nobody else
//! gets fewer messages. A slow reader holds up only itself, since the bridge hands out no more than a
//! small window and the next message is asked for when the last one is written.

mod cursor;
mod events;
mod start;

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sidespan_bridge::{Fault, Order, Pattern, Start, Subscribe, Window};
use tokio::time::{Instant, timeout_at};

use self::cursor::Cursor;
use self::events::Events;
use super::head::Terms;
use super::path::name;
use super::{Door, acceptable};
use crate::error::Error;
use crate::publish::{Outlet, Route};
use crate::security::caller::Caller;

/// Opens a stream.
pub(super) async fn stream(State(door): State<Arc<Door>>, request: Request) -> Result<Response, Error> {
    acceptable(request.headers(), "text/event-stream")?;
    let topic = name(request.uri())?;
    Caller::of(request.extensions()).require_subscribe(&topic)?;
    let route = door.publishing.routes().find(&topic)?;
    let terms = Terms::read(request.headers(), &door.limits)?;
    let pattern = pattern(&route)?;
    let start = start::read(request.uri().query().unwrap_or(""), request.headers(), &pattern)?;
    if door.drain.is_cancelled() {
        return Err(Error::Draining);
    }
    let permit = door.streams.clone().try_acquire_owned().map_err(|_| Error::Limited {
        limit: "limits.max_streams",
        reason: format!("{} streams are open", door.limits.max_streams),
    })?;
    let earlier = match start {
        Start::End => stored(route.outlet(), &pattern, terms.deadline).await,
        Start::Begin | Start::Time(_) | Start::Position(_) | Start::Resume { .. } => None,
    };
    let now = SystemTime::now();
    let wish = Subscribe {
        pattern: pattern.clone(),
        group: None,
        start: start.clone(),
        order: Order::None,
        window: WINDOW,
    };
    let subscribed = timeout_at(terms.deadline, route.outlet().bridge().subscribe(wish)).await;
    // Nothing was handed over that might be stored: a broker too slow to subscribe is not there.
    let silent =
        |_| sidespan_bridge::Error::new(Fault::Unavailable).detail("the broker did not answer in time");
    let subscription = subscribed.map_err(silent)??;
    // A broker without positions has nothing to go on from.
    let cursor = subscription.begun().map(|begun| Cursor::new(pattern, &start, now, &begun));
    let events = Events::new(route, subscription, cursor, door.drain.clone(), permit);
    let mut response = Body::from_stream(events.stream()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(earlier) = earlier {
        headers.insert("sidespan-stored-earlier", HeaderValue::from(earlier));
    }
    Ok(response)
}

/// A declared address is taken as it is; an address on the open bridge may be a pattern.
fn pattern(route: &Route) -> Result<Pattern, Error> {
    if route.name() != route.address().as_str() {
        return Ok(Pattern::exactly(route.address()));
    }
    Pattern::parse(route.name()).or_else(|error| match error {
        // Brokers may have such addresses; whether this one has is for it to say.
        sidespan_bridge::PatternError::EmptyToken => Ok(Pattern::exactly(route.address())),
        sidespan_bridge::PatternError::PartOfToken | sidespan_bridge::PatternError::TailNotLast => {
            Err(Error::Invalid(error.to_string()))
        }
    })
}

/// Counts what a stream that begins at the end does not show, where the broker tells.
async fn stored(outlet: &Outlet, pattern: &Pattern, deadline: Instant) -> Option<u64> {
    let asked = outlet.bridge().topics(pattern, deadline);
    let topics = timeout_at(deadline, asked).await.ok()?.ok()?;
    topics.iter().map(|topic| topic.messages).sum()
}

const WINDOW: Window = Window { messages: 256, bytes: 1 << 20 };
