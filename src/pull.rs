//! Fetches: messages are leased to whoever asks for them, by any door.
//!
//! The delivery engine puts the messages of a `pull` subscription on a shelf, keeps their attempts and
//! stores their dead letters, as for a webhook. Here they get ack ids, and verdicts find their leases: those
//! of this process, and by way of [`peers`] those of the other replicas.

mod ack_id;
mod host;
pub mod peers;
mod replies;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sidespan_bridge::{Fault, Role};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use ack_id::AckIds;

use self::peers::{Peers, Turn};
use crate::config::Pull;
use crate::delivery::{self, Amount, Draining, Lease, Letter, Roster, Running, Shelf, State};
use crate::error::Error;
use crate::security::caller::Caller;

/// The fetch use case, shared by every door.
#[derive(Debug)]
pub struct Pulling {
    roster: Arc<Roster>,
    /// One a subscription.
    turns: Mutex<BTreeMap<Box<str>, Arc<Turn>>>,
    ids: Arc<AckIds>,
    peers: Option<Arc<Peers>>,
}

impl Pulling {
    /// Fetches from these subscriptions, and what other replicas have of them from `peers`.
    pub fn new(roster: Arc<Roster>, ids: AckIds, peers: Option<Arc<Peers>>) -> Self {
        Self { roster, turns: Mutex::default(), ids: Arc::new(ids), peers }
    }

    /// Returns the tasks that outlive their callers. Close and await them before the end.
    pub fn tasks(&self) -> TaskTracker {
        self.peers.as_ref().map(|peers| peers.tasks().clone()).unwrap_or_default()
    }

    /// Finds a subscription for a caller to fetch from.
    ///
    /// # Errors
    ///
    /// `Denied`, `UnknownSubscription`, or `NotPulled`.
    pub fn find(&self, caller: &Caller, name: &str) -> Result<Fetching, Error> {
        caller.require_subscribe(name)?;
        let found = self.roster.find(name);
        let running = found.ok_or_else(|| Error::UnknownSubscription(name.chars().take(80).collect()))?;
        let shelf = running.shelf().ok_or_else(|| Error::NotPulled(name.to_owned()))?.clone();
        let subscription = running.subscription();
        // A declared topic goes by its name, what a pattern stands for by its address.
        let topic = (!subscription.pattern.is_wildcard()).then(|| subscription.topic.as_str().into());
        Ok(Fetching {
            roster: self.roster.clone(),
            subscription: name.into(),
            topic,
            shelf,
            ids: self.ids.clone(),
            turn: self.turn(name),
            running,
            peers: self.peers.clone(),
        })
    }

    fn turn(&self, name: &str) -> Arc<Turn> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(name) {
            return turn.clone();
        }
        turns.retain(|name, _| self.roster.find(name).is_some());
        turns.entry(name.into()).or_default().clone()
    }
}

/// One subscription, to fetch from.
#[derive(Clone, Debug)]
pub struct Fetching {
    roster: Arc<Roster>,
    subscription: Box<str>,
    topic: Option<Box<str>>,
    shelf: Arc<Shelf>,
    ids: Arc<AckIds>,
    running: Arc<Running>,
    turn: Arc<Turn>,
    peers: Option<Arc<Peers>>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// came. What other replicas have is taken from them where this one has nothing. A future that is
    /// dropped has taken nothing.
    ///
    /// # Errors
    ///
    /// `Draining`; `Changed` where the subscription became another; `Paused`; `Misdirected` where only other replicas get messages and none can be asked;
    /// `Unavailable` where nobody has a connection to the broker.
    pub async fn fetch(&self, most: Amount, until: Instant) -> Result<Vec<Handed>, Error> {
        let own = self.shelf.fetch(most, until);
        let (_, handed) = self.fetch_by(None, own, most, until).await?;
        Ok(handed)
    }

