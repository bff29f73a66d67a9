//! The task behind a subscription on a stream.
//!
//! It pulls as much as the window has room for ([`pull`]), says what is settled ([`settle`]), renews
//! what is held, and mends what breaks ([`heal`], [`raw`]). The active member of an ordered subscription
//! is chosen by the broker ([`takeover`]).
//!
//! Each turn does what is due, and then waits for whatever comes first. All that is awaited inside a
//! turn has a deadline that is short beside the leases.

mod awaited;
mod heal;
mod pull;
mod raw;
mod settle;
mod takeover;

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message as Wire, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use sidespan_bridge::{Error, Topic};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::consumer::{Durability, Info, Wanted};
use super::received::Received;
use super::shared::Shared;
use super::shelf::Item;
use crate::api::Api;
use crate::link::{State, at_once};
use crate::message;
use crate::settings::Retention;
use crate::streams::{Stream, Streams};

use heal::Health;
pub(super) use heal::cursor_name;
use pull::Pull;
use takeover::Pin;

/// Drives one subscription.
pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) api: Api,
    pub(super) streams: Arc<Streams>,
    pub(super) wanted: Wanted,
    pub(super) place: Place,
    /// Where deliveries come, and the state of pulls.
    pub(super) deliveries: Subscriber,
    /// Where the broker confirms settlements.
    pub(super) confirmations: Subscriber,
    inbox: String,
    /// Where the broker confirms.
    answers: String,
    pub(super) orders: mpsc::Receiver<Close>,
    /// The bridge is gone without a close: nothing more is said.
    pub(super) gone: CancellationToken,
    state: watch::Receiver<State>,
    /// How many connections there had been when it was last looked.
    connections: u64,
    pull: Pull,
    pin: Pin,
    health: Health,
    renewed: Instant,
    /// Intake was stopped, and what was on the shelf went back.
    returned: bool,
    /// No more deliveries come.
    over: bool,
}

/// The stream that is read.
pub(super) struct Place {
    pub(super) stream: String,
    created: String,
    retention: Retention,
}

/// The end of a subscription, asked for.
pub(super) struct Close {
    pub(super) deadline: Instant,
    pub(super) done: oneshot::Sender<Result<(), Error>>,
}

/// What an engine is made of.
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) api: Api,
    pub(super) streams: Arc<Streams>,
    pub(super) wanted: Wanted,
    pub(super) place: Place,
    pub(super) info: Info,
    pub(super) deliveries: Subscriber,
    pub(super) confirmations: Subscriber,
    pub(super) inbox: String,
    pub(super) answers: String,
    pub(super) orders: mpsc::Receiver<Close>,
    pub(super) gone: CancellationToken,
}

impl Place {
    pub(super) fn of(stream: &Stream) -> Self {
        Self {
            stream: stream.config.name.clone(),
            created: stream.created.clone(),
            retention: stream.config.retention,
        }
    }
}

