//! Keeps messages for consumers that fetch them.
//!
//! A courier puts its letter on the shelf and waits for what a consumer says. Whoever fetches gets a
//! lease: until it ends nobody else has the message. A lease that ends, or is given back, is a failed
//! attempt, and what follows is the courier's to decide, as with any target.

mod consumer;
mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use sidespan_bridge::Message;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use self::consumer::Consumer;
use self::state::{State, Told, Waiting};
use super::{Answer, Reply, Target};
use crate::delivery::letter::Letter;
use crate::delivery::meter::Meter;
use crate::delivery::settling::Settling;

#[cfg(test)]
mod tests;

/// What waits to be fetched of one subscription, and what is leased.
pub struct Shelf {
    state: Mutex<State>,
    /// Tells one consumer that something waits.
    arrived: Notify,
    /// Tells those who only look that something waits.
    seen: Notify,
    /// Tells the sweep that a lease ends before those it knows.
    sooner: Notify,
    lease: Duration,
    /// Cancelled when nothing more is handed out.
    drain: CancellationToken,
    meter: Option<Meter>,
}

/// How much a consumer takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Messages.
    pub messages: usize,
    /// Bytes of them; a larger message comes alone.
    pub bytes: usize,
}

/// A message that is its consumer's until `ends`.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Names the lease on its shelf.
    pub number: u64,
    /// The message.
    pub letter: Arc<Letter>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// When the message goes to somebody else.
    pub ends: Instant,
}

/// This server takes nothing new on, so nothing is handed out any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining;

/// Why a lease was not ended by a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreplied {
    /// There is no such lease any more.
    Ended,
    /// Its message awaits no reply; the lease goes on.
    NotAwaited,
}

impl Shelf {
    /// Makes an empty shelf whose leases last for `lease`.
    pub(in crate::delivery) fn new(lease: Duration, drain: CancellationToken, meter: Option<Meter>) -> Self {
        let (arrived, seen, sooner) = (Notify::new(), Notify::new(), Notify::new());
        Self { state: Mutex::default(), arrived, seen, sooner, lease, drain, meter }
    }

    /// Waits until `until` for a message, then takes what is there, the oldest first. A future that is
    /// dropped has taken nothing.
    ///
    /// # Errors
    ///
    /// The server is stopping; messages that wait stay with their broker.
    pub async fn fetch(&self, most: Amount, until: Instant) -> Result<Vec<Lease>, Draining> {
        self.fetch_for(None, most, until).await
    }

    /// Takes what is there for a consumer of another process, by the number that it has there. The leases
    /// end when it [leaves](Self::leave).
    ///
    /// # Errors
    ///
    /// The server is stopping.
    pub async fn fetch_as(&self, consumer: Option<u64>, most: Amount) -> Result<Vec<Lease>, Draining> {
        self.fetch_for(consumer, most, Instant::now()).await
    }

    /// Waits until `until` for a message that nobody has, without taking it; tells whether there is one.
    ///
    /// # Errors
    ///
    /// The server is stopping.
    pub async fn look(&self, until: Instant) -> Result<bool, Draining> {
        loop {
            let seen = self.seen.notified();
            if self.drain.is_cancelled() {
                return Err(Draining);
            }
            if !self.lock().waiting.is_empty() {
                return Ok(true);
            }
            tokio::select! {
                () = seen => {}
                () = self.drain.cancelled() => return Err(Draining),
                () = sleep_until(until) => return Ok(false),
            }
        }
    }

    /// Undoes a lease that never reached its consumer: its message waits again, in its place.
    pub fn put_back(&self, number: u64) {
        let is_back = self.lock().put_back(number);
        if is_back {
            self.tell();
        }
    }

    /// Ends the leases of a consumer that went away.
    pub fn leave(&self, consumer: u64) {
        self.lock().leave(consumer);
    }

    /// Returns a consumer whose leases end with it.
    pub fn consumer(self: &Arc<Self>) -> Consumer {
        let number = self.lock().number();
        Consumer { shelf: self.clone(), number }
    }

    /// Ends a lease, as its message is handled. What is returned knows when the broker has that.
    /// `None`: there is no such lease any more.
    pub fn ack(&self, number: u64) -> Option<oneshot::Receiver<Settling>> {
        let leased = self.lock().end(number)?;
        let told = leased.letter.witness.ask();
        leased.tell(Reply::Acked).then_some(told)
    }

