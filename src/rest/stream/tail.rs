//! The end of a topic, read once for all who follow it.
//!
//! Who follows a topic at its end, as most do, shares one subscription with the others: at a broker one
//! may cost a connection and half a megabyte, and a message is read and written once. The last messages
//! are kept for a while; whoever falls behind them goes on with a subscription of its own.
//!
//! The tail is read as fast as the quickest of its readers, so that slow ones hold up nobody, and a burst
//! does not leave all of them behind.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt;
use sidespan_bridge::{Event, Subscription};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::cursor::Cursor;
use super::shown::Shown;
use crate::error::Error;
use crate::publish::Route;

/// Every tail that is followed, by the name of its topic.
#[derive(Debug, Default)]
pub(in crate::rest) struct Tails(Mutex<HashMap<Box<str>, Weak<Slot>>>);

/// The place for one topic's tail. Whoever has it locked decides who reads for all.
pub(super) type Slot = tokio::sync::Mutex<Weak<Tail>>;

impl Tails {
    /// Returns a topic's place.
    pub(super) fn slot(&self, topic: &str) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(topic).and_then(Weak::upgrade) {
            return slot;
        }
        slots.retain(|_, slot| slot.strong_count() > 0);
        let slot = Arc::new(Slot::default());
        slots.insert(topic.into(), Arc::downgrade(&slot));
        slot
    }
}

/// A subscription that many follow. It ends with the last of them.
#[derive(Debug)]
pub(super) struct Tail {
    ring: Arc<Ring>,
    /// It began at the end of the topic. Otherwise it may be far behind that.
    is_end: bool,
    _reading: AbortOnDropHandle<()>,
}

/// What a follower gets next.
pub(super) enum Next {
    /// A message.
    Shown(Arc<Shown>),
    /// What it has not seen is gone from here.
    Behind,
    /// There will be no more, and why, if there is a reason.
    End(Option<Failure>),
}

/// Why a stream ended. Clones tell the same.
#[derive(Clone, Debug)]
pub(super) struct Failure(pub(super) Arc<Error>);

impl Tail {
    /// Reads a subscription for all who will follow; returns the first of them.
    pub(super) fn begin(
        route: Route,
        subscription: Box<dyn Subscription>,
        cursor: Cursor,
        is_end: bool,
    ) -> Follower {
        let state = State { before: cursor.id().into(), ..State::default() };
        let ring =
            Arc::new(Ring { state: Mutex::new(state), arrived: Notify::new(), followed: Notify::new() });
        let id = cursor.id().into();
        let reading = tokio::spawn(read(route, subscription, cursor, ring.clone()));
        let reading = AbortOnDropHandle::new(reading);
        Follower::new(Arc::new(Self { ring, is_end, _reading: reading }), 0, id)
    }

    /// Follows from now on. `None`: it has ended, or is not at the end of its topic.
    pub(super) fn follow(self: Arc<Self>) -> Option<Follower> {
        let state = self.ring.lock();
        if state.end.is_some() || !self.is_end {
            return None;
        }
        let (next, id) = (state.next(), state.last().into());
        drop(state);
        Some(Follower::new(self, next, id))
    }

    /// Follows behind the message of this id. `None`: it is not here.
    pub(super) fn follow_behind(self: Arc<Self>, id: &str) -> Option<Follower> {
        let state = self.ring.lock();
        let next = state.behind(id).filter(|_| state.end.is_none())?;
        drop(state);
        Some(Follower::new(self, next, id.into()))
    }
}

/// One who follows a tail.
#[derive(Debug)]
pub(super) struct Follower {
    tail: Arc<Tail>,
    /// The number of the message behind those in `ahead`.
    next: u64,
    ahead: VecDeque<Arc<Shown>>,
    /// Where it began.
    id: Box<str>,
    last: Option<Arc<Shown>>,
}

impl Follower {
    fn new(tail: Arc<Tail>, next: u64, id: Box<str>) -> Self {
        let mut state = tail.ring.lock();
        state.furthest = state.furthest.max(next);
        drop(state);
        tail.ring.followed.notify_one();
        Self { tail, next, ahead: VecDeque::new(), id, last: None }
    }

    /// Returns what it follows.
    pub(super) fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// Returns where it goes on.
    pub(super) fn id(&self) -> &str {
        self.last.as_ref().and_then(|shown| shown.id()).unwrap_or(&self.id)
    }

    /// Waits for what comes next. A future that is dropped has missed nothing.
    pub(super) async fn next(&mut self) -> Next {
        loop {
            if let Some(shown) = self.ahead.pop_front() {
                self.last = Some(shown.clone());
                return Next::Shown(shown);
            }
            let tail = self.tail.clone();
            let mut arrived = pin!(tail.ring.arrived.notified());
            arrived.as_mut().enable();
            match self.look() {
                Ok(()) if self.ahead.is_empty() => arrived.await,
                Ok(()) => {}
                Err(next) => return next,
            }
        }
    }

    /// Takes what is there.
    fn look(&mut self) -> Result<(), Next> {
        let mut state = self.tail.ring.lock();
        let skip = self.next.checked_sub(state.first).and_then(|skip| usize::try_from(skip).ok());
        let fresh = state.shown.iter().skip(skip.ok_or(Next::Behind)?).take(AHEAD);
        self.ahead.extend(fresh.map(|entry| entry.shown.clone()));
        self.next += self.ahead.len() as u64;
        match &state.end {
            Some(end) if self.ahead.is_empty() => return Err(Next::End(end.clone())),
            Some(_) | None => {}
        }
        if self.next > state.furthest {
            state.furthest = self.next;
            drop(state);
            self.tail.ring.followed.notify_one();
        }
        Ok(())
    }
}

