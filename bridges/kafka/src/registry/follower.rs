//! The one reader behind a registry: it folds the log, tells what changes, and restates what was disturbed.
//!
//! How far the log goes is found out by writing a marker and reading up to it.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sidespan_bridge::{
    Change, Delivery, Error, Event, Fault, Header, Message, Revision, Subscription, Topic,
};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{info, warn};

use super::fold::{Effect, Entry, Fold, MARK, VERSION};
use super::topic::{self, Parts};

/// Follows one registry.
pub(super) struct Follower {
    parts: Parts,
    topic: Topic,
    state: Mutex<State>,
    reached: watch::Sender<Reached>,
}

struct State {
    fold: Fold,
    /// Whether what was read last was applied, by offset.
    verdicts: VecDeque<(u64, bool)>,
    news: broadcast::Sender<Change>,
}

/// How far the log was read.
#[derive(Clone, Default)]
struct Reached {
    /// Everything before this was.
    next: u64,
    live: bool,
    /// Why it is not read, if so.
    failure: Option<(Fault, Box<str>)>,
}

impl Follower {
    pub(super) fn new(parts: Parts, name: &str) -> Self {
        let topic = Topic::new(format!("{}{name}", parts.prefix));
        Self { parts, topic, state: Mutex::new(State::new()), reached: watch::Sender::default() }
    }

