//! Fetches: messages are leased to whoever asks for them, by any door.
//!
//! The delivery engine puts the messages of a `pull` subscription on a shelf, keeps their attempts and
//! stores their dead letters, as for a webhook. Here they get ack ids, and verdicts find their leases.

mod ack_id;

use std::sync::Arc;
use std::time::Duration;

use sidespan_bridge::{Fault, Settled, Settlement};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

pub use ack_id::AckIds;

use crate::config::Pull;
use crate::delivery::{self, Amount, Draining, Lease, Letter, Running, Shelf};
use crate::error::Error;
use crate::security::caller::Caller;

/// The fetch use case, shared by every door.
#[derive(Debug)]
pub struct Pulling {
    subscriptions: Arc<[Running]>,
    ids: Arc<AckIds>,
}

impl Pulling {
    /// Fetches from these subscriptions.
    pub fn new(subscriptions: Arc<[Running]>, ids: AckIds) -> Self {
        Self { subscriptions, ids: Arc::new(ids) }
    }

    /// Finds a subscription for a caller to fetch from.
    ///
    /// # Errors
    ///
    /// `Denied`, `UnknownSubscription`, or `NotPulled`.
    pub fn find(&self, caller: &Caller, name: &str) -> Result<Fetching, Error> {
        caller.require_subscribe(name)?;
        let found = self.subscriptions.iter().find(|running| running.subscription().name.as_str() == name);
        let running = found.ok_or_else(|| Error::UnknownSubscription(name.chars().take(80).collect()))?;
        let shelf = running.shelf().ok_or_else(|| Error::NotPulled(name.to_owned()))?.clone();
        let subscription = running.subscription();
        // A declared topic goes by its name, what a pattern stands for by its address.
        let topic = (!subscription.pattern.is_wildcard()).then(|| subscription.topic.as_str().into());
        Ok(Fetching { subscription: name.into(), topic, shelf, ids: self.ids.clone() })
    }
}

/// One subscription, to fetch from.
#[derive(Clone, Debug)]
pub struct Fetching {
    subscription: Box<str>,
    topic: Option<Box<str>>,
    shelf: Arc<Shelf>,
    ids: Arc<AckIds>,
}

/// A message that was handed out.
#[derive(Clone, Debug)]
pub struct Handed {
    /// What a verdict names it by: letters, digits, `-` and `_`.
    pub ack_id: String,
    /// The message.
    pub letter: Arc<Letter>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// When the message goes to somebody else.
    pub ends: Instant,
}

/// What a consumer says of a message that it was handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// It is handled.
    Ack,
    /// It is still being handled: the lease ends that much from now.
    Extend(Duration),
    /// It is to come again: after that time, or as the retry policy says. The attempt counts.
    Nack(Option<Duration>),
}

impl Settle {
    /// Checks a time that a consumer asks for.
    ///
    /// # Errors
    ///
    /// It is longer than 10 minutes, or an extension by nothing.
    pub fn check(self) -> Result<Self, Error> {
        match self {
            Self::Extend(by) if by < Pull::SHORTEST || by > Pull::LONGEST => {
                Err(Error::Invalid("a lease can be extended by 1s to 10m at a time".into()))
            }
            Self::Nack(Some(delay)) if delay > Pull::LONGEST => {
                Err(Error::Invalid("a message can be given back for 10m at most".into()))
            }
            Self::Ack | Self::Extend(_) | Self::Nack(_) => Ok(self),
        }
    }
}

impl Fetching {
    /// Waits until `until` for a message, then takes what is there, the oldest first; nothing if none
    /// came. A future that is dropped has taken nothing.
    ///
    /// # Errors
    ///
    /// `Draining`.
    pub async fn fetch(&self, most: Amount, until: Instant) -> Result<Vec<Handed>, Error> {
        self.handed(self.shelf.fetch(most, until).await)
    }

