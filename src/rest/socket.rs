//! `GET /v1/subscriptions/{subscription}/stream`: a WebSocket that fetches, settles and publishes.
//!
//! A client gives credit and is handed messages as they come; verdicts and publishes go the other way, and
//! each has its outcome. What a client was handed and has not settled when its socket ends comes again.
//!
//! # What a client can take of us
//!
//! It is read from only while few of its requests are unanswered, and handed messages only while it reads,
//! so that what we hold for it is bounded, whatever it does, and nobody else waits for it.

mod credit;
mod frames;
mod session;
mod upgrade;
mod wire;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use self::frames::SUBPROTOCOLS;
use self::session::Session;
use super::Door;
use super::path::name;
use crate::error::Error;
use crate::security::caller::Caller;
use crate::telemetry::counts::Stream;

pub(super) use frames::{Codec, JSON, Told};
pub(super) use upgrade::Upgrade;
pub(super) use wire::{Ending, Wire};

/// Opens a socket on a subscription.
pub(super) async fn consume(State(door): State<Arc<Door>>, mut request: Request) -> Result<Response, Error> {
    let caller = Caller::of(request.extensions());
    let fetching = door.pulling.find(&caller, &name(request.uri())?)?;
    let upgrade = Upgrade::read(&mut request)?;
    let spoken = upgrade.speak(&SUBPROTOCOLS)?;
    let consumer = fetching.consumer();
    if consumer.is_draining() {
        return Err(Error::Draining);
    }
    let permit = door.admit_stream(Stream::Socket)?;
    let (response, opening) = upgrade.accept(&spoken);
    let limits = &door.limits;
    // Base64 takes a third more, and the other fields have their place beside the payload.
    let largest = limits.max_message.saturating_mul(4) / 3 + BESIDE_PAYLOAD;
    let open = Wire::open(opening, largest, limits.idle_timeout);
    let session = door.clone();
    door.tasks.spawn(async move {
        if let Some(wire) = open.await {
            Session::new(session, caller, wire, spoken.spoken, consumer).run().await;
        }
        drop(permit);
    });
    Ok(response)
}

const BESIDE_PAYLOAD: usize = 64 << 10;
