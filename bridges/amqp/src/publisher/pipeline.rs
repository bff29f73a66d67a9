//! One confirm channel.
//!
//! Messages go out in the order of their calls, without waiting for one another. What becomes of them is
//! found out by [`flights`](super::flights).

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};
use sidespan_bridge::Error;
use tokio::time::Instant;

use super::flights::{Answer, Content, Flights, Letter};
use crate::address::Address;
use crate::topology;
use crate::wire::{CALL, Wire, within};

/// A confirm channel.
pub(super) struct Pipeline {
    channel: Channel,
    flights: Flights,
    /// When the broker last answered, or was given something to answer.
    since: Instant,
}

impl Pipeline {
    /// Opens a channel on which the broker confirms.
    pub(super) async fn open(wire: &Wire) -> Result<Self, Error> {
        let channel = wire.channel().await?;
        within(CALL, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { channel, flights: Flights::default(), since: Instant::now() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.flights.len() < ROOM
    }

    pub(super) fn is_broken(&self) -> bool {
        self.flights.is_broken()
    }

    /// Says why the broker has closed the channel, if it was over a message's exchange.
    pub(super) fn refusal(&self) -> Option<Error> {
        self.flights.refusal()
    }

    /// Tells when to give the channel up, if the broker goes on answering nothing: what is for a queue
    /// that has lost its majority may never be confirmed, and must not take up all room for ever.
    pub(super) fn stalls_at(&self) -> Instant {
        self.since + STALL
    }

    /// Gives the broker more time.
    pub(super) fn is_excused(&mut self) {
        self.since = Instant::now();
    }

    /// Hands a message over.
    pub(super) fn send(&mut self, letter: Letter) {
        let Content { address, properties, payload, mandatory } = &letter.content;
        let Address { exchange, key } = &**address;
        let (exchange, key) = match (topology::short(exchange), topology::short(key)) {
            (Ok(exchange), Ok(key)) => (exchange, key),
            (Err(error), _) | (_, Err(error)) => return letter.ticket.conclude(Err(error)),
        };
        if !letter.ticket.hand_over() {
            return;
        }
        if self.flights.is_empty() {
            self.since = Instant::now();
        }
        let (payload, properties) = (payload.clone(), properties.clone());
        let options = BasicPublishOptions { mandatory: *mandatory, immediate: false };
        let mut answer = publish(self.channel.clone(), (exchange, key), options, payload, properties).boxed();
        // The first poll queues the message, and so the order of the calls is kept. An answer that
        // is there already is looked at with all others.
        let answer = match (&mut answer).now_or_never() {
            None => answer,
            Some(answer) => std::future::ready(answer).boxed(),
        };
        self.flights.push(letter, answer);
    }

    /// Waits until the broker has answered something, and passes it on. Cancel-safe.
    pub(super) async fn answers(&mut self) {
        poll_fn(|context| self.flights.poll_answers(context)).await;
        self.since = Instant::now();
    }
}

/// Hands one message to the client, and waits for what becomes of it.
pub(crate) async fn publish(
    channel: Channel,
    (exchange, key): (ShortString, ShortString),
    options: BasicPublishOptions,
    payload: Bytes,
    properties: BasicProperties,
) -> Answer {
    let confirm = match channel.basic_publish(exchange, key, options, &payload, properties).await {
        Ok(confirm) => confirm,
        Err(error) => return Answer::Kept(error),
    };
    match confirm.await {
        Ok(Confirmation::Ack(returned)) => {
            Answer::Confirmed { stored: true, returned: returned.map(Box::new) }
        }
        Ok(Confirmation::Nack(returned)) => {
            Answer::Confirmed { stored: false, returned: returned.map(Box::new) }
        }
        // The channel does not confirm, though it was asked to: nobody knows.
        Ok(Confirmation::NotRequested) => Answer::Lost(lapin::ErrorKind::FutureCompleted.into()),
        Err(error) => Answer::Lost(error),
    }
}

/// How many messages are on their way at a time. What an answer leaves in doubt is looked for among all.
const ROOM: usize = 256;
/// How long the broker may answer nothing at all.
const STALL: Duration = Duration::from_secs(5);
