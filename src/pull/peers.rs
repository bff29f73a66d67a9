//! The other replicas of a service, and what is fetched and settled there.
//!
//! A message stays with the replica that its broker gave it to. A consumer may be connected to any other:
//! then that one *looks* at its peers, which takes nothing and so may be given up at any time, and takes
//! from the first that has something, from one at a time. A verdict goes to the replica that its ack id
//! names. What a peer asks is never passed on to a third.

mod book;
mod line;
mod turn;
pub mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use sidespan_bridge::Message;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::task::TaskTracker;

use self::book::Book;
use self::line::{Line, Trouble};
use self::wire::{Ask, Outcome, Replied, Taken, Told, What};
use super::{Handed, Settle};
use crate::delivery::Amount;
use crate::security::seal::Seal;

pub use line::{CODE, PATH};
pub(super) use turn::Turn;

/// The other replicas.
pub struct Peers {
    book: Book,
    line: Line,
    seal: Seal,
    /// What is wrong with whom, so that it is told once.
    troubles: Mutex<BTreeMap<SocketAddr, String>>,
    tasks: TaskTracker,
}

/// What became of verdicts that were sent to a peer.
#[derive(Debug)]
pub(super) enum Sent {
    /// One outcome a lease.
    Outcomes(Vec<Outcome>),
    /// The process that gave the leases is no more.
    Gone,
    /// It may have them.
    Unanswered,
    /// It does not have them.
    Unreached,
}

impl Peers {
    /// Looks for peers under these names (`host:port`), `own` excepted. All replicas have the seal.
    pub fn new(names: Vec<String>, own: SocketAddr, seal: Seal) -> Self {
        Self {
            book: Book::new(names, own),
            line: Line::new(seal.clone()),
            seal,
            troubles: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Tells whether a call was signed by a replica, a moment ago.
    pub fn is_signed(&self, header: &str, body: &[u8]) -> bool {
        line::is_signed(&self.seal, SystemTime::now(), header, body)
    }

    /// Signs the answer to a call.
    pub fn sign_answer(&self, header: &str, body: &[u8]) -> String {
        self.seal.text(&line::answered(header, body))
    }

    /// Returns the tasks that outlive their callers.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Waits until `until` for a message at a peer, then takes what is there; nothing, a moment after
    /// `until`, if none came. A future that is dropped has taken nothing.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        subscription: &str,
        turn: &Turn,
        consumer: Option<u64>,
        most: Amount,
        until: Instant,
    ) -> Option<(SocketAddr, Vec<Handed>)> {
        loop {
            let peer = {
                // Who waits for a turn until the end misses nothing: somebody has looked meanwhile.
                let _turn = timeout_at(until, turn.turn.lock()).await.ok()?;
                let look = self.look(subscription, turn, until);
                let found = timeout_at(until.max(Instant::now()) + ANSWER, look).await;
                lock(&turn.seen).looked = true;
                found.ok()??
            };
            let taken = self.take(peer, subscription, consumer, most, until).await;
            if !taken.is_empty() {
                return Some((peer, taken));
            }
            if until <= Instant::now() {
                return None;
            }
        }
    }

    /// Settles leases of one peer.
    pub(super) async fn settle(
        &self,
        peer: SocketAddr,
        subscription: &str,
        ack_ids: Vec<String>,
        verdict: Settle,
        deadline: Instant,
    ) -> Sent {
        let count = ack_ids.len();
        let wait = deadline.saturating_duration_since(Instant::now());
        self.send(peer, subscription, What::Settle { ack_ids, verdict, wait }, count, deadline).await
    }

    /// Answers a request that a peer leased.
    pub(super) async fn reply(
        &self,
        peer: SocketAddr,
        subscription: &str,
        ack_id: &str,
        reply: &Message,
        deadline: Instant,
    ) -> Sent {
        let wait = deadline.saturating_duration_since(Instant::now());
        let what = What::Reply { ack_id: ack_id.to_owned(), reply: Replied::of(reply), wait };
        self.send(peer, subscription, what, 1, deadline).await
    }

    /// Asks a peer for so many outcomes.
    async fn send(
        &self,
        peer: SocketAddr,
        subscription: &str,
        what: What,
        count: usize,
        deadline: Instant,
    ) -> Sent {
        match self.ask(peer, subscription, what, deadline).await {
            Ok(Told::Settled(outcomes)) if outcomes.len() == count => Sent::Outcomes(outcomes),
            // What is there now has no such subscription any more.
            Ok(Told::Nothing) | Err(Trouble::Gone) => Sent::Gone,
            Ok(Told::Draining) | Err(Trouble::Unreached(_)) => Sent::Unreached,
            Ok(_) | Err(Trouble::Unanswered(_)) => Sent::Unanswered,
        }
    }

    /// Ends the leases that a consumer has at a peer.
    pub(super) fn leave(self: &Arc<Self>, peer: SocketAddr, subscription: &str, consumer: u64) {
        self.tell(peer, subscription, What::Leave { consumer });
    }

    /// Waits until a peer has something, or until `until`.
    async fn look(&self, subscription: &str, turn: &Turn, until: Instant) -> Option<SocketAddr> {
        loop {
            let round = until.min(Instant::now() + ROUND);
            let peers = self.book.addresses().await;
            let mut looks: FuturesUnordered<_> =
                peers.into_iter().map(|peer| self.look_at(peer, subscription, turn, round)).collect();
            let mut found = None;
            while found.is_none()
                && let Some(seen) = looks.next().await
            {
                found = seen;
            }
            if found.is_some() || until <= Instant::now() {
                return found;
            }
            // Nobody is there, or all answered before the time.
            sleep_until(round).await;
        }
    }

    async fn look_at(
        &self,
        peer: SocketAddr,
        subscription: &str,
        turn: &Turn,
        until: Instant,
    ) -> Option<SocketAddr> {
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            let told = self.ask(peer, subscription, What::Look { wait }, until + ANSWER).await;
            if let Ok(Told::Seen { waits, owns }) = told {
                if owns {
                    lock(&turn.seen).owner = Some(Instant::now());
                }
                if waits {
                    return Some(peer);
                }
            }
            if until <= Instant::now() + PAUSE {
                return None;
            }
            sleep_until(Instant::now() + PAUSE).await;
        }
    }