/// The last messages of a tail.
#[derive(Debug)]
struct Ring {
    state: Mutex<State>,
    /// Tells all followers.
    arrived: Notify,
    /// Tells who reads.
    followed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the first message that is here.
    first: u64,
    shown: VecDeque<Entry>,
    /// The bytes of all messages that ever were here.
    bytes: u64,
    /// The id that is before the first.
    before: Box<str>,
    /// What the quickest of the followers takes next.
    furthest: u64,
    end: Option<Option<Failure>>,
}

#[derive(Debug)]
struct Entry {
    shown: Arc<Shown>,
    /// Of all bytes, those up to its end.
    bytes: u64,
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the quickest follower is near.
    async fn until_followed(&self) {
        loop {
            if self.lock().is_followed() {
                return;
            }
            self.followed.notified().await;
        }
    }
}

impl State {
    fn next(&self) -> u64 {
        self.first + self.shown.len() as u64
    }

    fn is_followed(&self) -> bool {
        let (ahead, last) = (self.next().saturating_sub(self.furthest), self.shown.len());
        let taken =
            usize::try_from(ahead).ok().and_then(|ahead| self.shown.get(last.checked_sub(ahead + 1)?));
        let bytes = if ahead == 0 { 0 } else { self.bytes - taken.map_or(0, |entry| entry.bytes) };
        ahead < LEAD && bytes < LEAD_BYTES
    }

    fn last(&self) -> &str {
        self.shown.back().and_then(|entry| entry.shown.id()).unwrap_or(&self.before)
    }

    fn behind(&self, id: &str) -> Option<u64> {
        if *self.before == *id {
            return Some(self.first);
        }
        let index = self.shown.iter().rposition(|entry| entry.shown.id() == Some(id))?;
        Some(self.first + index as u64 + 1)
    }

    fn kept(&self) -> u64 {
        let before = self.shown.front().map(|first| first.bytes - first.shown.weight() as u64);
        self.bytes - before.unwrap_or(self.bytes)
    }

    fn push(&mut self, shown: Shown) {
        self.bytes += shown.weight() as u64;
        self.shown.push_back(Entry { shown: Arc::new(shown), bytes: self.bytes });
        while self.shown.len() > MESSAGES || (self.shown.len() > 1 && self.kept() > BYTES) {
            let Some(Entry { shown, .. }) = self.shown.pop_front() else { break };
            self.first += 1;
            if let Some(id) = shown.id() {
                self.before = id.into();
            }
        }
    }
}

/// Reads until the end of the subscription, or until nobody follows any more.
async fn read(route: Route, mut subscription: Box<dyn Subscription>, mut cursor: Cursor, ring: Arc<Ring>) {
    let end = loop {
        ring.until_followed().await;
        let mut next = Some(subscription.next().await);
        // What is there already goes with it: followers are woken once.
        for more in (0..AHEAD).rev() {
            match next {
                Some(Some(Ok(Event::Delivery(delivery)))) => {
                    let shown = Shown::new(&route, Some(&mut cursor), delivery);
                    ring.lock().push(shown);
                }
                // Of a cursor of its own nothing is ever lost to another member.
                Some(Some(Ok(Event::Lost { .. }))) => {}
                Some(Some(Err(_)) | None) | None => break,
            }
            next = if more > 0 { subscription.next().now_or_never() } else { None };
        }
        match next {
            Some(Some(Err(error))) => break Some(Failure(Arc::new(error.into()))),
            Some(None) => break None,
            Some(Some(Ok(_))) | None => {}
        }
        ring.arrived.notify_waiters();
        tokio::task::yield_now().await;
    };
    if let Some(Failure(error)) = &end {
        tracing::debug!(topic = route.name(), %error, "a tail ended");
    }
    ring.lock().end = Some(end);
    ring.arrived.notify_waiters();
}

/// How many messages are kept, and how many bytes of them; one is, however large.
const MESSAGES: usize = 1024;
const BYTES: u64 = 1 << 20;
/// How far the tail is read before the quickest of its followers.
const LEAD: u64 = 256;
const LEAD_BYTES: u64 = 256 << 10;
/// How many messages are passed on at a time.
const AHEAD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn state(messages: u64, weight: usize) -> State {
        let mut state = State { before: "0".into(), ..State::default() };
        for id in 1..=messages {
            state.push(Shown::of(&id.to_string(), &"1".repeat(weight)));
        }
        state
    }

    #[test]
    fn the_last_messages_are_kept() {
        let state = state(2000, 10);
        assert_eq!((state.shown.len(), state.first, state.next()), (MESSAGES, 976, 2000));
        assert_eq!((&*state.before, state.last()), ("976", "2000"));
        assert_eq!(state.behind("975"), None);
        assert_eq!(state.behind("976"), Some(976));
        assert_eq!(state.behind("1999"), Some(1999));
        assert_eq!(state.behind("2000"), Some(2000));
    }

    #[test]
    fn of_large_messages_fewer_are_kept_and_one_at_least() {
        let few = state(20, 400 << 10);
        assert_eq!((few.shown.len(), few.next()), (2, 20));
        let one = state(3, 5 << 20);
        assert_eq!((one.shown.len(), one.last()), (1, "3"));
    }

    #[test]
    fn the_quickest_follower_says_how_far_it_is_read() {
        let is_followed = |state: State, furthest| State { furthest, ..state }.is_followed();
        assert!(is_followed(state(100, 10), 0));
        assert!(!is_followed(state(300, 10), 0));
        assert!(is_followed(state(300, 10), 100));
        assert!(!is_followed(state(5, 100 << 10), 0));
        assert!(is_followed(state(5, 100 << 10), 3));
        assert!(!is_followed(state(1, 1 << 20), 0));
        assert!(is_followed(state(1, 1 << 20), 1));
    }
}
