//! The end of a topic, read once for all who follow it.
//!
//! Who follows a topic at its end, as most do, shares one subscription with the others: at a broker one
//! may cost a connection and half a megabyte, and a message is read and written once. The last messages
//! are kept for a while; whoever falls behind them goes on with a subscription of its own.
//!
//! The tail is read as fast as the quickest of its readers, so that slow ones hold up nobody, and a burst
//! does not leave all of them behind.

mod ring;

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::FutureExt;
use sidespan_bridge::{Event, Subscription};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use self::ring::{Ring, State};
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
        let state = State::beginning_after(cursor.id());
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

/// How many messages are passed on at a time.
const AHEAD: usize = 64;