    /// Fetches from the own shelf by `own`, and from peers. Tells from which, unless from none.
    async fn fetch_by(
        &self,
        consumer: Option<u64>,
        own: impl Future<Output = Result<Vec<Lease>, Draining>>,
        most: Amount,
        until: Instant,
    ) -> Result<(Option<SocketAddr>, Vec<Handed>), Error> {
        if self.running.rest().is_some() {
            return Err(Error::Paused(self.subscription.to_string()));
        }
        let Some(peers) = &self.peers else {
            if self.role() == Some(Role::Standby) {
                return Err(self.misdirected());
            }
            let handed = self.handed(own.await)?;
            return self.unless_broken(handed).map(|handed| (None, handed));
        };
        let own = async {
            match own.await {
                // The peers have a moment longer to answer.
                Ok(leases) if leases.is_empty() => std::future::pending().await,
                leases => leases,
            }
        };
        tokio::select! {
            biased;
            leases = own => self.handed(leases).map(|handed| (None, handed)),
            found = peers.fetch(&self.subscription, &self.turn, consumer, most, until) => match found {
                Some((peer, handed)) => Ok((Some(peer), handed)),
                None if !self.turn.lacks_owner() => Ok((None, Vec::new())),
                None if self.role() == Some(Role::Standby) => Err(self.misdirected()),
                None => self.unless_broken(Vec::new()).map(|handed| (None, handed)),
            }
        }
    }

    fn role(&self) -> Option<Role> {
        self.running.status().role
    }

    /// Tells whether this replica gets messages, as far as it knows.
    fn is_owner(&self) -> bool {
        let status = self.running.status();
        matches!(status.state, State::Running) && status.role != Some(Role::Standby)
    }

    fn misdirected(&self) -> Error {
        Error::Misdirected { subscription: self.subscription.to_string(), alone: self.peers.is_none() }
    }

    /// An empty answer without end would hide that nothing can come.
    fn unless_broken(&self, handed: Vec<Handed>) -> Result<Vec<Handed>, Error> {
        if !handed.is_empty() {
            return Ok(handed);
        }
        let State::Retrying(trouble) = self.running.status().state else { return Ok(handed) };
        let detail = format!("the subscription does not run: {}", trouble.error);
        Err(sidespan_bridge::Error::new(Fault::Unavailable).detail(detail).into())
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
        Consumer { consumer: self.shelf.consumer(), fetching: self.clone(), peers: Mutex::default() }
    }

    fn handed(&self, leases: Result<Vec<Lease>, Draining>) -> Result<Vec<Handed>, Error> {
        let hand = |Lease { number, letter, attempt, ends }| {
            let ack_id = self.ids.write(&self.subscription, number, letter.receipt());
            Handed { ack_id, letter, attempt, ends }
        };
        match leases {
            Ok(leases) => Ok(leases.into_iter().map(hand).collect()),
            Err(Draining) => Err(self.halted()),
        }
    }

    /// Tells why nothing more is handed out.
    pub fn halted(&self) -> Error {
        match self.running.rest() {
            _ if self.roster.is_frozen() => Error::Draining,
            Some(_) => Error::Paused(self.subscription.to_string()),
            None => Error::Changed(self.subscription.to_string()),
        }
    }
}

/// One who fetches and stays, as a stream does. Dropped, its leases end.
#[derive(Debug)]
pub struct Consumer {
    consumer: delivery::Consumer,
    fetching: Fetching,
    /// From whom it has taken.
    peers: Mutex<BTreeSet<SocketAddr>>,
}

impl Consumer {
    /// Fetches as [`Fetching::fetch`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Fetching::fetch`].
    pub async fn fetch(&self, most: Amount, until: Instant) -> Result<Vec<Handed>, Error> {
        let own = self.consumer.fetch(most, until);
        let (peer, handed) = self.fetching.fetch_by(Some(self.number()), own, most, until).await?;
        if let Some(peer) = peer {
            self.peers.lock().unwrap_or_else(PoisonError::into_inner).insert(peer);
        }
        Ok(handed)
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

    /// What peers know it by: their own consumers have small numbers.
    fn number(&self) -> u64 {
        let process = u64::from_be_bytes(self.fetching.ids.process());
        process.wrapping_add(self.consumer.number()) | 1 << 63
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let Some(peers) = &self.fetching.peers else { return };
        let number = self.number();
        for peer in self.peers.get_mut().unwrap_or_else(PoisonError::into_inner).iter() {
            peers.leave(*peer, &self.fetching.subscription, number);
        }
    }
}