    async fn take(
        self: &Arc<Self>,
        peer: SocketAddr,
        subscription: &str,
        consumer: Option<u64>,
        most: Amount,
        until: Instant,
    ) -> Vec<Handed> {
        let asked = Instant::now();
        let (give, given) = oneshot::channel();
        let (peers, subscription) = (self.clone(), Box::from(subscription));
        // A caller may go away at any time; what comes then is put back.
        self.tasks.spawn(async move {
            let what = What::Take { most, consumer };
            if let Ok(Told::Taken(taken)) = peers.ask(peer, &subscription, what, asked + TAKE).await {
                let _ = give.send(Catch { taken, peer, subscription, peers: peers.clone() });
            }
        });
        match timeout_at(until.max(asked) + ANSWER, given).await {
            Ok(Ok(mut catch)) => {
                let taken = std::mem::take(&mut catch.taken).into_iter();
                taken.map(|taken| taken.into_handed(asked)).collect()
            }
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }

    /// Tells a peer something whose answer nobody needs.
    fn tell(self: &Arc<Self>, peer: SocketAddr, subscription: &str, what: What) {
        // There is no runtime any more where the process ends.
        let Ok(runtime) = Handle::try_current() else { return };
        let (peers, subscription) = (self.clone(), Box::<str>::from(subscription));
        let telling = async move {
            // Its leases end by themselves if it does not hear of it.
            let _ = peers.ask(peer, &subscription, what, Instant::now() + TAKE).await;
        };
        self.tasks.spawn_on(telling, &runtime);
    }

    async fn ask(
        &self,
        peer: SocketAddr,
        subscription: &str,
        what: What,
        until: Instant,
    ) -> Result<Told, Trouble> {
        let told = self.line.call(peer, &Ask { subscription: subscription.into(), what }, until).await;
        self.note(peer, told.as_ref().err());
        told
    }

    /// Logs what is wrong with a peer, once for each change.
    fn note(&self, peer: SocketAddr, trouble: Option<&Trouble>) {
        let mut troubles = lock(&self.troubles);
        match trouble {
            None => {
                if troubles.remove(&peer).is_some() {
                    tracing::info!(%peer, "the replica answers again");
                }
            }
            Some(trouble) => {
                let trouble = trouble.to_string();
                let is_news = troubles.get(&peer).is_none_or(|known| *known != trouble);
                if is_news && troubles.len() < MOST_NOTED {
                    tracing::warn!(%peer, error = %trouble, "a replica cannot be asked");
                    troubles.insert(peer, trouble);
                }
            }
        }
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peers")
    }
}

/// What was taken from a peer. Dropped with something in it, that is put back.
struct Catch {
    taken: Vec<Taken>,
    peer: SocketAddr,
    subscription: Box<str>,
    peers: Arc<Peers>,
}

impl Drop for Catch {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            let ack_ids = self.taken.drain(..).map(|taken| taken.ack_id).collect();
            self.peers.tell(self.peer, &self.subscription, What::PutBack { ack_ids });
        }
    }
}

/// Nobody panics while holding it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long peers are looked at until it is asked anew who they are.
const ROUND: Duration = Duration::from_secs(10);
/// Between two looks at one that does not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// What an answer may take, beside the wait that was asked for.
const ANSWER: Duration = Duration::from_millis(500);
/// What it may take to take, where the caller has the time, or to be told something.
const TAKE: Duration = Duration::from_secs(5);
/// Of addresses that are gone for good there are only so many.
const MOST_NOTED: usize = 1024;
