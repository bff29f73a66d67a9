//! Delivers subscriptions: one pump for each, for ever.
//!
//! [`start`] reads one subscription of a broker and posts its messages to its target: a webhook, or a
//! shelf from which consumers fetch. The pump takes
//! deliveries from the broker and spreads them over lanes: with `order: key` a lane is a queue of
//! messages of one key, so that one slow order holds up its own customer and nobody else. A courier
//! carries each message until the target accepts it, its dead letter is stored, or it is told to
//! stop. Only then is the message settled.
//!
//! The [`Roster`] has all of them, and begins and ends them one by one.
//!
//! A subscription never gives up: one that cannot start, or loses its broker, tries again with
//! growing waits, and its [`Status`] says why.
//!
//! # Why retries wait here and not at the broker
//!
//! Kafka cannot take back a single record and plain AMQP cannot delay one. Waiting here is what all
//! brokers share; it keeps a key in order, and attempts are counted where they are made: a release
//! to the broker would forget them. What waits is bounded by `max_held`.

mod breaker;
mod courier;
mod dead_letters;
mod figures;
mod lanes;
mod letter;
mod meter;
mod office;
mod pump;
mod replies;
mod retry;
mod roster;
mod settling;
mod status;
mod target;
mod traces;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sidespan_bridge::{Bridge, Fault, Guarantee, Lag, Start, Subscribe};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use meter::Meter;
use office::{Destination, Office};
use pump::Orders;
use status::Board;

pub use dead_letters::DeadLetterPlace;
pub use letter::Letter;
pub use roster::{Roster, Wish};
pub use settling::Settling;
pub use status::{Rest, State, Status, Trouble};
pub use target::{Amount, Consumer, Draining, Lease, Shelf, Unreplied};

use crate::config::Subscription;
use crate::telemetry::traces::Tracer;

/// Starts to deliver a subscription to its target.
pub fn start(
    subscription: impl Into<Arc<Subscription>>,
    bridge: Arc<dyn Bridge>,
    dead_letters: Option<DeadLetterPlace>,
) -> Running {
    begin(subscription.into(), bridge, dead_letters, None, None)
}

/// Starts to deliver, counts what is done, and makes spans of attempts where there are traces.
fn begin(
    subscription: Arc<Subscription>,
    bridge: Arc<dyn Bridge>,
    dead_letters: Option<DeadLetterPlace>,
    meter: Option<Meter>,
    tracer: Option<Tracer>,
) -> Running {
    let drain = CancellationToken::new();
    let (close, closed) = watch::channel(None);
    let destination = Destination::of(&subscription, &drain, meter.as_ref());
    let board = Arc::new(Board::new(meter));
    let office = Office {
        dead_letters,
        bridge,
        board: board.clone(),
        orders: Orders { drain: drain.clone(), close: closed },
        subscription: subscription.clone(),
        destination: destination.clone(),
        desk: None,
        tracer,
    };
    let bridge = office.bridge.clone();
    let guard = drain.clone().drop_guard();
    let task = Mutex::new(Some(tokio::spawn(office.run())));
    Running { subscription, bridge, destination, board, drain, close, task, rest: None, _guard: guard }
}

/// Holds the place of a subscription that is out of its group: what comes stays with the broker.
fn hold(
    subscription: Arc<Subscription>,
    bridge: Arc<dyn Bridge>,
    rest: Rest,
    meter: Option<Meter>,
) -> Running {
    let board = Arc::new(Board::new(meter));
    board.set(rest.state());
    let drain = CancellationToken::new();
    drain.cancel();
    Running {
        destination: Destination::of(&subscription, &drain, None),
        subscription,
        bridge,
        board,
        close: watch::channel(None).0,
        task: Mutex::default(),
        rest: Some(rest),
        _guard: drain.clone().drop_guard(),
        drain,
    }
}

/// A subscription that is being delivered. Dropped without [`Running::close`], it ends as it would
/// with a deadline that has passed.
pub struct Running {
    subscription: Arc<Subscription>,
    bridge: Arc<dyn Bridge>,
    destination: Destination,
    board: Arc<Board>,
    drain: CancellationToken,
    close: watch::Sender<Option<Instant>>,
    /// Gone once somebody waits for its end.
    task: Mutex<Option<JoinHandle<()>>>,
    /// Why there never was one.
    rest: Option<Rest>,
    /// Stops a task that is left without an owner.
    _guard: DropGuard,
}

/// What a subscription left with the broker when it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Messages that were held, and come again: after a restart, or to another member.
    pub held: usize,
    /// Attempts among them that were cut off: the receiver may see those messages twice.
    pub in_flight: usize,
}