impl Engine {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { shared, api, streams, wanted, place, info, .. } = parts;
        let state = api.link.follow();
        let (connection, connections) = (*state.borrow(), api.connections());
        let now = Instant::now();
        Self {
            pull: Pull::new(),
            pin: Pin::new(&wanted, now),
            health: Health::new(connection, &info, now),
            shared,
            api,
            streams,
            wanted,
            place,
            deliveries: parts.deliveries,
            confirmations: parts.confirmations,
            inbox: parts.inbox,
            answers: parts.answers,
            orders: parts.orders,
            gone: parts.gone,
            state,
            connections,
            renewed: now,
            returned: false,
            over: false,
        }
    }

    /// Runs until the subscription is closed, or cannot go on.
    pub(super) async fn run(mut self) {
        let gone = self.gone.clone();
        let ended = gone.run_until_cancelled(self.drive()).await;
        match ended {
            // Whoever dropped the bridge is as good as dead.
            None => self.shared.end(None),
            Some(Ok(Some(close))) => {
                let closed = gone.run_until_cancelled(self.close(close.deadline)).await;
                self.shared.end(None);
                // A caller that does not wait is told nothing.
                let _ = close.done.send(closed.unwrap_or(Ok(())));
            }
            Some(Ok(None)) => {
                let _ = gone.run_until_cancelled(self.close(Instant::now() + DROPPED)).await;
                self.shared.end(None);
            }
            Some(Err(error)) => {
                error!(%error, consumer = %self.wanted.name, "a subscription ends");
                self.shared.end(Some(error));
            }
        }
    }

    async fn drive(&mut self) -> Result<Option<Close>, Error> {
        loop {
            if self.shared.lock().dropped {
                return Ok(None);
            }
            self.notice_a_freeze();
            self.follow_the_link().await?;
            self.take_all().await?;
            self.keep_the_pin().await?;
            self.extend_the_lease();
            if !self.shared.lock().intake && !self.returned {
                self.give_back().await;
            }
            self.say_what_is_settled();
            self.renew();
            self.pull();
            let due = self.due();
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                biased;
                close = self.orders.recv() => return Ok(close),
                changed = self.state.changed() => if changed.is_err() { return Ok(None) },
                delivery = self.deliveries.next(), if !self.over => match delivery {
                    Some(delivery) => self.take(delivery).await?,
                    None => self.over = true,
                },
                confirmation = self.confirmations.next() => match confirmation {
                    Some(confirmation) => self.confirmed(&confirmation),
                    // The connection is closed for good.
                    None => return Ok(None),
                },
                () = shared.engine.notified() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    /// Takes everything that has come, before anything is decided.
    async fn take_all(&mut self) -> Result<(), Error> {
        for _ in 0..TURN {
            match self.deliveries.next().now_or_never() {
                Some(Some(delivery)) => self.take(delivery).await?,
                Some(None) | None => break,
            }
        }
        while let Some(Some(confirmation)) = self.confirmations.next().now_or_never() {
            self.confirmed(&confirmation);
        }
        Ok(())
    }

    async fn take(&mut self, wire: Wire) -> Result<(), Error> {
        self.pin.heard(Instant::now());
        if wire.subject.starts_with(&self.inbox) {
            return self.pull_ended(&wire).await;
        }
        let received = wire.reply.as_ref().and_then(|reply| Received::read(reply));
        let (Some(received), Some(reply)) = (received, wire.reply.as_ref()) else {
            debug!(subject = %wire.subject, "a message without a number is left out");
            return Ok(());
        };
        let reply = reply.to_string();
        self.pull.one_came();
        self.health.one_came(&received);
        if self.wanted.durability == Durability::Cursor && !self.health.follows(&received) {
            return self.go_on().await;
        }
        self.see_pin(&wire, &received);
        let payload = wire.payload;
        let mut message = message::of_map(wire.headers.as_ref(), payload);
        message.time = received.time();
        let topic = Topic::new(wire.subject.as_str());
        let redelivered = u32::try_from(received.deliveries.saturating_sub(1)).unwrap_or(u32::MAX);
        self.put(received.sequence, reply, Item { message, topic, redelivered });
        Ok(())
    }

    fn put(&mut self, sequence: u64, reply: String, item: Item) {
        // What came while intake was stopped may go to somebody else.
        if let Some(reply) = self.place(sequence, reply, item) {
            self.tell(reply, "-NAK");
        }
    }

    /// Puts a delivery where it belongs; one that is here already only brings a new place to settle it.
    /// Returns where to release it, if it is not wanted.
    fn place(&self, sequence: u64, reply: String, item: Item) -> Option<String> {
        let mut state = self.shared.lock();
        if let Some(held) = state.held.get_mut(&sequence) {
            held.reply = reply;
            held.renewed = Instant::now();
            return None;
        }
        if state.acks.comes_again(sequence, item.message.time, &reply) {
            return None;
        }
        if !state.intake && self.settles() {
            return Some(reply);
        }
        state.put(sequence, reply, item);
        drop(state);
        self.shared.reader.notify_one();
        None
    }

    /// Renews the broker's lease on what is held.
    fn renew(&mut self) {
        let now = Instant::now();
        if !self.settles() || !self.is_up() || now < self.renewed + self.wanted.ack_wait / 3 {
            return;
        }
        self.renewed = now;
        let old = |held: &super::shared::Held| now >= held.renewed + self.wanted.ack_wait / 6;
        let replies: Vec<String> = {
            let mut state = self.shared.lock();
            let due = state.held.values_mut().filter(|held| old(held));
            due.map(|held| {
                held.renewed = now;
                held.reply.clone()
            })
            .collect()
        };
        for reply in replies {
            self.tell(reply, "+WPI");
        }
    }

    /// Says what the broker finds out by itself, if later, where it is lost on the way.
    fn tell(&self, to: String, word: &'static str) {
        self.say(to, None, word.into());
    }

    /// Has the client queue a word; tells whether it did. Its queue is full while the server does not read,
    /// and nobody waits for that here: leases end meanwhile.
    fn say(&self, to: String, answer_at: Option<String>, word: Bytes) -> bool {
        let client = &self.api.client;
        let queued = match answer_at {
            Some(reply) => at_once(client.publish_with_reply(to, reply, word)),
            None => at_once(client.publish(to, word)),
        };
        queued.is_some_and(|queued| queued.is_ok())
    }

    fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), State::Up(_))
    }

    /// Tells whether the broker is told what becomes of messages.
    fn settles(&self) -> bool {
        self.wanted.durability != Durability::Cursor
    }

    /// Tells when something is to be done though nothing happens.
    fn due(&self) -> Instant {
        let now = Instant::now();
        let state = self.shared.lock();
        let held = !state.held.is_empty() && self.settles();
        let acks = state.acks.due();
        drop(state);
        let due = if self.is_up() {
            let renewal = held.then(|| self.renewed + self.wanted.ack_wait / 3);
            [renewal, acks, self.pull.due(), self.pin.due(), self.health.due()].into_iter().flatten().min()
        } else {
            // All that can be done meanwhile is to give up what is held.
            self.health.away(self.wanted.ack_wait).filter(|_| held)
        };
        // Something that could not be done when it was due must not spin.
        due.unwrap_or(now + IDLE).max(now + LEAST)
    }
}

/// How many deliveries are taken in a turn.
const TURN: usize = 512;
const IDLE: Duration = Duration::from_secs(60);
const LEAST: Duration = Duration::from_millis(5);
/// How long a subscription that is dropped has to say what it can.
const DROPPED: Duration = Duration::from_secs(5);
/// How long a question may take inside a turn.
const CALL: Duration = Duration::from_secs(2);
