//! Who has which message: the bookkeeping of one group, without I/O.
//!
//! A message that was read and is not settled is *ready*, *out* with a member, or *delayed* until
//! an instant. With `Order::Key` the messages of one key form a lane, with `Order::Topic` those of
//! one topic do. A lane with something out stays with the member that has it, and a lane with
//! something delayed rests, so that later messages of a lane never overtake earlier ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sidespan_bridge::{Order, Window};
use tokio::time::Instant;

/// What was read and is not settled, and who shares it.
#[derive(Debug)]
pub(crate) struct Board {
    order: Order,
    entries: BTreeMap<u64, Entry>,
    /// Ready, and any member may have it.
    free: BTreeSet<u64>,
    delayed: BTreeSet<(Instant, u64)>,
    lanes: HashMap<u64, Lane>,
    members: BTreeMap<u64, Member>,
    /// The one member that `Order::Topic` serves; the others stand by.
    active: Option<u64>,
    ready: usize,
}

/// A message that arrives on the board.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) topic: u32,
    /// What it must stay in order with; `None` for nothing.
    pub(crate) lane: Option<u64>,
    pub(crate) weight: usize,
    /// How often it was given before.
    pub(crate) given: u32,
    /// Until when it waits.
    pub(crate) due: Option<Instant>,
}

/// What there is for a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Nothing is ready that it may have.
    Empty,
    /// It may not have more: its window is full, it has stopped, or it stands by.
    Full,
    /// It is no member.
    Gone,
    /// This one is next.
    Message(u64),
}

/// An unsettled message, as far as a cursor keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsettled {
    pub(crate) topic: u32,
    pub(crate) given: u32,
    pub(crate) due: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    topic: u32,
    lane: Option<u64>,
    weight: usize,
    given: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Delayed(Instant),
    Out(u64),
    Ready,
}

#[derive(Debug, Default)]
struct Lane {
    holder: Option<u64>,
    out: usize,
    delayed: usize,
    ready: BTreeSet<u64>,
    /// Where its first ready message is offered.
    offered: Option<(Place, u64)>,
}

#[derive(Debug)]
struct Member {
    window: Window,
    out: BTreeSet<u64>,
    bytes: usize,
    stopped: bool,
    /// Ready, and kept for this member as it has earlier messages of the lane.
    mine: BTreeSet<u64>,
}

/// Where the first ready message of a lane is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Free,
    Mine(u64),
}

impl Board {
    /// Begins empty.
    pub(crate) fn new(order: Order) -> Self {
        Self {
            order,
            entries: BTreeMap::new(),
            free: BTreeSet::new(),
            delayed: BTreeSet::new(),
            lanes: HashMap::new(),
            members: BTreeMap::new(),
            active: None,
            ready: 0,
        }
    }

    /// Returns the order that is kept.
    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Returns how many messages are not settled.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns how many messages wait for a member.
    pub(crate) fn ready(&self) -> usize {
        self.ready
    }

    /// Tells whether nobody shares the messages.
    pub(crate) fn is_deserted(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns when the next delayed message is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.delayed.first().map(|(due, _)| *due)
    }