    /// Returns the topic of a message, by the name that callers know it by.
    pub fn topic<'a>(&'a self, letter: &'a Letter) -> &'a str {
        self.topic.as_deref().unwrap_or(letter.topic().as_str())
    }

    /// Returns how long a message is its consumer's.
    pub fn lease(&self) -> Duration {
        self.shelf.lease()
    }

    /// Returns a consumer whose leases end when it is dropped.
    pub fn consumer(&self) -> Consumer {
        Consumer { consumer: self.shelf.consumer(), fetching: self.clone() }
    }

    /// Settles messages by their ack ids: one outcome an id, in order. An `Ack` that is `Ok` is one that
    /// the broker has.
    pub async fn settle(
        &self,
        ack_ids: &[impl AsRef<str>],
        verdict: Settle,
        deadline: Instant,
    ) -> Vec<Result<(), Error>> {
        // All are given before any is waited for: a broker confirms many as fast as one.
        let given: Vec<_> = ack_ids.iter().map(|id| self.give(id.as_ref(), verdict)).collect();
        let mut outcomes = Vec::with_capacity(given.len());
        for given in given {
            outcomes.push(match given {
                Ok(Some(told)) => confirmed(told, deadline).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            });
        }
        outcomes
    }

    /// Gives one verdict; an `Ack` is yet to be confirmed.
    fn give(&self, ack_id: &str, verdict: Settle) -> Result<Option<oneshot::Receiver<Settled>>, Error> {
        let number = self.ids.read(&self.subscription, ack_id)?;
        let is_leased = match verdict {
            Settle::Ack => return self.shelf.ack(number).map(Some).ok_or(Error::LeaseEnded),
            Settle::Extend(by) => self.shelf.extend(number, by),
            Settle::Nack(delay) => self.shelf.nack(number, delay),
        };
        if is_leased { Ok(None) } else { Err(Error::LeaseEnded) }
    }

    fn handed(&self, leases: Result<Vec<Lease>, Draining>) -> Result<Vec<Handed>, Error> {
        let hand = |Lease { number, letter, attempt, ends }| {
            let ack_id = self.ids.write(&self.subscription, number);
            Handed { ack_id, letter, attempt, ends }
        };
        match leases {
            Ok(leases) => Ok(leases.into_iter().map(hand).collect()),
            Err(Draining) => Err(Error::Draining),
        }
    }
}

/// One who fetches and stays, as a stream does. Dropped, its leases end.
#[derive(Debug)]
pub struct Consumer {
    consumer: delivery::Consumer,
    fetching: Fetching,
}

impl Consumer {
    /// Fetches as [`Fetching::fetch`] does.
    ///
    /// # Errors
    ///
    /// `Draining`.
    pub async fn fetch(&self, most: Amount, until: Instant) -> Result<Vec<Handed>, Error> {
        self.fetching.handed(self.consumer.fetch(most, until).await)
    }

    /// Waits until nothing more is handed out.
    pub async fn draining(&self) {
        self.consumer.shelf().draining().cancelled().await;
    }

    /// Tells whether nothing more is handed out.
    pub fn is_draining(&self) -> bool {
        self.consumer.shelf().draining().is_cancelled()
    }

    /// Returns the subscription, to settle by.
    pub fn fetching(&self) -> &Fetching {
        &self.fetching
    }
}

async fn confirmed(told: oneshot::Receiver<Settled>, deadline: Instant) -> Result<(), Error> {
    let settlement = async {
        match told.await {
            Ok(settled) => settled.await,
            Err(_) => Settlement::Stale,
        }
    };
    match timeout_at(deadline, settlement).await {
        Ok(Settlement::Confirmed) => Ok(()),
        Ok(Settlement::Stale) => Err(Error::LeaseEnded),
        Err(_) => Err(sidespan_bridge::Error::new(Fault::Timeout)
            .detail("the broker did not confirm in time; the message may come again")
            .into()),
    }
}