    /// Follows the log for ever; begins anew where it cannot go on.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let Err(error) = self.follow().await;
            warn!(%error, topic = %self.topic, "a registry cannot be read, and is tried again");
            *self.lock() = State::new();
            let failure = Some((error.fault, error.to_string().into()));
            self.reached.send_replace(Reached { failure, ..Reached::default() });
            sleep(PAUSE).await;
            self.reached.send_modify(|reached| reached.failure = None);
        }
    }

    async fn follow(&self) -> Result<std::convert::Infallible, Error> {
        topic::ensure(&self.parts, &self.topic, Instant::now() + CALL).await?;
        let mut cursor = self.parts.cursor(&self.topic).await?;
        let marker = self.mark(Instant::now() + CALL).await?;
        let mut restate_at = None;
        loop {
            let due = async {
                match restate_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = cursor.next() => match event {
                    Some(Ok(Event::Delivery(delivery))) => self.take(&delivery, marker),
                    Some(Ok(Event::Lost { .. })) => {}
                    Some(Err(error)) => return Err(error),
                    None => return Err(Error::new(Fault::Unavailable).detail("the registry's cursor has ended")),
                },
                () = due => {
                    restate_at = None;
                    for key in self.disturbed() {
                        self.restate(&key, Instant::now() + CALL).await;
                    }
                }
            }
            if restate_at.is_none() && !self.disturbed().is_empty() {
                restate_at = Some(Instant::now() + grace());
            }
        }
    }

    /// Folds in what comes next.
    fn take(&self, delivery: &Delivery, marker: u64) {
        let (message, Some(position)) = (&delivery.message, delivery.position) else { return };
        let offset = position.sequence;
        let key = message.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        if let Some(key) = key.filter(|key| *key != MARKER) {
            self.fold(key, offset, message);
        } else if key.is_none() {
            warn!(topic = %self.topic, offset, "skipped a record that no registry wrote");
        }
        if offset >= marker && !self.reached.borrow().live {
            self.lock().fold.live = true;
            info!(topic = %self.topic, records = self.count(), "read a registry");
        }
        let live = offset >= marker;
        self.reached.send_modify(|reached| {
            reached.next = offset + 1;
            reached.live |= live;
        });
    }

    fn fold(&self, key: &str, offset: u64, message: &Message) {
        let entry = Entry::of_message(message);
        if entry.is_none() {
            warn!(topic = %self.topic, key, offset, "skipped a record that no registry of this release wrote");
        }
        let mut state = self.lock();
        let effect = state.fold.apply(key, offset, entry);
        if state.verdicts.len() >= VERDICTS {
            state.verdicts.pop_front();
        }
        state.verdicts.push_back((offset, effect != Effect::Rejected));
        if state.fold.live && effect == Effect::Changed {
            // Where nobody watches nobody has to know.
            let _ = state.news.send(state.fold.change(key));
        }
    }

    /// Waits until all was read that was there at the start.
    pub(super) async fn until_live(&self, deadline: Instant) -> Result<(), Error> {
        let late = "the registry could not be read in time: can kafka be reached?";
        let reached =
            self.until(|it| it.live || it.failure.is_some(), Fault::Unavailable, late, deadline).await?;
        match reached.failure {
            Some((fault, detail)) => Err(Error::new(fault).detail(detail)),
            None => Ok(()),
        }
    }

    /// Reads up to what is the end of the log now.
    pub(super) async fn catch_up(&self, deadline: Instant) -> Result<(), Error> {
        let marker = self.mark(deadline).await?;
        let late = "the registry could not be read in time";
        self.until(|it| it.next > marker, Fault::Unavailable, late, deadline).await.map(drop)
    }

    /// Tells whether a record of ours was applied.
    pub(super) async fn verdict(&self, offset: u64, deadline: Instant) -> Result<bool, Error> {
        let late = "the record was stored, and not read again in time: whether it counts is not known";
        self.until(|it| it.live && it.next > offset, Fault::Timeout, late, deadline).await?;
        let state = self.lock();
        let verdict = state.verdicts.iter().find(|(known, _)| *known == offset);
        verdict.map(|(_, applied)| *applied).ok_or_else(|| Error::new(Fault::Timeout).detail(late))
    }

    async fn until(
        &self,
        is_so: impl Fn(&Reached) -> bool,
        fault: Fault,
        late: &'static str,
        deadline: Instant,
    ) -> Result<Reached, Error> {
        let mut reached = self.reached.subscribe();
        match timeout_at(deadline, reached.wait_for(|reached| is_so(reached))).await {
            Ok(Ok(reached)) => Ok(reached.clone()),
            Ok(Err(_)) | Err(_) => Err(Error::new(fault).detail(late)),
        }
    }

    /// Writes a record; returns its offset.
    pub(super) async fn write(&self, key: &str, entry: &Entry, deadline: Instant) -> Result<u64, Error> {
        self.parts.publish(&self.topic, entry.to_message(key), deadline).await
    }

    /// Writes a marker; returns its offset.
    async fn mark(&self, deadline: Instant) -> Result<u64, Error> {
        let headers = vec![Header::new(MARK, VERSION)];
        let (key, payload) = (Some(MARKER.into()), Some(bytes::Bytes::new()));
        self.parts
            .publish(&self.topic, Message { key, payload, headers, ..Message::default() }, deadline)
            .await
    }

    /// Writes behind a rejected record what stands. Where it fails it is tried again.
    pub(super) async fn restate(&self, key: &str, deadline: Instant) {
        let entry = self.lock().fold.restatement(key);
        if let Err(error) = self.write(key, &entry, deadline).await {
            warn!(%error, topic = %self.topic, key, "what stands in a registry could not be restated yet");
        }
    }

    /// Returns all that stands, and what tells of changes from then on.
    pub(super) fn look(&self) -> (Vec<Change>, broadcast::Receiver<Change>) {
        let state = self.lock();
        (state.fold.all(), state.news.subscribe())
    }

    pub(super) fn stands(&self, key: &str) -> Revision {
        self.lock().fold.stands(key)
    }

    pub(super) fn count(&self) -> usize {
        self.lock().fold.count()
    }

    /// Returns the names to be restated, once all was read.
    fn disturbed(&self) -> Vec<Arc<str>> {
        let state = self.lock();
        if state.fold.live { state.fold.disturbed() } else { Vec::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new() -> Self {
        Self { fold: Fold::default(), verdicts: VecDeque::new(), news: broadcast::Sender::new(NEWS) }
    }
}

/// How long the loser is given to restate what stands; others wait each a time of its own.
fn grace() -> Duration {
    GRACE + Duration::from_millis(RandomState::new().hash_one(()) % SPREAD_MILLIS)
}

/// The key of markers, which no record has.
const MARKER: &str = "~";
/// Changes that a watcher may be behind.
const NEWS: usize = 256;
/// What became of so many records is remembered for their writers.
const VERDICTS: usize = 4096;
const PAUSE: Duration = Duration::from_secs(1);
const CALL: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(2);
const SPREAD_MILLIS: u64 = 3000;
