//! How a subscription is doing, for readiness, metrics and people.

use std::error::Error;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use sidespan_bridge::{Control, Role};
use tokio::sync::watch;

use super::meter::Meter;
use crate::config::Name;

/// How a subscription is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// What it is doing.
    #[serde(flatten)]
    pub state: State,
    /// Whether this member gets messages, while it is one: of an ordered subscription only some do,
    /// and the others stand by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Attempts under way.
    pub in_flight: usize,
    /// Messages that are not settled, waiting or under way.
    pub held: usize,
    /// Messages that were delivered.
    pub delivered: u64,
    /// Attempts that were not accepted.
    pub failed_attempts: u64,
    /// Messages that were stored as dead letters.
    pub dead_lettered: u64,
    /// Messages that were given up after one attempt, as `guarantee: at-most-once` asks.
    pub dropped: u64,
    /// Held messages that should be dead letters and have no place to go.
    pub undeliverable: usize,
    /// Why the endpoint is unavailable, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Trouble>,
    /// Why dead letters cannot be stored, if they cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<Trouble>,
}

/// What a subscription is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Nothing more is in flight, and nothing new is taken.
    Drained,
    /// Finishes what is in flight, and takes nothing new.
    Draining,
    /// Nothing is attempted: somebody paused it, or the receiver answered 410. It goes on when it is resumed.
    Paused(Trouble),
    /// It could not start, or lost its broker, and tries again.
    Retrying(Trouble),
    /// At work.
    Running,
    /// Connecting for the first time.
    Starting,
    /// It has ended.
    Stopped,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// What it is.
    pub error: String,
    /// When it began.
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
}

impl Trouble {
    pub(super) fn new(error: &impl ToString) -> Self {
        Self { error: error.to_string(), since: Timestamp::now() }
    }
}

/// Why a subscription is out of its group for now, though it will be back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Its group is being moved to another position.
    Moving,
    /// Somebody paused it.
    Paused,
    /// Whether somebody has paused it is not known yet.
    Waiting,
}

impl Rest {
    pub(super) fn state(self) -> State {
        match self {
            Self::Moving => State::Paused(Trouble::new(&"it is being moved to another position")),
            Self::Paused => State::Paused(Trouble::new(&"somebody paused it, and somebody has to resume it")),
            Self::Waiting => State::Starting,
        }
    }
}

fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// Where the parts of a subscription write down how they are doing.
pub(super) struct Board {
    state: watch::Sender<State>,
    member: Mutex<Option<Arc<dyn Control>>>,
    paused: Mutex<Option<Trouble>>,
    endpoint: Mutex<Option<Trouble>>,
    dead_letters: Mutex<Option<Trouble>>,
    pub(super) in_flight: Gauge,
    pub(super) held: Gauge,
    pub(super) undeliverable: Gauge,
    pub(super) delivered: Counter,
    pub(super) failed_attempts: Counter,
    pub(super) dead_lettered: Counter,
    dropped: Counter,
    /// What else is counted, where it is.
    pub(super) meter: Option<Meter>,
}

impl Board {
    pub(super) fn new(meter: Option<Meter>) -> Self {
        Self {
            state: watch::Sender::new(State::Starting),
            member: Mutex::default(),
            paused: Mutex::default(),
            endpoint: Mutex::default(),
            dead_letters: Mutex::default(),
            in_flight: Gauge::default(),
            held: Gauge::default(),
            undeliverable: Gauge::default(),
            delivered: Counter::default(),
            failed_attempts: Counter::default(),
            dead_lettered: Counter::default(),
            dropped: Counter::default(),
            meter,
        }
    }

    pub(super) fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    pub(super) fn set_if_new(&self, state: State) {
        self.state.send_if_modified(|now| {
            let is_new = *now != state;
            *now = state;
            is_new
        });
    }

