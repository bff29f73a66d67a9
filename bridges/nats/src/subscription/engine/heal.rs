//! Connections that come and go, and consumers and streams that others delete.

use std::time::Duration;

use sidespan_bridge::{Error, Fault, Start};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{CALL, Engine, Place};
use crate::link::State;
use crate::settings::Retention;
use crate::subscription::consumer::{Durability, From, Info};
use crate::subscription::received::Received;

/// How the subscription stands with the broker.
pub(super) struct Health {
    state: State,
    down_since: Option<Instant>,
    /// Something says that the consumer is not what it was.
    doubt: bool,
    /// There is no consumer before then.
    retry: Option<Instant>,
    warned: bool,
    /// Everything up to here is settled, by any member.
    floor: u64,
    /// When the consumer was made.
    created: String,
    /// Something was settled since the floor was asked for, then, or is still remembered.
    settled: bool,
    looked: Instant,
    /// Where a cursor goes on, and the number of its next delivery.
    next: u64,
    delivery: u64,
    /// How acknowledgements of the consumer begin.
    prefix: Option<String>,
    /// How many connections in a row ended before anything came.
    pub(super) barren: u32,
}

impl Health {
    pub(super) fn new(state: State, info: &Info, now: Instant) -> Self {
        Self {
            state,
            down_since: None,
            doubt: false,
            retry: None,
            warned: false,
            floor: info.ack_floor.stream_seq,
            created: info.created.clone(),
            settled: false,
            looked: now,
            next: info.next(),
            delivery: 1,
            prefix: None,
            barren: 0,
        }
    }

    /// Something may be wrong with the consumer.
    pub(super) fn doubt(&mut self) {
        self.doubt = true;
    }

    /// The broker has confirmed something.
    pub(super) fn settled(&mut self) {
        self.settled = true;
    }

    /// Tells whether there is no consumer for now.
    pub(super) fn is_waiting(&self) -> bool {
        self.retry.is_some()
    }

    pub(super) fn one_came(&mut self, received: &Received) {
        self.barren = 0;
        if self.prefix.as_deref() != Some(received.prefix()) {
            self.prefix = Some(received.prefix().to_owned());
        }
    }

    /// Tells whether a cursor's delivery is the next one, and notes it.
    pub(super) fn follows(&mut self, received: &Received) -> bool {
        let follows = received.delivery == self.delivery;
        if follows {
            self.delivery += 1;
            self.next = received.sequence.saturating_add(1);
        }
        follows
    }

    /// Where a cursor goes on.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// A cursor has read one in another way.
    pub(super) fn skip_to(&mut self, next: u64) {
        self.next = next;
    }

    /// Tells when the broker has been away for so long.
    pub(super) fn away(&self, wait: Duration) -> Option<Instant> {
        self.down_since.map(|since| since + wait)
    }

    /// Tells when something is to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        let floor = self.settled.then(|| self.looked + LOOK);
        [self.retry, floor, self.doubt.then(|| self.looked + PAUSE)].into_iter().flatten().min()
    }
}

impl Engine {
    /// Returns how acknowledgements of the consumer begin.
    pub(super) fn ack_prefix(&self) -> String {
        let usual = || format!("$JS.ACK.{}.{}", self.place.stream, self.wanted.name);
        self.health.prefix.clone().unwrap_or_else(usual)
    }

    /// Notices what became of the connection and the consumer, and mends it.
    pub(super) async fn follow_the_link(&mut self) -> Result<(), Error> {
        let state = *self.state.borrow_and_update();
        let now = Instant::now();
        let connections = self.api.connections();
        if connections != self.connections {
            self.connections = connections;
            self.say_again();
        }
        if state != self.health.state {
            self.health.state = state;
            match state {
                State::Up(_) => {
                    self.health.down_since = None;
                    self.connected().await?;
                }
                State::Connecting | State::Down => self.health.down_since = Some(now),
            }
        }
        // Longer than the broker waits for us: others may have what we hold.
        let away = self.health.away(self.wanted.ack_wait);
        if away.is_some_and(|until| now >= until) && self.settles() {
            self.shared.lose();
        }
        if !self.is_up() {
            return Ok(());
        }
        if self.health.retry.is_some_and(|retry| now >= retry) {
            return self.make_again().await;
        }
        let asked = self.health.looked + PAUSE <= now;
        let lagging = self.health.settled && self.health.looked + LOOK <= now;
        if (self.health.doubt && asked || lagging) && !self.health.is_waiting() {
            return self.look().await;
        }
        Ok(())
    }

