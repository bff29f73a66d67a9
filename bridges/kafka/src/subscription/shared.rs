//! What the reader, the tokens and the tasks of a subscription share.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidespan_bridge::{AckToken, Delivery, Epoch, Error, Event, Lane, Message, Order, Waiting, Window};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::member::Change;
use super::memory::Memory;
use super::shard::{Owned, Read};
use super::token::Token;
use crate::catalogue::Partition;

/// The middle of a subscription.
pub(super) struct Shared {
    pub(super) ready: Arc<Ready>,
    state: Mutex<State>,
    window: Window,
    order: Order,
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
    /// What was settled in partitions that were lost since, and in which epoch.
    memories: BTreeMap<Partition, (Epoch, Memory)>,
    /// Released messages, and what must not overtake them.
    waiting: Waiting<Message>,
    /// Read, and too large for what the window has left.
    set_aside: Option<(Epoch, u64, Message)>,
    /// The last turn looked at what waits first.
    waited_last: bool,
    events: VecDeque<Event>,
    held: usize,
    held_bytes: usize,
    intake_stopped: bool,
    end: Option<Result<(), Error>>,
    ended: bool,
}

/// What the reader does now.
#[expect(clippy::large_enum_variant, reason = "nearly all turns are deliveries, and none is kept")]
pub(super) enum Turn {
    /// This comes next.
    Event(Event),
    /// Nothing until somebody calls, or until then.
    Wait(Option<Instant>),
    /// That was all.
    End(Option<Error>),
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

    /// Says what the reader does now.
    pub(super) fn turn(self: &Arc<Self>) -> Turn {
        let mut state = self.lock();
        if let Some(event) = state.events.pop_front() {
            return Turn::Event(event);
        }
        if state.ended {
            return Turn::End(None);
        }
        if let Some(end) = state.end.take() {
            state.ended = true;
            return Turn::End(end.err());
        }
        if state.intake_stopped {
            return Turn::Wait(None);
        }
        // In turn, so that a message that is released over and over doesn't keep out the others.
        state.waited_last = !state.waited_last;
        let delivery = if state.waited_last {
            self.take_waiting(&mut state).or_else(|| self.read(&mut state))
        } else {
            self.read(&mut state).or_else(|| self.take_waiting(&mut state))
        };
        match delivery {
            Some(delivery) => Turn::Event(Event::Delivery(delivery)),
            None => Turn::Wait(state.waiting.due()),
        }
    }

    /// Takes the next message whose wait is over.
    fn take_waiting(self: &Arc<Self>, state: &mut State) -> Option<Delivery> {
        let now = Instant::now();
        while let Some((epoch, offset, message)) = state.waiting.take(now) {
            if self.order == Order::Topic {
                // Its partition was not read while this one waited.
                self.ready.push(epoch);
            }
            let delivery = self.deliver(state, epoch, offset, message);
            if delivery.is_some() {
                return delivery;
            }
        }
        None
    }

    /// Reads the next message that the window has room for.
    fn read(self: &Arc<Self>, state: &mut State) -> Option<Delivery> {
        loop {
            if state.held >= self.window.messages + usize::from(state.set_aside.is_some()) {
                return None;
            }
            let (epoch, offset, message) = match state.set_aside.take() {
                Some(aside) => aside,
                None => self.read_any(state)?,
            };
            // What is set aside is held too, and counted.
            if state.held_bytes > self.window.bytes && state.held > 1 {
                state.set_aside = Some((epoch, offset, message));
                return None;
            }
            let lane = Lane::of(self.order, epoch, offset, &message);
            if state.waiting.blocks(&lane) {
                state.waiting.insert(lane, offset, Instant::now(), message);
                continue;
            }
            if let Some(delivery) = self.deliver(state, epoch, offset, message) {
                return Some(delivery);
            }
        }
    }

    /// Reads the partitions that have something in turn.
    fn read_any(&self, state: &mut State) -> Option<(Epoch, u64, Message)> {
        while let Some(epoch) = self.ready.pop() {
            if self.order == Order::Topic && state.waiting.blocks(&Lane::all(epoch)) {
                continue;
            }
            let Some(owned) = state.shards.get_mut(&epoch) else { continue };
            match owned.read() {
                Read::Message(offset, message) => {
                    self.ready.push(epoch);
                    state.held += 1;
                    state.held_bytes += message.weight();
                    return Some((epoch, offset, message));
                }
                Read::Nothing => self.ready.push(epoch),
                Read::Empty => {}
                Read::OutOfRange => {
                    // The receiver is gone only when the subscription ends.
                    let _ = self.changes.send(Change::OutOfRange(epoch));
                }
            }
        }
        None
    }

