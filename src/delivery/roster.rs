//! What is delivered now: subscriptions by name, begun, ended and replaced one by one.
//!
//! Whoever knows what should be delivered says so by [`Roster::wish`], as often as it likes. What is wished
//! begins at once where the name is new; what it replaces leaves its group first, in a task of its own, so
//! that no other subscription notices. A wish that comes meanwhile takes the place of the one before.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures_util::future::join_all;
use sidespan_bridge::Bridge;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::meter::Meter;
use super::{DeadLetterPlace, Left, Rest, Running, begin, hold};
use crate::config::{Name, Subscription};
use crate::telemetry::traces::Tracer;

/// The subscriptions of this process.
pub struct Roster {
    bridges: BTreeMap<Name, Arc<dyn Bridge>>,
    /// Whether each message is counted.
    is_metered: bool,
    tracers: BTreeMap<Name, Tracer>,
    state: RwLock<State>,
    /// Those that are leaving.
    tasks: TaskTracker,
    /// Tells that one has left.
    left: Notify,
}

/// How a subscription should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// What is delivered, and how.
    pub subscription: Arc<Subscription>,
    /// Why it should be out of its group, if it should.
    pub rest: Option<Rest>,
    /// How often it was begun anew by somebody's wish.
    pub restarts: u64,
}

impl Wish {
    /// Wishes that a subscription is delivered.
    pub fn of(subscription: Arc<Subscription>) -> Self {
        Self { subscription, rest: None, restarts: 0 }
    }
}

#[derive(Default)]
struct State {
    places: BTreeMap<Name, Place>,
    /// Nothing begins any more.
    frozen: bool,
}

struct Place {
    running: Arc<Running>,
    /// `None`: it should be gone.
    wish: Option<Wish>,
    /// A task has it leave, and then does what is wished.
    leaving: bool,
}

impl Roster {
    /// Makes an empty roster over these bridges.
    pub fn new(bridges: BTreeMap<Name, Arc<dyn Bridge>>) -> Self {
        Self {
            bridges,
            is_metered: false,
            tracers: BTreeMap::new(),
            state: RwLock::default(),
            tasks: TaskTracker::new(),
            left: Notify::new(),
        }
    }

    /// Has each message counted, or not.
    #[must_use]
    pub fn metered(self, is_metered: bool) -> Self {
        Self { is_metered, ..self }
    }

    /// Makes spans of attempts with the messages of these bridges.
    #[must_use]
    pub fn traced(self, tracers: BTreeMap<Name, Tracer>) -> Self {
        Self { tracers, ..self }
    }

    /// Says how the subscription of this name should be; `None` is gone. Nothing that begins once the roster
    /// is [frozen](Self::freeze).
    pub fn wish(self: &Arc<Self>, name: &Name, wish: Option<Wish>) {
        let mut state = self.write();
        if state.frozen {
            return;
        }
        match (state.places.get_mut(name), wish) {
            (None, None) => {}
            (None, Some(wish)) => {
                if let Some(running) = self.begin(&wish, None) {
                    let place = Place { running: Arc::new(running), wish: Some(wish), leaving: false };
                    state.places.insert(name.clone(), place);
                }
            }
            (Some(place), wish) if place.leaving => place.wish = wish,
            (Some(place), wish) if place.wish == wish => {}
            (Some(place), wish) => {
                place.wish = wish;
                place.leaving = true;
                place.running.stop_intake();
                self.tasks.spawn(self.clone().replace(name.clone(), place.running.clone()));
            }
        }
    }

    /// Waits until what is wished of this name is what there is; tells whether that was so by the deadline.
    pub async fn settled(&self, name: &str, deadline: Instant) -> bool {
        loop {
            let left = self.left.notified();
            if self.read().places.get(name).is_none_or(|place| !place.leaving) {
                return true;
            }
            if timeout_at(deadline, left).await.is_err() {
                return false;
            }
        }
    }

    /// Tells whether nothing begins any more.
    pub fn is_frozen(&self) -> bool {
        self.read().frozen
    }

    /// Returns the subscription of this name.
    pub fn find(&self, name: &str) -> Option<Arc<Running>> {
        self.read().places.get(name).map(|place| place.running.clone())
    }

    /// Returns all subscriptions, by name.
    pub fn all(&self) -> Vec<Arc<Running>> {
        self.read().places.values().map(|place| place.running.clone()).collect()
    }

    /// Stops the intake of all, and lets nothing begin from here on. Returns them.
    pub fn freeze(&self) -> Vec<Arc<Running>> {
        self.write().frozen = true;
        let all = self.all();
        for running in &all {
            running.stop_intake();
        }
        all
    }

    /// After [`Roster::freeze`]: leaves every group by the deadline.
    pub async fn close(&self, deadline: Instant) -> Vec<Left> {
        self.tasks.close();
        let all = self.all();
        let left = join_all(all.iter().map(|running| running.close(deadline)));
        let (left, _) = tokio::join!(left, timeout_at(deadline, self.tasks.wait()));
        left
    }

    /// Ends one, and begins what is wished in its place.
    async fn replace(self: Arc<Self>, name: Name, running: Arc<Running>) {
        let deadline = Instant::now() + FINISH;
        running.finish(deadline).await;
        running.close(Instant::now() + HAND_OVER).await;
        let mut state = self.write();
        if state.frozen {
            return;
        }
        let Some(place) = state.places.get_mut(&name) else { return };
        match place.wish.as_ref().and_then(|wish| self.begin(wish, Some(&running))) {
            Some(running) => {
                place.running = Arc::new(running);
                place.leaving = false;
            }
            None => drop(state.places.remove(&name)),
        }
        drop(state);
        self.left.notify_waiters();
    }

    /// Begins to deliver, and goes on with the counts of what was there `before`; a bridge that is not there was never
    /// configured.
    fn begin(&self, wish: &Wish, before: Option<&Running>) -> Option<Running> {
        let subscription = wish.subscription.clone();
        let bridge = self.bridges.get(&subscription.bridge)?.clone();
        let meter = match before {
            Some(before) => before.follow(&subscription),
            None => self.is_metered.then(Meter::default),
        };
        if let Some(rest) = wish.rest {
            return Some(hold(subscription, bridge, rest, meter));
        }
        let dead_letters = subscription.dead_letter.as_ref().and_then(|place| {
            let bridge = self.bridges.get(&place.bridge)?.clone();
            Some(DeadLetterPlace { bridge, topic: place.address.clone() })
        });
        let tracer = self.tracers.get(&subscription.bridge).cloned();
        Some(begin(subscription, bridge, dead_letters, meter, tracer))
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.read().places.keys()).finish()
    }
}

/// What attempts under way may take when their subscription is changed; with what follows it is less than
/// the five seconds within which a change is everywhere.
const FINISH: Duration = Duration::from_secs(3);
/// Handing over what was settled, and leaving the group.
const HAND_OVER: Duration = Duration::from_secs(1);
