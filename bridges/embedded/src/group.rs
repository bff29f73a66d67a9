//! A group: a cursor over the log, and the members that share what it reads.
//!
//! A durable group lives as long as the bridge, with or without members, since retention must know
//! what it has not settled. A cursor without a name is a group of one member that is stored
//! nowhere. Messages are read ahead in small batches; what comes back from a member is read again
//! when it is its turn, so that a group in trouble costs little memory.

mod board;
mod filling;
mod keeping;
mod moving;
mod state;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sidespan_bridge::{
    Delivery, Epoch, Error, Fault, Message, Order, Pattern, Position, Shard, Topic, Window,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::board::{Board, Offer};
pub(crate) use self::moving::Lifted;
pub(crate) use self::state::Seat;
use self::state::{MOST_UNSETTLED, State};
use crate::fault;
use crate::index::Matching;
use crate::log::Log;
use crate::saved::{Open, Saved};

/// A group of members, or a private cursor.
#[derive(Debug)]
pub(crate) struct Group {
    /// `None` is a private cursor.
    name: Option<Box<str>>,
    log: Arc<Log>,
    state: Mutex<State>,
    /// Keys are hashed to lanes; what collides only waits for one another.
    hasher: RandomState,
    stored: watch::Sender<Stored>,
    /// The last member has left, or the group was put down.
    vacated: Notify,
}

/// What a member finds when it asks for the next message.
#[derive(Debug)]
pub(crate) enum Next {
    /// A message, which is now out with the member. Its token is yet to be made.
    Message(Box<Handed>),
    /// The membership is over.
    End,
    /// Nothing for now: wait for the bell, or until then.
    Wait(Option<Instant>),
}

/// A message on its way to a member.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) message: Message,
    pub(crate) topic: Topic,
    pub(crate) shard: Shard,
    pub(crate) sequence: u64,
    /// How often it was given before.
    pub(crate) given: u32,
}

/// How far a group's cursor is stored.
#[derive(Clone, Copy, Debug, Default)]
struct Stored {
    version: u64,
    ended: bool,
}

impl Group {
    /// Brings a durable group to life.
    pub(crate) fn durable(log: &Arc<Log>, saved: Saved) -> Arc<Self> {
        Self::new(log, Some(saved.name), saved.pattern, saved.next, saved.open)
    }

    /// Makes a private cursor that begins at a sequence.
    pub(crate) fn private(log: &Arc<Log>, pattern: Pattern, next: u64) -> Arc<Self> {
        Self::new(log, None, pattern, next, BTreeMap::new())
    }

    fn new(
        log: &Arc<Log>,
        name: Option<Box<str>>,
        pattern: Pattern,
        next: u64,
        backlog: BTreeMap<u64, Open>,
    ) -> Arc<Self> {
        let state = State {
            matching: Matching::new(pattern),
            next,
            backlog,
            board: Board::new(Order::None),
            contents: HashMap::new(),
            weight: 0,
            heard: 0,
            seats: HashMap::new(),
            reading: false,
            wanted: BTreeSet::new(),
            generation: 0,
            rest: None,
            version: 0,
            lifted: false,
            ended: false,
        };
        Arc::new(Self {
            name,
            log: Arc::clone(log),
            state: Mutex::new(state),
            hasher: RandomState::new(),
            stored: watch::Sender::new(Stored::default()),
            vacated: Notify::new(),
        })
    }

    /// Lets a member take part. A group whose members are all gone takes over a new pattern and a
    /// new order; while there are members they must agree.
    ///
    /// Returns the version of the cursor that must be stored first.
    pub(crate) fn join(
        &self,
        member: u64,
        pattern: &Pattern,
        order: Order,
        window: Window,
        seat: Seat,
    ) -> Result<u64, Error> {
        let mut state = self.lock();
        // By now the log knows this group: it is told of what comes, and of the end, from here on.
        if state.ended || self.log.queue.is_closing() {
            return Err(fault::closed());
        }
        if state.lifted {
            return Err(Error::new(Fault::Unavailable).detail("the group is being moved: try again"));
        }
        let (old_pattern, old_order) = (state.matching.pattern().clone(), state.board.order());
        if !state.board.is_deserted() && (old_pattern != *pattern || old_order != order) {
            let detail = format!(
                "the group is in use for {old_pattern} with order {old_order:?}, and cannot be used for \
                 {pattern} with order {order:?} at the same time"
            );
            return Err(Error::new(Fault::Conflict).detail(detail));
        }
        if state.board.is_deserted() {
            state.retire();
            state.board = Board::new(order);
        }
        if old_pattern != *pattern {
            info!(group = self.name(), from = %old_pattern, to = %pattern, "a group reads another pattern from now on");
            state.adopt(pattern.clone(), &self.log);
        }
        state.catch_up(&self.log);
        state.board.join(member, window);
        state.seats.insert(member, seat);
        let version = state.version;
        drop(state);
        self.log.queue.stir();
        Ok(version)
    }

