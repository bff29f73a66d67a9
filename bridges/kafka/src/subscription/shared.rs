//! What the reader, the tokens and the tasks of a subscription share.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidespan_bridge::{Epoch, Error, Event, Lane, Message, Order, Waiting, Window};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::member::Change;
use super::memory::Memory;
use super::shard::Owned;
use crate::catalogue::Partition;

/// The middle of a subscription.
pub(super) struct Shared {
    pub(super) ready: Arc<Ready>,
    state: Mutex<State>,
    pub(super) window: Window,
    pub(super) order: Order,
    /// Settlements go to the broker; a cursor of its own keeps nothing there.
    pub(super) durable: bool,
    /// Wakes the committer before its time.
    pub(super) urgent: Notify,
    /// Somebody settled or released the last message that was out of a partition that leaves.
    pub(super) quiet: Notify,
    /// The member is gone without a word: nothing more goes to the broker.
    mute: Arc<AtomicBool>,
    pub(super) changes: mpsc::UnboundedSender<Change>,
}

/// Which partitions have something to read. The client's threads write here, under locks of their
/// own, so this lock is never held while the client is called.
#[derive(Default)]
pub(super) struct Ready {
    queue: Mutex<ReadyQueue>,
    pub(super) wake: Notify,
}

#[derive(Default)]
struct ReadyQueue {
    order: VecDeque<Epoch>,
    present: HashSet<Epoch>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) shards: BTreeMap<Epoch, Owned>,
    last_epoch: u64,
    /// What was settled in partitions that were lost since.
    memories: BTreeMap<Partition, Memory>,
    /// Released messages, and what must not overtake them.
    pub(super) waiting: Waiting<Message>,
    /// Read, and too large for what the window has left.
    pub(super) set_aside: Option<(Epoch, u64, Message)>,
    /// The last turn looked at what waits first.
    pub(super) waited_last: bool,
    pub(super) events: VecDeque<Event>,
    pub(super) held: usize,
    pub(super) held_bytes: usize,
    pub(super) intake_stopped: bool,
    pub(super) end: Option<Result<(), Error>>,
    pub(super) ended: bool,
}

impl Shared {
    pub(super) fn new(
        (window, order): (Window, Order),
        durable: bool,
        mute: Arc<AtomicBool>,
        changes: mpsc::UnboundedSender<Change>,
    ) -> Self {
        Self {
            ready: Arc::default(),
            state: Mutex::default(),
            window,
            order,
            durable,
            urgent: Notify::new(),
            quiet: Notify::new(),
            mute,
            changes,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a released message until it is due.
    pub(super) fn release(
        &self,
        state: &mut State,
        due: Instant,
        epoch: Epoch,
        offset: u64,
        message: Message,
    ) {
        let lane = Lane::of(self.order, epoch, offset, &message);
        state.waiting.insert(lane, offset, due, message);
    }

    pub(super) fn is_mute(&self) -> bool {
        self.mute.load(Ordering::Acquire)
    }

    /// Ends the subscription; the first word holds.
    pub(super) fn end(&self, end: Result<(), Error>) {
        self.lock().end.get_or_insert(end);
        self.ready.wake.notify_one();
    }

    /// Returns why the subscription has ended, if it has and nobody was told.
    pub(super) fn take_end(&self) -> Option<Error> {
        self.lock().end.take().and_then(Result::err)
    }

    pub(super) fn stop_intake(&self) {
        self.lock().intake_stopped = true;
    }
}

impl State {
    /// Numbers the next stretch of owning a partition.
    pub(super) fn next_epoch(&mut self) -> Epoch {
        self.last_epoch += 1;
        Epoch(self.last_epoch)
    }

    /// Tells whether any partition is ours and stays so.
    pub(super) fn owns_some(&self) -> bool {
        self.shards.values().any(|owned| !owned.is_leaving())
    }

    /// Finds the current stretch of a partition.
    pub(super) fn epoch_of(&self, partition: &Partition) -> Option<Epoch> {
        self.shards.values().rev().find(|owned| &owned.partition == partition).map(|owned| owned.epoch)
    }

    /// Hands out nothing more of a partition, and says so.
    pub(super) fn leave(&mut self, epoch: Epoch, finish_by: Instant) {
        if let Some(owned) = self.shards.get_mut(&epoch) {
            owned.stop();
            self.events.push_back(Event::Lost { shard: owned.shard.clone(), epoch, finish_by });
            self.waiting.forget(epoch);
            self.set_aside.take_if(|aside| aside.0 == epoch);
        }
    }

    /// Ends a stretch of owning: what is not settled by now belongs to the next owner.
    pub(super) fn remove(&mut self, epoch: Epoch) {
        if let Some(owned) = self.shards.remove(&epoch) {
            owned.end();
            self.held -= owned.held.min(self.held);
            self.held_bytes -= owned.held_bytes.min(self.held_bytes);
            self.waiting.forget(epoch);
            self.set_aside.take_if(|aside| aside.0 == epoch);
            let (partition, memory) = owned.into_memory();
            if !memory.is_empty() {
                self.memories.insert(partition, memory);
            }
        }
    }

    /// Returns what is remembered of a partition that is ours again, and goes on at `begin`.
    pub(super) fn recall(&mut self, partition: &Partition, begin: u64) -> Memory {
        self.memories.remove(partition).map(|memory| memory.held_at(begin)).unwrap_or_default()
    }

    /// Ends all stretches of owning.
    pub(super) fn remove_all(&mut self) {
        while let Some(epoch) = self.shards.keys().next().copied() {
            self.remove(epoch);
        }
    }

    /// A message is settled, and makes room.
    pub(super) fn let_go(&mut self, epoch: Epoch, weight: usize) {
        if let Some(owned) = self.shards.get_mut(&epoch) {
            owned.held = owned.held.saturating_sub(1);
            owned.held_bytes = owned.held_bytes.saturating_sub(weight);
            self.held = self.held.saturating_sub(1);
            self.held_bytes = self.held_bytes.saturating_sub(weight);
        }
    }
}

impl Ready {
    /// Notes that a partition has something to read.
    pub(super) fn push(&self, epoch: Epoch) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.present.insert(epoch) {
            queue.order.push_back(epoch);
            drop(queue);
            self.wake.notify_one();
        }
    }

    pub(super) fn pop(&self) -> Option<Epoch> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = queue.order.pop_front()?;
        queue.present.remove(&epoch);
        Some(epoch)
    }
}
