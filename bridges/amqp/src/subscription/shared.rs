//! What the reader, the tokens and the member's task share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sidespan_bridge::{Epoch, Error, Event, Lane, Message, Order, Role, Shard, Topic, Waiting, Window};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The middle of a subscription.
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) shard: Shard,
    pub(super) window: Window,
    pub(super) order: Order,
    /// Settlements mean something; the tokens of a cursor settle nothing.
    pub(super) durable: bool,
    /// Wakes the reader.
    pub(super) wake: Notify,
    /// Wakes the member: something is to be acknowledged.
    pub(super) settled: Notify,
}

/// A message as it came.
#[derive(Clone)]
pub(super) struct Arrived {
    /// Its number on the channel it came by.
    pub(super) tag: u64,
    pub(super) message: Message,
    pub(super) topic: Topic,
    /// How often it was given before, where the queue counts.
    pub(super) before: Option<u32>,
}

#[derive(Default)]
pub(super) struct State {
    /// The consumer there is, if there is one.
    pub(super) stretch: Option<Stretch>,
    last_epoch: u64,
    pub(super) events: VecDeque<Event>,
    pub(super) waited_last: bool,
    pub(super) intake_stopped: bool,
    pub(super) end: Option<Result<(), Error>>,
    pub(super) ended: bool,
}

/// What belongs to one consumer on one channel.
pub(super) struct Stretch {
    pub(super) epoch: Epoch,
    pub(super) lost: CancellationToken,
    progress: watch::Sender<Progress>,
    role: Role,
    /// Received, and not looked at yet.
    pub(super) fresh: VecDeque<Arrived>,
    /// Released messages, and what must not overtake them.
    pub(super) waiting: Waiting<Arrived>,
    /// When each message came that is not settled.
    unsettled: BTreeMap<u64, Instant>,
    /// How much they weigh.
    unsettled_bytes: usize,
    /// Handed out or waiting: counts for the window.
    pub(super) held: usize,
    pub(super) held_bytes: usize,
    /// Settled, and not acknowledged yet.
    acks: Vec<u64>,
    /// Numbers what is acknowledged in one go.
    batch: u64,
    /// Something has come by this consumer.
    received: bool,
}

/// How far the broker is known to have the acknowledgements of a consumer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// The last batch that it has.
    pub(super) confirmed: u64,
    /// The consumer is gone.
    pub(super) over: bool,
}

/// What is to be acknowledged.
pub(super) struct Acks {
    pub(super) tags: Vec<u64>,
    pub(super) batch: u64,
}

