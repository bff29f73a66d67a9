//! One who reads a topic: on its own, or with others at the end.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sidespan_bridge::{Event, Fault, Order, Pattern, Start, Subscribe, Subscription, Window};
use tokio::time::{Instant, timeout_at};

use super::cursor::{self, Cursor};
use super::shown::Shown;
use super::tail::{Failure, Follower, Next, Slot, Tail};
use crate::error::Error;
use crate::publish::Route;

/// Reads what a stream shows.
pub(super) struct Reader {
    route: Route,
    pattern: Pattern,
    slot: Arc<Slot>,
    /// How long the broker may take to begin.
    patience: Duration,
    state: State,
}

enum State {
    /// By a subscription of its own.
    Alone(Alone),
    /// It fell behind the others, and begins a subscription of its own at this id.
    Apart(Box<str>, BoxFuture<'static, Result<Alone, Error>>),
    /// Nothing more comes.
    Ended,
    /// With others.
    Together(Follower),
}

struct Alone {
    subscription: Box<dyn Subscription>,
    /// By which a reader goes on; `None` where it can't.
    cursor: Option<Cursor>,
    shown: u64,
}

impl Reader {
    /// Begins at `start`.
    ///
    /// # Errors
    ///
    /// The broker's, which must begin within `patience`.
    pub(super) async fn begin(
        route: Route,
        pattern: Pattern,
        slot: Arc<Slot>,
        start: Start,
        patience: Duration,
    ) -> Result<Self, Error> {
        let mut state = None;
        if start == Start::End {
            let deadline = Instant::now() + patience;
            let mut place = timeout_at(deadline, slot.lock()).await.map_err(|_| silent())?;
            let tail = place.upgrade();
            state = Some(match tail.and_then(Tail::follow) {
                Some(follower) => State::Together(follower),
                None => {
                    let alone = subscribe(route.clone(), pattern.clone(), start.clone(), patience).await?;
                    share(&route, &mut place, alone, true)
                }
            });
        } else if let Start::Resume { from, since } = &start {
            let id = Cursor::resumed(pattern.clone(), from, *since).id();
            let tail = slot.try_lock().ok().and_then(|place| place.upgrade());
            state = tail.and_then(|tail| tail.follow_behind(&id)).map(State::Together);
        }
        let state = match state {
            Some(state) => state,
            None => State::Alone(subscribe(route.clone(), pattern.clone(), start, patience).await?),
        };
        Ok(Self { route, pattern, slot, patience, state })
    }

    /// Returns the name of what is read.
    pub(super) fn topic(&self) -> &str {
        self.route.name()
    }

    /// Returns where a reader goes on that has seen what was shown, if it can.
    pub(super) fn id(&self) -> Option<String> {
        match &self.state {
            State::Alone(alone) => alone.cursor.as_ref().map(Cursor::id),
            State::Apart(id, _) => Some(id.to_string()),
            State::Ended => None,
            State::Together(follower) => Some(follower.id().to_owned()),
        }
    }

    /// Waits for the next message. A future that is dropped has missed nothing.
    pub(super) async fn next(&mut self) -> Option<Result<Arc<Shown>, Failure>> {
        loop {
            match &mut self.state {
                State::Alone(alone) => match alone.subscription.next().await? {
                    Ok(Event::Delivery(delivery)) => {
                        let shown = Shown::new(&self.route, alone.cursor.as_mut(), delivery);
                        alone.shown += 1;
                        if alone.shown % SOMETIMES == 0 {
                            self.catch_up();
                        }
                        return Some(Ok(Arc::new(shown)));
                    }
                    // Of a cursor of its own nothing is ever lost to another member.
                    Ok(Event::Lost { .. }) => {}
                    Err(error) => return Some(Err(Failure(Arc::new(error.into())))),
                },
                State::Apart(_, beginning) => match beginning.await {
                    Ok(alone) => self.state = State::Alone(alone),
                    Err(error) => return Some(Err(Failure(Arc::new(error)))),
                },
                State::Ended => return None,
                State::Together(follower) => match follower.next().await {
                    Next::Shown(shown) => return Some(Ok(shown)),
                    Next::End(failure) => return failure.map(Err),
                    Next::Behind => {
                        let id: Box<str> = follower.id().into();
                        let start = match cursor::read(id.as_bytes(), &self.pattern) {
                            Ok(start) => start,
                            Err(error) => return Some(Err(Failure(Arc::new(error)))),
                        };
                        let (route, pattern) = (self.route.clone(), self.pattern.clone());
                        let alone = subscribe(route, pattern, start, self.patience).boxed();
                        self.state = State::Apart(id, alone);
                    }
                },
            }
        }
    }

    /// Joins the others if it has caught up with them, or lets others join it. Called when nothing has come for
    /// a while.
    pub(super) fn settle_down(&mut self) {
        if self.catch_up() || !matches!(self.state, State::Alone(_)) {
            return;
        }
        let slot = self.slot.clone();
        // Whoever has it is about to begin a tail: another time.
        let Ok(mut place) = slot.try_lock() else { return };
        if place.strong_count() == 0
            && let State::Alone(alone) = std::mem::replace(&mut self.state, State::Ended)
        {
            self.state = share(&self.route, &mut place, alone, false);
        }
    }

    /// Joins the others if it is where one of them was a moment ago; tells whether it did.
    fn catch_up(&mut self) -> bool {
        let State::Alone(Alone { cursor: Some(cursor), .. }) = &self.state else { return false };
        let tail = self.slot.try_lock().ok().and_then(|place| place.upgrade());
        let Some(follower) = tail.and_then(|tail| tail.follow_behind(&cursor.id())) else { return false };
        self.state = State::Together(follower);
        true
    }
}

/// Lets others join, where that can be. At `is_end` of the topic those may who begin there.
fn share(route: &Route, place: &mut Weak<Tail>, alone: Alone, is_end: bool) -> State {
    match alone {
        Alone { subscription, cursor: Some(cursor), .. } => {
            let follower = Tail::begin(route.clone(), subscription, cursor, is_end);
            *place = Arc::downgrade(follower.tail());
            State::Together(follower)
        }
        // Nobody could go on who falls behind.
        alone => State::Alone(alone),
    }
}

async fn subscribe(route: Route, pattern: Pattern, start: Start, patience: Duration) -> Result<Alone, Error> {
    let now = SystemTime::now();
    let wish = Subscribe {
        pattern: pattern.clone(),
        group: None,
        start: start.clone(),
        order: Order::None,
        window: WINDOW,
    };
    let subscribed = timeout_at(Instant::now() + patience, route.outlet().bridge().subscribe(wish)).await;
    let subscription = subscribed.map_err(|_| silent())??;
    // A broker without positions has nothing to go on from.
    let cursor = subscription.begun().map(|begun| Cursor::new(pattern, &start, now, &begun));
    Ok(Alone { subscription, cursor, shown: 0 })
}

/// Nothing was handed over that might be stored: a broker too slow to subscribe is not there.
fn silent() -> Error {
    sidespan_bridge::Error::new(Fault::Unavailable).detail("the broker did not answer in time").into()
}

const WINDOW: Window = Window { messages: 256, bytes: 1 << 20 };
/// After so many messages it is time to see whether one has caught up.
const SOMETIMES: u64 = 256;
