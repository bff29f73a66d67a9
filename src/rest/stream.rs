//! `GET /v1/topics/{topic}/stream`: messages as server-sent events, or over a WebSocket, for people and
//! browsers.
//!
//! What is read settles nothing and is kept for nobody, and nobody else gets fewer messages. Those who
//! follow the end of a topic share what is read there ([`tail`]). A slow reader holds up only itself, since
//! the next message is asked for when the last one is written.

mod cursor;
mod events;
mod reader;
mod shown;
mod socket;
mod start;
mod tail;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sidespan_bridge::{Pattern, Start};
use tokio::time::{Instant, timeout_at};

use self::events::Events;
use self::reader::Reader;
use super::head::Terms;
use super::path::name;
use super::socket::{JSON, Upgrade, Wire};
use super::{Door, acceptable};
use crate::error::Error;
use crate::publish::{Outlet, Route};
use crate::security::caller::Caller;
use crate::telemetry::counts::Stream;

pub(super) use tail::Tails;

/// Opens a stream.
pub(super) async fn stream(State(door): State<Arc<Door>>, mut request: Request) -> Result<Response, Error> {
    let is_socket = Upgrade::is_asked(request.headers());
    if !is_socket {
        acceptable(request.headers(), "text/event-stream")?;
    }
    let topic = name(request.uri())?;
    let caller = Caller::of(request.extensions());
    caller.require_subscribe(&topic)?;
    let routes = door.publishing.routes();
    let route = routes.find(&topic)?;
    let terms = Terms::read(request.headers(), &door.limits)?;
    let pattern = pattern(&route)?;
    // A right to addresses is none to what is declared at them by another name.
    if pattern.is_wildcard()
        && routes.within(&pattern).iter().any(|declared| !caller.may_subscribe(declared.name()))
    {
        return Err(Error::Denied(format!(
            "the caller {:?} may not read all that {pattern} takes in: ask for less, or list the topics that are \
             declared at such addresses under `subscribe` of its token in `auth.tokens`",
            caller.name()
        )));
    }
    let start = start::read(request.uri().query().unwrap_or(""), request.headers(), &pattern)?;
    let upgrade = if is_socket {
        let upgrade = Upgrade::read(&mut request)?;
        Some((upgrade.speak(&[JSON])?, upgrade))
    } else {
        None
    };
    if door.drain.is_cancelled() {
        return Err(Error::Draining);
    }
    let permit = door.admit_stream(if is_socket { Stream::Socket } else { Stream::Events })?;
    let earlier = match start {
        Start::End => stored(route.outlet(), &pattern, terms.deadline).await,
        Start::Begin | Start::Time(_) | Start::Position(_) | Start::Resume { .. } => None,
    };
    let slot = door.tails.slot(route.name());
    let patience = terms.deadline.saturating_duration_since(Instant::now());
    let reader = Reader::begin(route, pattern, slot, start, patience).await?;
    if let Some((spoken, upgrade)) = upgrade {
        let (response, opening) = upgrade.accept(&spoken);
        let (drain, patience) = (door.drain.clone(), door.limits.idle_timeout);
        door.tasks.spawn(async move {
            if let Some(wire) = Wire::open(opening, LARGEST, patience).await {
                socket::show(reader, wire, earlier, drain, caller).await;
            }
            drop(permit);
        });
        return Ok(response);
    }
    let mut response =
        Body::from_stream(Events::new(reader, door.drain.clone(), caller, permit).stream()).into_response();
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

/// Bytes of a frame from a client that has nothing to say.
const LARGEST: usize = 1 << 10;
