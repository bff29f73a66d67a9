//! Reads one subscription and keeps its couriers busy.
//!
//! The pump is the only caller of `next()`. What it reads goes to its lane; what a lane lets go is
//! given to a courier as soon as there is a slot. How much is held is the bridge's to bound
//! (`Subscribe::window`), how much is attempted at a time the slots'.
//!
//! All couriers run within the pump's task. Theirs is a few microseconds of work for each attempt,
//! the connections have tasks of their own, and so one message costs no spawned task.

use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use sidespan_bridge::{Control, Delivery, Epoch, Error, Event, Order, Shard, Subscription};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, PollSemaphore};

use super::courier::{self, Desk};
use super::lanes::{Lane, Lanes};
use super::letter::Parcel;
use super::meter::Held;
use super::status::State;

#[cfg(test)]
mod tests;

/// What a pump is told from outside.
#[derive(Clone)]
pub(super) struct Orders {
    /// Take nothing new, finish what runs.
    pub(super) drain: CancellationToken,
    /// End by then.
    pub(super) close: watch::Receiver<Option<Instant>>,
}

impl Orders {
    /// Waits for the order to end.
    pub(super) async fn closed(&mut self) -> Instant {
        match self.close.wait_for(Option::is_some).await {
            Ok(deadline) => deadline.unwrap_or_else(Instant::now),
            // Nobody is left who could tell us to go on.
            Err(_) => Instant::now(),
        }
    }
}

/// Why a subscription is no longer read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The broker's side ended.
    #[error(transparent)]
    Bridge(#[from] Error),
    /// We failed ourselves, and order can only be kept by beginning again.
    #[error("a delivery failed in an unforeseen way; starting again to keep the order")]
    Courier,
    /// The broker's side ended without a word.
    #[error("the broker ended the subscription")]
    Ended,
}

/// Delivers one subscription until it breaks (an error) or is closed.
pub(super) async fn run(
    desk: &Arc<Desk>,
    mut subscription: Box<dyn Subscription>,
    mut orders: Orders,
) -> Result<(), Broken> {
    let control = subscription.control();
    let mut pump = Pump::new(desk.clone(), control);
    let ended = pump.work(subscription.as_mut(), &mut orders).await;
    match ended {
        Ok(deadline) => {
            pump.close(subscription.as_mut(), deadline).await;
            Ok(())
        }
        Err(broken) => {
            if !pump.draining {
                // What runs may take a while to end.
                desk.board.report(&desk.subscription.name, &broken);
            }
            pump.wind_down(&mut orders).await;
            match broken {
                Broken::Bridge(_) => {}
                Broken::Courier | Broken::Ended => {
                    pump.close(subscription.as_mut(), Instant::now() + LEAVE).await;
                }
            }
            Err(broken)
        }
    }
}

struct Pump {
    desk: Arc<Desk>,
    control: Arc<dyn Control>,
    lanes: Lanes<Parcel>,
    couriers: FuturesUnordered<BoxFuture<'static, Finished>>,
    slots: PollSemaphore,
    tenures: HashMap<Shard, Tenure>,
    /// What was stopped on its way and must not go back before the subscription ends.
    parked: Vec<Parcel>,
    /// Cancelled when this pump starts no more attempts.
    stop: CancellationToken,
    draining: bool,
}

/// A courier that is done: its lane, and the parcel if it was stopped, or `None` if it panicked.
type Finished = (Option<Lane>, Option<Option<Parcel>>);

/// A stretch in which we own a shard.
struct Tenure {
    epoch: Epoch,
    stop: CancellationToken,
}

impl Pump {
    fn new(desk: Arc<Desk>, control: Arc<dyn Control>) -> Self {
        Self {
            control,
            lanes: Lanes::new(),
            couriers: FuturesUnordered::new(),
            slots: PollSemaphore::new(desk.slots.clone()),
            tenures: HashMap::new(),
            parked: Vec::new(),
            stop: CancellationToken::new(),
            draining: false,
            desk,
        }
    }

    /// Works until it is told to close, and returns by when.
    async fn work(
        &mut self,
        subscription: &mut dyn Subscription,
        orders: &mut Orders,
    ) -> Result<Instant, Broken> {
        let drain = orders.drain.clone();
        loop {
            self.note();
            tokio::select! {
                Some(finished) = self.couriers.next() => self.finish(finished)?,
                Some(slot) = poll_fn(|cx| self.slots.poll_acquire(cx)), if self.lanes.is_ready() => {
                    self.start(slot);
                }
                event = subscription.next() => match event {
                    Some(Ok(Event::Delivery(delivery))) => self.receive(delivery),
                    Some(Ok(Event::Lost { shard, epoch, .. })) => self.lose(&shard, epoch),
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(Broken::Ended),
                },
                () = drain.cancelled(), if !self.stop.is_cancelled() => self.stop(),
                deadline = orders.closed() => return Ok(deadline),
            }
        }
    }