    /// Returns all that is not settled, ascending.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = (u64, Unsettled)> {
        self.entries.iter().map(|(sequence, entry)| {
            let due = match entry.state {
                State::Delayed(due) => Some(due),
                State::Out(_) | State::Ready => None,
            };
            (*sequence, Unsettled { topic: entry.topic, given: entry.given, due })
        })
    }

    /// Returns the ready messages and their topics from a sequence on, ascending.
    pub(crate) fn ready_from(&self, sequence: u64) -> impl Iterator<Item = (u64, u32)> {
        self.entries
            .range(sequence..)
            .filter(|(_, entry)| entry.state == State::Ready)
            .map(|(sequence, entry)| (*sequence, entry.topic))
    }

    /// Tells whether a message waits for a member.
    pub(crate) fn is_ready(&self, sequence: u64) -> bool {
        self.entries.get(&sequence).is_some_and(|entry| entry.state == State::Ready)
    }

    /// Returns the topic of a message and how often it was given before.
    pub(crate) fn about(&self, sequence: u64) -> Option<(u32, u32)> {
        self.entries.get(&sequence).map(|entry| (entry.topic, entry.given))
    }

    /// Lets a member take part.
    pub(crate) fn join(&mut self, member: u64, window: Window) {
        let fresh = Member { window, out: BTreeSet::new(), bytes: 0, stopped: false, mine: BTreeSet::new() };
        self.members.insert(member, fresh);
    }

    /// Puts a message that was read on the board.
    pub(crate) fn receive(&mut self, sequence: u64, arrival: Arrival) {
        let Arrival { topic, lane, weight, given, due } = arrival;
        let state = due.map_or(State::Ready, State::Delayed);
        self.entries.insert(sequence, Entry { topic, lane, weight, given, state });
        match due {
            Some(due) => self.delay(sequence, lane, due),
            None => self.offer(sequence, lane),
        }
        self.settle_place(lane);
    }

    /// Tells what there is for a member now.
    pub(crate) fn peek(&mut self, member: u64, now: Instant) -> Offer {
        self.wake(now);
        if self.order == Order::Topic {
            self.choose_active();
        }
        let Some(who) = self.members.get(&member) else { return Offer::Gone };
        let stands_by = self.order == Order::Topic && self.active != Some(member);
        if who.stopped || stands_by || who.out.len() >= who.window.messages {
            return Offer::Full;
        }
        let firsts = [who.mine.first(), self.free.first()];
        let Some(sequence) = firsts.into_iter().flatten().min().copied() else { return Offer::Empty };
        let weight = self.entries.get(&sequence).map_or(0, |entry| entry.weight);
        if who.bytes > 0 && who.bytes.saturating_add(weight) > who.window.bytes {
            return Offer::Full;
        }
        Offer::Message(sequence)
    }

    /// Gives a ready message to a member.
    pub(crate) fn hand(&mut self, member: u64, sequence: u64) {
        let Some(entry) = self.entries.get_mut(&sequence).filter(|entry| entry.state == State::Ready) else {
            return;
        };
        let Some(who) = self.members.get_mut(&member) else { return };
        who.out.insert(sequence);
        who.bytes += entry.weight;
        entry.state = State::Out(member);
        entry.given = entry.given.saturating_add(1);
        let lane = entry.lane;
        self.withdraw(sequence, lane);
        if let Some(lane) = lane.and_then(|lane| self.lanes.get_mut(&lane)) {
            lane.out += 1;
            lane.holder = Some(member);
        }
        self.settle_place(lane);
    }

    /// Settles a message that is out with a member; tells whether it was.
    pub(crate) fn accept(&mut self, member: u64, sequence: u64) -> bool {
        let Some(lane) = self.take_back(member, sequence) else { return false };
        self.entries.remove(&sequence);
        self.settle_place(lane);
        true
    }

    /// Takes a message back from a member, to be given again, after `due` if there is one.
    pub(crate) fn release(&mut self, member: u64, sequence: u64, due: Option<Instant>) -> bool {
        let Some(lane) = self.take_back(member, sequence) else { return false };
        if let Some(entry) = self.entries.get_mut(&sequence) {
            entry.state = due.map_or(State::Ready, State::Delayed);
        }
        match due {
            Some(due) => self.delay(sequence, lane, due),
            None => self.offer(sequence, lane),
        }
        self.settle_place(lane);
        true
    }

    /// Drops a ready message that is no longer in the log.
    pub(crate) fn forget(&mut self, sequence: u64) {
        let is_ready = |entry: &Entry| entry.state == State::Ready;
        if !self.entries.get(&sequence).is_some_and(is_ready) {
            return;
        }
        let lane = self.entries.remove(&sequence).and_then(|entry| entry.lane);
        self.withdraw(sequence, lane);
        self.settle_place(lane);
    }

    /// Gives a member nothing more.
    pub(crate) fn stop(&mut self, member: u64) {
        if let Some(member) = self.members.get_mut(&member) {
            member.stopped = true;
        }
    }

    /// Ends a membership: what was out is ready again, each message where it stood.
    pub(crate) fn leave(&mut self, member: u64) {
        let out: Vec<u64> = self.members.get(&member).into_iter().flat_map(|who| &who.out).copied().collect();
        for sequence in out {
            self.release(member, sequence, None);
        }
        self.members.remove(&member);
        if self.active == Some(member) {
            self.active = None;
        }
    }

    /// Makes ready what is due.
    fn wake(&mut self, now: Instant) {
        while let Some((_, sequence)) = self.delayed.first().copied().filter(|(due, _)| *due <= now) {
            self.delayed.pop_first();
            let Some(entry) = self.entries.get_mut(&sequence) else { continue };
            entry.state = State::Ready;
            let lane = entry.lane;
            if let Some(lane) = lane.and_then(|lane| self.lanes.get_mut(&lane)) {
                lane.delayed -= 1;
            }
            self.offer(sequence, lane);
            self.settle_place(lane);
        }
    }

    /// Keeps one member active: the one that is, until it wants no more and has nothing out.
    fn choose_active(&mut self) {
        let goes_on = |who: &Member| !who.stopped || !who.out.is_empty();
        let current = self.active.and_then(|id| self.members.get(&id));
        if !current.is_some_and(goes_on) {
            self.active = self.members.iter().find(|(_, who)| !who.stopped).map(|(id, _)| *id);
        }
    }

    /// Takes a message out of a member's hands; returns its lane if it was there.
    #[expect(clippy::option_option, reason = "the outer one is about the message, the inner about its lane")]
    fn take_back(&mut self, member: u64, sequence: u64) -> Option<Option<u64>> {
        let entry = self.entries.get(&sequence).filter(|entry| entry.state == State::Out(member))?;
        let (lane, weight) = (entry.lane, entry.weight);
        if let Some(who) = self.members.get_mut(&member) {
            who.out.remove(&sequence);
            who.bytes -= weight;
        }
        if let Some(lane) = lane.and_then(|lane| self.lanes.get_mut(&lane)) {
            lane.out -= 1;
        }
        Some(lane)
    }

    fn delay(&mut self, sequence: u64, lane: Option<u64>, due: Instant) {
        self.delayed.insert((due, sequence));
        if let Some(lane) = lane {
            self.lanes.entry(lane).or_default().delayed += 1;
        }
    }

    fn offer(&mut self, sequence: u64, lane: Option<u64>) {
        self.ready += 1;
        match lane {
            None => drop(self.free.insert(sequence)),
            Some(lane) => drop(self.lanes.entry(lane).or_default().ready.insert(sequence)),
        }
    }

    fn withdraw(&mut self, sequence: u64, lane: Option<u64>) {
        self.ready -= 1;
        match lane {
            None => drop(self.free.remove(&sequence)),
            Some(lane) => drop(self.lanes.get_mut(&lane).map(|lane| lane.ready.remove(&sequence))),
        }
    }

    /// Offers the first ready message of a lane where it belongs after a change. The first is
    /// enough: once it is out the lane is pinned, and the next one follows it.
    fn settle_place(&mut self, lane: Option<u64>) {
        let Some(id) = lane else { return };
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        match lane.offered.take() {
            Some((Place::Free, sequence)) => drop(self.free.remove(&sequence)),
            Some((Place::Mine(holder), sequence)) => {
                self.members.get_mut(&holder).map(|who| who.mine.remove(&sequence));
            }
            None => {}
        }
        if lane.delayed == 0 {
            let holder = lane.holder.filter(|_| lane.out > 0);
            lane.holder = holder;
            lane.offered = lane.ready.first().map(|first| (holder.map_or(Place::Free, Place::Mine), *first));
        }
        match lane.offered {
            Some((Place::Free, sequence)) => drop(self.free.insert(sequence)),
            Some((Place::Mine(holder), sequence)) => {
                self.members.get_mut(&holder).map(|who| who.mine.insert(sequence));
            }
            None => {}
        }
        if lane.ready.is_empty() && lane.out == 0 && lane.delayed == 0 {
            self.lanes.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests;
