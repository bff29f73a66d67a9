//! What the reader, the tokens and the engine of a subscription share.
//!
//! Everything that is here and unsettled is *held*: on the shelf, or handed out. The reader takes from
//! the shelf as far as the window allows, tokens give back, and the engine puts on.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use sidespan_bridge::{Epoch, Error, Event, Message, Order, Role, Shard, Window};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::acks::Acks;
use super::shelf::{Item, Shelf};

/// How a subscription reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Without a store: nothing is settled, but what is released is handed out again.
    Core,
    /// Without a store, and shared with nobody: nothing is settled.
    CoreCursor,
    /// A cursor of its own: nothing is settled.
    Cursor,
    /// A group with one active member.
    Ordered,
    /// A group whose members share.
    Shared,
}

/// One subscription.
pub(crate) struct Shared {
    pub(crate) kind: Kind,
    pub(crate) window: Window,
    pub(super) shard: Shard,
    state: Mutex<State>,
    /// Wakes the reader.
    pub(crate) reader: Notify,
    /// Wakes the engine.
    pub(crate) engine: Notify,
}

/// What changes.
pub(crate) struct State {
    pub(crate) shelf: Shelf,
    pub(crate) held: HashMap<u64, Held>,
    held_bytes: usize,
    pub(super) out: usize,
    pub(super) out_bytes: usize,
    pub(super) acks: Acks,
    pub(crate) epoch: Epoch,
    pub(super) lost: CancellationToken,
    pub(super) events: VecDeque<Event>,
    /// Nothing is handed out for now: it is not known what is ours, or what goes first.
    pub(super) stalled: bool,
    /// Until when this is the active member for sure; `None` where that is not asked.
    pub(super) lease: Option<Instant>,
    pub(crate) intake: bool,
    /// Nobody reads any more.
    pub(crate) dropped: bool,
    pub(crate) role: Role,
    pub(super) end: Option<Option<Error>>,
}

/// A message that is here and unsettled.
pub(crate) struct Held {
    /// Where the broker is told about it; empty where nobody is told.
    pub(crate) reply: String,
    pub(crate) renewed: Instant,
    /// When the stream took it.
    pub(super) time: Option<SystemTime>,
    pub(super) weight: usize,
    pub(super) out: bool,
}

impl Shared {
    pub(crate) fn new(kind: Kind, order: Order, window: Window, shard: &str) -> Self {
        let state = State {
            shelf: Shelf::new(order),
            held: HashMap::new(),
            held_bytes: 0,
            out: 0,
            out_bytes: 0,
            acks: Acks::default(),
            epoch: Epoch(1),
            lost: CancellationToken::new(),
            events: VecDeque::new(),
            stalled: kind == Kind::Ordered,
            lease: None,
            intake: true,
            dropped: false,
            role: if kind == Kind::Ordered { Role::Unknown } else { Role::Active },
            end: None,
        };
        Self {
            kind,
            window,
            shard: Shard::new(shard),
            state: Mutex::new(state),
            reader: Notify::new(),
            engine: Notify::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets messages be handed out for a while longer. Who was frozen finds that it has ended.
    pub(super) fn lease(&self, until: Option<Instant>) {
        let before = std::mem::replace(&mut self.lock().lease, until);
        if before.is_some_and(|before| Instant::now() >= before) {
            self.reader.notify_one();
        }
    }

    /// Gives up all that is held: it belongs to somebody else, or nobody knows.
    pub(crate) fn lose(&self) {
        let mut state = self.lock();
        if state.held.is_empty() && state.acks.is_empty() {
            return;
        }
        let (shard, epoch) = (self.shard.clone(), state.epoch);
        state.drop_all();
        state.events.push_back(Event::Lost { shard, epoch, finish_by: Instant::now() });
        drop(state);
        self.reader.notify_one();
    }

    /// Ends the subscription; tokens that are out are stale from here on.
    pub(crate) fn end(&self, error: Option<Error>) {
        let mut state = self.lock();
        state.intake = false;
        state.drop_all();
        state.end.get_or_insert(error);
        drop(state);
        self.reader.notify_one();
    }

    /// The reader is gone: its tokens are stale, and the engine gives back what they stood for.
    pub(crate) fn dropped(&self) {
        let mut state = self.lock();
        (state.intake, state.dropped) = (false, true);
        state.disown();
        drop(state);
        self.engine.notify_one();
    }

    /// Stops new deliveries.
    pub(crate) fn stop_intake(&self) {
        self.lock().intake = false;
        self.engine.notify_one();
    }
}

impl State {
    /// Puts a message on the shelf.
    pub(crate) fn put(&mut self, sequence: u64, reply: String, item: Item) {
        let weight = item.message.weight();
        let held = Held { reply, renewed: Instant::now(), time: item.message.time, weight, out: false };
        self.held_bytes += weight;
        self.held.insert(sequence, held);
        self.shelf.put(sequence, item);
    }

    /// Lets go of a message that was handed out; `None` if it is not held.
    pub(super) fn let_go(&mut self, sequence: u64) -> Option<Held> {
        let held = self.held.remove(&sequence)?;
        self.held_bytes = self.held_bytes.saturating_sub(held.weight);
        if held.out {
            self.out = self.out.saturating_sub(1);
            self.out_bytes = self.out_bytes.saturating_sub(held.weight);
        }
        Some(held)
    }

    /// Takes back a message that was handed out, to be handed out again.
    pub(super) fn take_back(&mut self, sequence: u64, due: Instant, item: Item) {
        let Some(held) = self.held.get_mut(&sequence).filter(|held| held.out) else { return };
        held.out = false;
        let weight = held.weight;
        self.out = self.out.saturating_sub(1);
        self.out_bytes = self.out_bytes.saturating_sub(weight);
        self.shelf.put_back(sequence, due, item);
    }

    /// Returns how much more the window has room for, in messages and bytes.
    pub(crate) fn room(&self, window: Window) -> (usize, usize) {
        (window.messages.saturating_sub(self.held.len()), window.bytes.saturating_sub(self.held_bytes))
    }

    /// Tells whether a message would fit beside what is held.
    pub(crate) fn fits(&self, window: Window, message: &Message) -> bool {
        let (messages, bytes) = self.room(window);
        messages > 0 && (self.held.is_empty() || message.weight() <= bytes)
    }

    fn drop_all(&mut self) {
        self.shelf.clear();
        self.held.clear();
        (self.held_bytes, self.out, self.out_bytes) = (0, 0, 0);
        self.acks.forget();
        self.disown();
    }

    /// Tokens that are out settle nothing from here on.
    fn disown(&mut self) {
        self.lost.cancel();
        self.lost = CancellationToken::new();
        self.epoch = Epoch(self.epoch.0 + 1);
    }
}