    fn receive(&mut self, delivery: Delivery) {
        if let Some(meter) = &self.desk.board.meter {
            meter.consumed.count();
        }
        let (order, stop) = (self.order(), &self.stop);
        let tenure = self
            .tenures
            .entry(delivery.shard.clone())
            .or_insert_with(|| Tenure { epoch: delivery.epoch, stop: stop.child_token() });
        if tenure.epoch < delivery.epoch {
            tenure.stop.cancel();
            *tenure = Tenure { epoch: delivery.epoch, stop: stop.child_token() };
        }
        if tenure.epoch > delivery.epoch || (tenure.stop.is_cancelled() && !stop.is_cancelled()) {
            // Of a stretch that has ended.
            return;
        }
        let subscription = &self.desk.subscription;
        // Only those who fetch come back with a verdict after this process is gone.
        let is_fetched = subscription.target.push().is_none();
        let receipt = is_fetched.then(|| delivery.ack.receipt()).flatten();
        let held = Held::new(self.desk.board.meter.as_ref(), &delivery.message);
        let parcel = Parcel::new(subscription.bridge.as_str(), delivery, tenure.stop.clone(), receipt, held);
        let lane = Lane::of(order, &parcel.letter.shard, parcel.letter.message.key.as_ref());
        if stop.is_cancelled() {
            self.park(parcel);
        } else {
            self.lanes.push(lane, parcel);
        }
    }

    /// A shard is no longer ours: nothing of it is attempted any more. What runs may finish until
    /// the bridge says otherwise, and keeps its lane busy.
    fn lose(&mut self, shard: &Shard, epoch: Epoch) {
        if let Some(meter) = &self.desk.board.meter {
            meter.tally.lost.count();
        }
        let is_lost = |parcel: &Parcel| parcel.letter.shard == *shard && parcel.letter.epoch <= epoch;
        self.lanes.remove(is_lost);
        // A slot that we were waiting for is for others, if there is nothing left to start.
        self.slots = PollSemaphore::new(self.desk.slots.clone());
        self.parked.retain(|parcel| !is_lost(parcel));
        let tenure = self
            .tenures
            .entry(shard.clone())
            .or_insert_with(|| Tenure { epoch, stop: CancellationToken::new() });
        if tenure.epoch <= epoch {
            tenure.epoch = epoch;
            tenure.stop.cancel();
        }
    }

    fn start(&mut self, slot: OwnedSemaphorePermit) {
        let Some((lane, parcel)) = self.lanes.start() else { return };
        let courier = courier::deliver(self.desk.clone(), parcel, slot);
        let ended = AssertUnwindSafe(courier).catch_unwind();
        self.couriers.push(ended.map(move |ended| (lane, ended.ok())).boxed());
    }

    fn finish(&mut self, (lane, ended): Finished) -> Result<(), Broken> {
        lane.into_iter().for_each(|lane| self.lanes.finish(lane));
        match ended {
            Some(None) => Ok(()),
            Some(Some(parcel)) => {
                self.park(parcel);
                Ok(())
            }
            // Its token is dropped, so the message comes again, but perhaps behind others.
            None => {
                tracing::error!(subscription = %self.desk.subscription.name, "a delivery panicked; its message comes again");
                match self.order() {
                    Order::None => Ok(()),
                    Order::Key | Order::Topic => Err(Broken::Courier),
                }
            }
        }
    }

    /// Keeps what was stopped. Without an order it goes back at once, for another member to take;
    /// in order it must not go back before what is in front of it is settled, so it waits here.
    fn park(&mut self, parcel: Parcel) {
        let is_lost = self
            .tenures
            .get(&parcel.letter.shard)
            .is_none_or(|tenure| tenure.epoch > parcel.letter.epoch || !self.stop.is_cancelled());
        match self.order() {
            Order::Key | Order::Topic if !is_lost => self.parked.push(parcel),
            Order::Key | Order::None | Order::Topic => drop(parcel),
        }
    }

    /// Takes nothing new and starts nothing more.
    fn stop(&mut self) {
        self.control.stop_intake();
        self.stop.cancel();
        self.draining = true;
        for parcel in self.lanes.clear() {
            self.park(parcel);
        }
    }

    /// After the subscription broke: waits for the attempts that run, so that none overlaps with
    /// one of the next subscription. They end within the target's timeout. The rest comes again.
    async fn wind_down(&mut self, orders: &mut Orders) {
        self.stop.cancel();
        self.desk.target.end();
        self.parked.extend(self.lanes.clear());
        loop {
            tokio::select! {
                finished = self.couriers.next() => match finished {
                    Some((_, ended)) => self.parked.extend(ended.flatten()),
                    None => break,
                },
                _ = orders.closed() => break,
            }
        }
        self.couriers.clear();
        self.note();
    }

    /// Leaves the group: what was settled is handed over first, and only then do unsettled tokens
    /// go, so that nothing overtakes them.
    async fn close(&mut self, subscription: &mut dyn Subscription, deadline: Instant) {
        let control = self.control.clone();
        let left = async {
            while let Some(Ok(_)) = subscription.next().await {}
            std::future::pending::<()>().await;
        };
        let closed = tokio::select! {
            closed = control.close(deadline) => closed,
            () = left => Ok(()),
        };
        if let Err(error) = closed {
            tracing::warn!(subscription = %self.desk.subscription.name, %error, "not all settlements were handed over; some messages may come again");
        }
    }

    /// Writes down how it is going.
    fn note(&self) {
        let board = &self.desk.board;
        board.held.set(self.lanes.len() + self.couriers.len() + self.parked.len());
        if let Some(meter) = &board.meter {
            meter.tally.lanes.set(self.lanes.count());
        }
        if self.draining {
            board.set_if_new(if self.couriers.is_empty() { State::Drained } else { State::Draining });
        }
    }

    fn order(&self) -> Order {
        self.desk.subscription.order
    }
}

/// Leaving a subscription that did not break at the broker's side.
const LEAVE: Duration = Duration::from_secs(5);