    /// Hands the next message to a member, if there is one for it.
    pub(crate) fn next(self: &Arc<Self>, member: u64) -> Next {
        let now = Instant::now();
        let mut state = self.lock();
        if state.ended {
            return Next::End;
        }
        let offer = state.board.peek(member, now);
        let (wants_more, handed) = match offer {
            Offer::Gone => return Next::End,
            Offer::Full => (false, None),
            Offer::Empty => (true, None),
            Offer::Message(sequence) => {
                let handed = self.hand(&mut state, member, sequence);
                (handed.is_none() || state.board.ready() < LOW, handed)
            }
        };
        let missing = !state.wanted.is_empty();
        // A rest that is over must not wake those who have no use for more.
        let rest = state.rest.filter(|rest| *rest > now);
        if wants_more && !state.reading && rest.is_none() && (missing || state.has_more()) {
            state.reading = true;
            let group = Arc::clone(self);
            tokio::task::spawn_blocking(move || group.fill());
        }
        match handed {
            Some(handed) => Next::Message(Box::new(handed)),
            None => Next::Wait(state.board.next_due().into_iter().chain(rest).min()),
        }
    }

    /// Settles a message; returns the version of the cursor that says so, `None` if it was not
    /// with this member.
    pub(crate) fn accept(&self, member: u64, sequence: u64) -> Option<u64> {
        let mut state = self.lock();
        let is_its = !state.ended && state.board.accept(member, sequence);
        is_its.then(|| self.changed(state))
    }

    /// Takes a message back, to be given again after a while.
    pub(crate) fn release(&self, member: u64, sequence: u64, after: Duration) -> Option<u64> {
        if self.name.is_none() {
            return self.accept(member, sequence);
        }
        let due = (!after.is_zero()).then(|| Instant::now() + after.min(LONGEST_DELAY));
        let mut state = self.lock();
        if state.ended || !state.board.release(member, sequence, due) {
            return None;
        }
        if due.is_some() {
            return Some(self.changed(state));
        }
        state.ring();
        Some(0)
    }

    /// Gives a member nothing more.
    pub(crate) fn stop(&self, member: u64) {
        let mut state = self.lock();
        state.board.stop(member);
        state.ring();
    }

    /// Ends a membership; returns the version of the cursor that holds all it has settled.
    pub(crate) fn leave(&self, member: u64) -> u64 {
        let mut state = self.lock();
        state.board.leave(member);
        if let Some(seat) = state.seats.remove(&member) {
            seat.lost.cancel();
            seat.bell.notify_one();
        }
        if state.board.is_deserted() {
            state.retire();
            self.vacated.notify_one();
        }
        state.ring();
        state.version
    }

    /// Ends all memberships: the bridge closes.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.contents.clear();
        state.seats.values().for_each(|seat| seat.lost.cancel());
        state.ring();
        drop(state);
        self.stored.send_modify(|stored| stored.ended = true);
    }

    /// Tells whether it gets the messages of a topic.
    pub(crate) fn reads(&self, topic: &Topic) -> bool {
        self.lock().matching.pattern().matches(topic)
    }

    /// Hears of new messages.
    pub(crate) fn hear(&self, news: &[(Topic, u64)]) {
        let mut state = self.lock();
        let pattern = state.matching.pattern();
        let matching = news.iter().filter(|(topic, _)| pattern.matches(topic));
        let Some(end) = matching.map(|(_, end)| *end).max() else { return };
        state.heard = state.heard.max(end);
        state.ring();
    }

    /// Tries again after the store was away.
    pub(crate) fn resume(&self) {
        let mut state = self.lock();
        state.rest = None;
        state.ring();
    }

    /// Returns the group's name; a private cursor has none.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("")
    }

    fn hand(&self, state: &mut State, member: u64, sequence: u64) -> Option<Handed> {
        let (topic, given) = state.board.about(sequence)?;
        let index = self.log.index();
        let row = index.row(topic)?;
        let Some(message) = state.contents.remove(&sequence) else {
            state.wanted.insert(sequence);
            return None;
        };
        state.weight -= message.weight();
        state.board.hand(member, sequence);
        Some(Handed { message, topic: row.topic.clone(), shard: row.shard.clone(), sequence, given })
    }

    /// Notes a change that is to be stored, and lets members look again.
    fn changed(&self, mut state: MutexGuard<'_, State>) -> u64 {
        state.version += 1;
        let version = state.version;
        state.ring();
        drop(state);
        if self.name.is_some() {
            self.log.queue.stir();
        }
        version
    }

    fn lane(&self, order: Order, topic: u32, key: Option<&[u8]>) -> Option<u64> {
        match order {
            Order::None => None,
            Order::Key => key.map(|key| self.hasher.hash_one((topic, key))),
            Order::Topic => Some(topic.into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between taking and leaving this lock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handed {
    /// Completes the delivery.
    pub(crate) fn into_delivery(
        self,
        epoch: u64,
        lost: CancellationToken,
        ack: sidespan_bridge::AckToken,
    ) -> Delivery {
        Delivery {
            message: self.message,
            topic: self.topic,
            shard: self.shard,
            epoch: Epoch(epoch),
            position: Some(Position { partition: 0, sequence: self.sequence }),
            redelivered: Some(self.given),
            lost,
            ack,
        }
    }
}

/// Reads ahead when fewer messages than this are ready.
const LOW: usize = 32;
/// A delay is cut to this, as instants have an end.
const LONGEST_DELAY: Duration = Duration::from_secs(366 * 24 * 3600);

#[cfg(test)]
mod tests;