impl Shared {
    pub(super) fn new(shard: Shard, window: Window, order: Order, durable: bool) -> Self {
        Self {
            state: Mutex::default(),
            shard,
            window,
            order,
            durable,
            wake: Notify::new(),
            settled: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a consumer was made.
    pub(super) fn begin(&self, role: Role) {
        let mut state = self.lock();
        state.last_epoch += 1;
        let epoch = Epoch(state.last_epoch);
        state.stretch = Some(Stretch::new(epoch, role));
    }

    /// Notes that the consumer is gone, and all that it brought.
    pub(super) fn lose(&self) {
        let mut state = self.lock();
        if let Some(stretch) = state.stretch.take() {
            let (shard, epoch) = (self.shard.clone(), stretch.epoch);
            stretch.end();
            state.events.push_back(Event::Lost { shard, epoch, finish_by: Instant::now() });
            self.wake.notify_one();
        }
    }

    /// Lets go of all that is out; nobody is told, as nobody reads any more.
    pub(super) fn abandon(&self) {
        if let Some(stretch) = self.lock().stretch.take() {
            stretch.end();
        }
    }

    /// Takes a message that came.
    pub(super) fn receive(&self, arrived: Arrived) {
        let mut state = self.lock();
        if let Some(stretch) = &mut state.stretch {
            stretch.role = Role::Active;
            stretch.received = true;
            stretch.unsettled.insert(arrived.tag, Instant::now());
            stretch.unsettled_bytes += arrived.message.weight();
            stretch.fresh.push_back(arrived);
            self.wake.notify_one();
        }
    }

    /// Returns what is to be acknowledged, if there is something.
    pub(super) fn acks(&self) -> Option<Acks> {
        let mut state = self.lock();
        let stretch = state.stretch.as_mut()?;
        let tags = std::mem::take(&mut stretch.acks);
        if tags.is_empty() {
            return None;
        }
        let batch = stretch.batch;
        stretch.batch += 1;
        Some(Acks { tags, batch })
    }

    /// Notes that the broker has all acknowledgements up to a batch.
    pub(super) fn confirm(&self, batch: u64) {
        if let Some(stretch) = &self.lock().stretch {
            stretch.progress.send_modify(|progress| progress.confirmed = batch);
        }
    }

    /// Accepts a message; tells where its acknowledgement will be confirmed. `None`: it is no longer ours.
    pub(super) fn accept(
        &self,
        epoch: Epoch,
        tag: u64,
        weight: usize,
    ) -> Option<(u64, watch::Receiver<Progress>)> {
        let mut state = self.lock();
        let stretch = state.stretch.as_mut().filter(|stretch| stretch.epoch == epoch)?;
        stretch.unsettled.remove(&tag);
        stretch.let_go(weight);
        stretch.acks.push(tag);
        let claim = (stretch.batch, stretch.progress.subscribe());
        drop(state);
        self.settled.notify_one();
        self.wake.notify_one();
        Some(claim)
    }

    /// Keeps a released message until it is due; `false`: it is no longer ours.
    pub(super) fn release(&self, epoch: Epoch, due: Instant, arrived: Arrived) -> bool {
        let mut state = self.lock();
        let Some(stretch) = state.stretch.as_mut().filter(|stretch| stretch.epoch == epoch) else {
            return false;
        };
        let lane = Lane::of(self.order, epoch, arrived.tag, &arrived.message);
        stretch.waiting.insert(lane, arrived.tag, due, arrived);
        drop(state);
        self.wake.notify_one();
        true
    }

    /// Tells when the oldest message came that is not settled.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.lock().stretch.as_ref()?.unsettled.first_key_value().map(|(_, came)| *came)
    }

    /// Returns how many messages would have been enough, where what came and is not settled is far
    /// beyond the window's bytes: the broker counts messages only.
    pub(super) fn swamped(&self) -> Option<u16> {
        let state = self.lock();
        let stretch = state.stretch.as_ref()?;
        let excess = stretch.unsettled_bytes / self.window.bytes.max(1);
        if excess < SWAMPED {
            return None;
        }
        let enough = stretch.unsettled.len() / excess;
        Some(u16::try_from(enough).unwrap_or(u16::MAX).max(1))
    }

    /// Counts what came and is not settled.
    pub(super) fn unsettled(&self) -> u64 {
        self.lock().stretch.as_ref().map_or(0, |stretch| stretch.unsettled.len() as u64)
    }

    pub(super) fn role(&self) -> Role {
        self.lock().stretch.as_ref().map_or(Role::Unknown, |stretch| stretch.role)
    }

    /// Notes what a look at the queue has told; a delivery has told more.
    pub(super) fn presume(&self, role: Role) {
        if let Some(stretch) = &mut self.lock().stretch
            && !stretch.received
        {
            stretch.role = role;
        }
    }

    /// Tells whether only a look at the queue can tell the role.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.lock().stretch.as_ref().is_some_and(|stretch| !stretch.received)
    }

    /// Ends the subscription; the first word holds.
    pub(super) fn end(&self, end: Result<(), Error>) {
        self.lock().end.get_or_insert(end);
        self.wake.notify_one();
    }

    pub(super) fn stop_intake(&self) {
        self.lock().intake_stopped = true;
    }
}

impl Stretch {
    fn new(epoch: Epoch, role: Role) -> Self {
        Self {
            epoch,
            lost: CancellationToken::new(),
            progress: watch::Sender::default(),
            role,
            fresh: VecDeque::new(),
            waiting: Waiting::default(),
            unsettled: BTreeMap::new(),
            unsettled_bytes: 0,
            held: 0,
            held_bytes: 0,
            acks: Vec::new(),
            batch: 1,
            received: false,
        }
    }

    /// Takes a released message that is due.
    pub(super) fn take_due(&mut self) -> Option<Arrived> {
        self.waiting.take(Instant::now()).map(|(_, _, arrived)| arrived)
    }

    fn let_go(&mut self, weight: usize) {
        self.unsettled_bytes = self.unsettled_bytes.saturating_sub(weight);
        self.held = self.held.saturating_sub(1);
        self.held_bytes = self.held_bytes.saturating_sub(weight);
    }

    fn end(self) {
        self.lost.cancel();
        self.progress.send_modify(|progress| progress.over = true);
    }
}

/// How many times the bytes of a window the broker may have handed over before that is taken back.
const SWAMPED: usize = 4;