    fn deliver(
        self: &Arc<Self>,
        state: &mut State,
        epoch: Epoch,
        offset: u64,
        message: Message,
    ) -> Option<Delivery> {
        let owned = state.shards.get_mut(&epoch).filter(|owned| !owned.is_leaving())?;
        owned.out += 1;
        let token = Token::new(Arc::clone(self), owned, offset, message.clone());
        Some(Delivery {
            message,
            topic: owned.partition.topic.clone(),
            shard: owned.shard.clone(),
            epoch,
            position: owned.position(offset),
            redelivered: None,
            lost: owned.lost.clone(),
            ack: AckToken::new(token),
        })
    }
}

impl State {
    /// Numbers the next stretch of owning a partition.
    pub(super) fn next_epoch(&mut self) -> Epoch {
        self.last_epoch += 1;
        Epoch(self.last_epoch)
    }

    /// Finds the current stretch of a partition.
    /// Tells whether any partition is ours and stays so.
    pub(super) fn owns_some(&self) -> bool {
        self.shards.values().any(|owned| !owned.is_leaving())
    }

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
            let (partition, memory) = owned.remember();
            if !memory.is_empty() {
                self.memories.insert(partition, (epoch, memory));
            }
        }
    }

    /// Returns what is remembered of a partition that is ours again.
    pub(super) fn recall(&mut self, partition: &Partition) -> Memory {
        self.memories.remove(partition).map(|(_, memory)| memory).unwrap_or_default()
    }

    /// Has a message come again if its settlement does not reach the broker.
    pub(super) fn forget(&mut self, epoch: Epoch, offset: u64) {
        match self.shards.get_mut(&epoch) {
            Some(owned) => owned.forget(offset),
            None => {
                let memories = self.memories.values_mut().filter(|(of, _)| *of == epoch);
                memories.for_each(|(_, memory)| memory.forget(offset));
            }
        }
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

    fn pop(&self) -> Option<Epoch> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = queue.order.pop_front()?;
        queue.present.remove(&epoch);
        Some(epoch)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rdkafka::consumer::BaseConsumer;
    use serde_json::json;
    use sidespan_bridge::{Settings, Settle, Topic, Verdict};

    use super::super::member::Member;
    use super::*;
    use crate::clients::Clients;
    use crate::offsets::SkipSet;
    use crate::settings::KafkaSettings;

    const EPOCH: Epoch = Epoch(1);

    /// Returns a token of a partition that is read no further for want of room.
    fn parked(durable: bool) -> (Arc<Shared>, Box<Token>) {
        let (changes, _) = mpsc::unbounded_channel();
        let settings = Settings::new("s", json!({"brokers": ["127.0.0.1:1"]}));
        let clients = Clients::new(KafkaSettings::read(&settings).unwrap(), "s".into());
        let (config, line) = clients.consumer("g").unwrap();
        let member = Member::new(changes.clone(), line);
        let consumer: Arc<BaseConsumer<Member>> = Arc::new(config.create_with_context(member).unwrap());
        let queue = consumer.split_partition_queue("orders", 0).unwrap();
        let shared =
            Arc::new(Shared::new((Window::default(), Order::None), durable, Arc::default(), changes));
        let partition = Partition { topic: Topic::new("orders"), number: 0 };
        let mut owned = Owned::new(partition, EPOCH, queue, 0, (SkipSet::default(), Memory::default()));
        owned.parked = true;
        let token = Box::new(Token::new(Arc::clone(&shared), &owned, 0, Message::default()));
        shared.lock().shards.insert(EPOCH, owned);
        (shared, token)
    }

    #[test]
    fn a_partition_that_was_out_of_room_is_read_again_whatever_made_room() {
        let release = Verdict::Release { after: Duration::ZERO };
        for (durable, verdict) in [(true, Verdict::Accept), (false, Verdict::Accept), (false, release)] {
            let (shared, token) = parked(durable);
            drop(token.settle(verdict));
            assert_eq!(shared.ready.pop(), Some(EPOCH), "durable: {durable}, {verdict:?}");
        }
    }

    #[test]
    fn a_delay_without_end_is_a_long_one() {
        let (shared, token) = parked(true);
        drop(token.settle(Verdict::Release { after: Duration::MAX }));
        assert!(shared.lock().waiting.due().is_some_and(|due| due > Instant::now()));
    }
}