    /// Notes that it tries again, and tells whether that is news. The beginning of a trouble that
    /// goes on stays.
    fn retrying(&self, error: String) -> bool {
        self.state.send_if_modified(|state| match state {
            State::Retrying(trouble) if trouble.error == error => false,
            State::Retrying(trouble) => {
                trouble.error = error;
                true
            }
            State::Drained
            | State::Draining
            | State::Paused(_)
            | State::Running
            | State::Starting
            | State::Stopped => {
                *state = State::Retrying(Trouble::new(&error));
                true
            }
        })
    }

    /// Says why a subscription does not run, once for each change.
    pub(super) fn report(&self, subscription: &Name, error: &(dyn Error + 'static)) {
        if self.retrying(error.to_string()) {
            let source = error.source();
            tracing::warn!(%subscription, error, source, "the subscription does not run; trying again");
        }
    }

    /// Notes the membership at the broker, or that there is none.
    pub(super) fn member(&self, control: Option<Arc<dyn Control>>) {
        *lock(&self.member) = control;
    }

    /// Returns the membership at the broker, while there is one.
    pub(super) fn control(&self) -> Option<Arc<dyn Control>> {
        lock(&self.member).clone()
    }

    /// Counts a message that is given up without a dead letter.
    pub(super) fn drop_one(&self) {
        self.dropped.count();
        if let Some(meter) = &self.meter {
            meter.tally.dropped.count();
        }
    }

    pub(super) fn pause(&self, why: &impl ToString) {
        *lock(&self.paused) = Some(Trouble::new(why));
    }

    pub(super) fn endpoint(&self, trouble: Option<Trouble>) {
        *lock(&self.endpoint) = trouble;
    }

    /// Notes whether dead letters can be stored, and tells whether that is news.
    pub(super) fn dead_letters(&self, error: Option<String>) -> bool {
        let mut noted = lock(&self.dead_letters);
        let is_news = noted.as_ref().map(|trouble| &trouble.error) != error.as_ref();
        if is_news {
            *noted = error.map(|error| Trouble::new(&error));
        }
        is_news
    }

    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(super) fn status(&self) -> Status {
        let state = match (self.state.borrow().clone(), lock(&self.paused).clone()) {
            (State::Running, Some(why)) => State::Paused(why),
            (state, _) => state,
        };
        Status {
            state,
            role: lock(&self.member).as_ref().map(|member| member.role()),
            in_flight: self.in_flight.value(),
            held: self.held.value(),
            delivered: self.delivered.value(),
            failed_attempts: self.failed_attempts.value(),
            dead_lettered: self.dead_lettered.value(),
            dropped: self.dropped.value(),
            undeliverable: self.undeliverable.value(),
            endpoint: lock(&self.endpoint).clone(),
            dead_letters: lock(&self.dead_letters).clone(),
        }
    }
}

/// What there is of something now.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicUsize);

impl Gauge {
    /// Counts one more until the mark is dropped.
    pub(super) fn mark(&self) -> Mark<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Mark(self)
    }

    pub(super) fn set(&self, value: usize) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One that is counted.
#[derive(Debug)]
pub(super) struct Mark<'a>(&'a Gauge);

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How often something happened.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Nobody panics while holding one of these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_flat_and_says_since_when() {
        let board = Board::new(None);
        assert!(board.retrying("the broker cannot be reached".into()));
        assert!(!board.retrying("the broker cannot be reached".into()), "the same again is no news");
        let json = serde_json::to_value(board.status()).unwrap();
        assert_eq!(json["state"], "retrying");
        assert_eq!(json["error"], "the broker cannot be reached");
        assert!(json["since"].as_str().unwrap().parse::<Timestamp>().is_ok());
        assert_eq!(json["held"], 0);
    }

    #[test]
    fn a_paused_subscription_says_so_while_it_runs() {
        let board = Board::new(None);
        board.set(State::Running);
        board.pause(&"answered 410");
        assert!(matches!(board.status().state, State::Paused(_)));
        board.set(State::Draining);
        assert_eq!(board.status().state, State::Draining);
    }
}