impl Running {
    /// Returns the subscription as it was configured.
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// Returns where its messages are fetched, if they are.
    pub fn shelf(&self) -> Option<&Arc<Shelf>> {
        self.destination.shelf()
    }

    /// Accepts a message that a process had which is gone, by the receipt of its letter.
    ///
    /// # Errors
    ///
    /// Those of the bridge.
    pub async fn accept(&self, receipt: &str, deadline: Instant) -> Result<(), sidespan_bridge::Error> {
        self.bridge.accept(receipt, deadline).await
    }

    /// Returns the meter that goes on counting once this has become another subscription, if it counts.
    fn follow(&self, to: &Subscription) -> Option<Meter> {
        self.board.meter.as_ref().map(|meter| meter.follow(&self.subscription, to))
    }

    /// Tells why it is out of its group, if it is.
    pub fn rest(&self) -> Option<Rest> {
        self.rest
    }

    /// Counts what its group has not settled yet, also while it is paused; `None` where the group has not begun.
    ///
    /// # Errors
    ///
    /// Those of the bridge; `Unavailable` while it has no connection to its broker.
    pub async fn lag(&self, deadline: Instant) -> Result<Option<Lag>, sidespan_bridge::Error> {
        let failed = |detail: &'static str| sidespan_bridge::Error::new(Fault::Unavailable).detail(detail);
        let counting = async {
            if self.rest == Some(Rest::Paused) {
                return self.bridge.lag(&self.subscription.wish(), deadline).await;
            }
            let control = self.board.control();
            let control =
                control.ok_or_else(|| failed("the subscription is not connected to its broker now"))?;
            control.lag().await.map(Some)
        };
        let counted = timeout_at(deadline, counting).await;
        counted.unwrap_or_else(|_| Err(failed("the broker did not answer in time")))
    }

    /// Tells whether its broker stores messages, and takes note of what is settled.
    pub fn is_stored(&self) -> bool {
        self.bridge.guarantees().delivery == Guarantee::AtLeastOnce
    }

    /// Tells whether its broker can move a group at all.
    pub fn can_seek(&self) -> bool {
        self.bridge.guarantees().seek
    }

    /// Moves its group, whatever it has settled. Nobody here may be a member meanwhile.
    ///
    /// # Errors
    ///
    /// Those of the bridge.
    pub async fn seek(&self, to: Start, deadline: Instant) -> Result<(), sidespan_bridge::Error> {
        let to = Subscribe { start: to, ..self.subscription.wish() };
        let late = || sidespan_bridge::Error::new(Fault::Timeout).detail("the group was not moved in time");
        timeout_at(deadline + GRACE, self.bridge.seek(&to, deadline)).await.unwrap_or_else(|_| Err(late()))
    }

    /// Returns how it is doing.
    pub fn status(&self) -> Status {
        let status = self.board.status();
        match self.shelf() {
            // What nobody has fetched yet is no attempt.
            Some(shelf) => Status { in_flight: shelf.leases(), ..status },
            None => status,
        }
    }

    /// Takes nothing new and begins no more attempts; those that run may finish. What waits stays
    /// with the broker.
    pub fn stop_intake(&self) {
        self.drain.cancel();
    }

    /// After [`Running::stop_intake`]: waits until nothing is in flight, and tells whether that
    /// was so by the deadline.
    pub async fn finish(&self, deadline: Instant) -> bool {
        if self.rest.is_some() {
            return true;
        }
        let mut state = self.board.watch();
        let is_idle = |state: &State| matches!(state, State::Drained | State::Stopped);
        matches!(timeout_at(deadline, state.wait_for(is_idle)).await, Ok(Ok(_)))
    }

    /// Leaves the group by the deadline: what was settled is handed over, the rest comes again.
    /// A second call leaves nothing more.
    pub async fn close(&self, deadline: Instant) -> Left {
        let Status { held, in_flight, .. } = self.status();
        self.drain.cancel();
        self.close.send_replace(Some(deadline));
        let Some(mut task) = self.task.lock().await.take() else { return Left::default() };
        match timeout_at(deadline + GRACE, &mut task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(subscription = %self.subscription.name, %error, "the delivery task failed")
            }
            Err(_) => {
                task.abort();
                tracing::warn!(subscription = %self.subscription.name, "leaving the group took too long; it was cut off");
            }
        }
        Left { held, in_flight }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("subscription", &self.subscription.name).finish_non_exhaustive()
    }
}

/// What a task may take beyond the deadline that it was given.
const GRACE: Duration = Duration::from_secs(1);