    /// There is a new connection: the broker has forgotten our requests, and what was on its way in
    /// either direction may be lost.
    fn say_again(&mut self) {
        self.pull.forget();
        self.shared.lock().acks.again();
        self.begin_to_gather();
    }

    /// The client tells of a new connection.
    async fn connected(&mut self) -> Result<(), Error> {
        self.health.barren += 1;
        if self.health.barren >= BARREN {
            // Something that is delivered ends the connection.
            self.health.barren = 0;
            self.read_what_cannot_be_delivered().await?;
        }
        if self.wanted.durability == Durability::Cursor {
            return self.go_on().await;
        }
        Ok(())
    }

    /// The broker says that the consumer was deleted. Somebody may make one that begins elsewhere.
    pub(super) fn deleted(&mut self) {
        self.shared.lock().acks.begin_anew();
        self.health.doubt();
    }

    /// Looks whether the consumer is there, and how far it is.
    async fn look(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        (self.health.looked, self.health.doubt, self.health.settled) = (now, false, false);
        match self.wanted.info(&self.api, &self.place.stream, now + CALL).await {
            Ok(info) => {
                self.health.floor = info.ack_floor.stream_seq;
                let mut state = self.shared.lock();
                if self.health.created != info.created {
                    self.health.created = info.created;
                    state.acks.begin_anew();
                }
                self.health.settled |= state.acks.settled(self.health.floor);
                Ok(())
            }
            Err(refusal) if refusal.is_missing() => {
                warn!(consumer = %self.wanted.name, "the consumer is gone: it is made again");
                self.make_again().await
            }
            Err(_) => {
                self.health.doubt = true;
                Ok(())
            }
        }
    }

    /// A cursor lost something on the way, or its consumer: another one goes on behind what came.
    pub(super) async fn go_on(&mut self) -> Result<(), Error> {
        let (name, old) = (cursor_name(&self.api), self.wanted.clone());
        self.wanted.name = name;
        old.delete(&self.api, &self.place.stream, Instant::now() + CALL).await;
        self.make_again().await
    }

    /// Makes the consumer again, behind what is known to be settled; tries later where it can't be made.
    async fn make_again(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + CALL;
        if self.settles() {
            self.pin_lost();
        }
        self.shared.lock().acks.begin_anew();
        self.pull.forget();
        match self.attach_again(deadline).await {
            Ok(info) => {
                let barren = self.health.barren;
                self.health = Health { barren, ..Health::new(self.health.state, &info, Instant::now()) };
                info!(consumer = %self.wanted.name, at = info.next(), "the subscription goes on");
                Ok(())
            }
            Err(error) => match error.fault {
                Fault::Conflict | Fault::Denied | Fault::Invalid | Fault::Unsupported => Err(error),
                Fault::Limited
                | Fault::Overloaded
                | Fault::Rejected
                | Fault::StorageFull
                | Fault::Timeout
                | Fault::TooLarge
                | Fault::Unavailable
                | Fault::UnknownTopic
                | Fault::Unroutable => {
                    if !std::mem::replace(&mut self.health.warned, true) {
                        warn!(%error, consumer = %self.wanted.name, "the subscription waits for its stream");
                    }
                    self.health.retry = Some(Instant::now() + RETRY);
                    Ok(())
                }
            },
        }
    }

    async fn attach_again(&mut self, deadline: Instant) -> Result<Info, Error> {
        let known = match self.streams.info(&self.place.stream, deadline).await {
            Ok(stream) if stream.created == self.place.created => true,
            Ok(_) => false,
            Err(refusal) if refusal.is_missing() => false,
            Err(refusal) => return Err(refusal.into()),
        };
        let from = if !known {
            self.place = Place::of(&self.streams.find(&self.wanted.pattern, deadline).await?);
            // Nothing in a stream that appeared later has been read.
            From::Start(Start::Begin)
        } else if !self.settles() {
            From::Sequence(self.health.next)
        } else if self.place.retention == Retention::WorkQueue {
            // What was settled is gone.
            From::Start(Start::Begin)
        } else {
            From::Sequence(self.health.floor.saturating_add(1))
        };
        self.wanted.attach(&self.api, &self.place.stream, &from, deadline).await
    }
}

/// Names a cursor.
pub(in crate::subscription) fn cursor_name(api: &crate::api::Api) -> String {
    let inbox = api.client.new_inbox();
    format!("sidespan-cursor-{}", inbox.rsplit('.').next().unwrap_or_default())
}

/// How often the floor is asked for while something is settled.
const LOOK: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);
const RETRY: Duration = Duration::from_secs(1);
/// After so many connections without a delivery, the next message is looked at.
const BARREN: u32 = 2;