    /// Ends a lease as [`Self::ack`] does, as its message is handled once `reply` is sent to who asked.
    ///
    /// # Errors
    ///
    /// There is no such lease, or nobody to send a reply to.
    pub fn reply(&self, number: u64, reply: Message) -> Result<oneshot::Receiver<Settling>, Unreplied> {
        let leased = self.lock().end_request(number)?;
        let told = leased.letter.witness.ask();
        let answer = Answer { status: 200, reply: Some(reply.into()), ..Answer::default() };
        if leased.tell(Reply::Answered(answer)) { Ok(told) } else { Err(Unreplied::Ended) }
    }

    /// Gives a message back, to come again after `delay`, or when the retry policy says. Tells whether
    /// there was such a lease.
    pub fn nack(&self, number: u64, delay: Option<Duration>) -> bool {
        let ended = self.lock().end(number);
        ended.is_some_and(|leased| leased.tell(Reply::Nacked(delay)))
    }

    /// Lets a lease end `by` from now, whenever it was to end before. Tells whether there is such a
    /// lease.
    pub fn extend(&self, number: u64, by: Duration) -> bool {
        let mut state = self.lock();
        let is_leased = state.extend(number, Instant::now() + by);
        drop(state);
        self.sooner.notify_one();
        is_leased
    }

    /// Counts the leases there are.
    pub fn leases(&self) -> usize {
        self.lock().leased.len()
    }

    /// Returns how long a lease lasts that nobody extends.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Returns what is cancelled when nothing more is handed out.
    pub fn draining(&self) -> &CancellationToken {
        &self.drain
    }

    /// Ends leases when their time is over, for ever.
    pub(in crate::delivery) async fn sweep(&self) {
        loop {
            let next = self.lock().ends.first().map(|(at, _)| *at);
            let over = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => self.lock().expire(Instant::now()),
                () = self.sooner.notified() => {}
            }
        }
    }

    async fn fetch_for(
        &self,
        consumer: Option<u64>,
        most: Amount,
        until: Instant,
    ) -> Result<Vec<Lease>, Draining> {
        loop {
            if self.drain.is_cancelled() {
                return Err(Draining);
            }
            let taken = self.take(consumer, most);
            if !taken.is_empty() {
                return Ok(taken);
            }
            tokio::select! {
                () = self.arrived.notified() => {}
                () = self.drain.cancelled() => return Err(Draining),
                () = sleep_until(until) => return Ok(Vec::new()),
            }
        }
    }

    fn take(&self, consumer: Option<u64>, most: Amount) -> Vec<Lease> {
        let ends = Instant::now() + self.lease;
        let mut state = self.lock();
        let was_first = state.ends.first().copied();
        let leases = state.take(consumer, most, ends);
        let (more, is_sooner) = (!state.waiting.is_empty(), state.ends.first().copied() != was_first);
        drop(state);
        if more {
            // Whoever was told took only a part.
            self.arrived.notify_one();
        }
        if is_sooner {
            self.sooner.notify_one();
        }
        leases
    }

    fn put(&self, letter: Arc<Letter>, attempt: u32, outcome: oneshot::Sender<Told>) -> Place<'_> {
        let mut state = self.lock();
        let number = state.number();
        state.waiting.insert(number, Waiting { letter, attempt, outcome });
        drop(state);
        self.tell();
        Place { shelf: self, number }
    }

    fn counted(&self, Told { reply, took }: Told, letter: &Letter) -> Reply {
        if let Some(meter) = &self.meter {
            meter.fetched(&reply, took, &letter.message);
        }
        reply
    }

    fn tell(&self) {
        self.arrived.notify_one();
        self.seen.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Target for Shelf {
    /// Who fetches gets the message's own context.
    async fn post(&self, letter: &Arc<Letter>, attempt: u32, _: Option<HeaderValue>) -> Option<Reply> {
        let (outcome, mut told) = oneshot::channel();
        let place = self.put(letter.clone(), attempt, outcome);
        tokio::select! {
            biased;
            told = &mut told => return told.ok().map(|told| self.counted(told, letter)),
            () = letter.stop.cancelled() => {}
        }
        if self.lock().waiting.remove(&place.number).is_some() {
            return None;
        }
        told.await.ok().map(|told| self.counted(told, letter))
    }

    fn end(&self) {
        let mut state = self.lock();
        let next = state.next;
        *state = State { next, ..State::default() };
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("lease", &self.lease).finish_non_exhaustive()
    }
}

/// A letter's place, waiting or leased: given up when its courier is.
struct Place<'a> {
    shelf: &'a Shelf,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shelf.lock();
        if state.waiting.remove(&self.number).is_none() {
            state.end(self.number);
        }
    }
}
