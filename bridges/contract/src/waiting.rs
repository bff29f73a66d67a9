//! Messages that wait inside a bridge: released ones, and what must not overtake them.
//!
//! Brokers that cannot take a message back for a while leave the wait to the bridge. A lane holds what
//! goes one after the other: as long as something waits in it, nothing behind it is handed out.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{Epoch, Message, Order};

/// Messages that wait, by lane.
#[derive(Debug)]
pub struct Waiting<T> {
    lanes: BTreeMap<Lane, BTreeMap<u64, (Instant, T)>>,
    /// The first of each lane, by when it is due.
    heads: BTreeSet<(Instant, Lane)>,
}

/// What goes one after the other within a shard, while it is owned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    epoch: Epoch,
    extent: Extent,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    /// Everything.
    All,
    /// What has this key.
    Key(Bytes),
    /// Only this message.
    Own(u64),
}

impl Lane {
    /// Returns the lane of a message; `sequence` is its place in the shard.
    pub fn of(order: Order, epoch: Epoch, sequence: u64, message: &Message) -> Self {
        let extent = match (order, &message.key) {
            (Order::Topic, _) => Extent::All,
            (Order::Key, Some(key)) => Extent::Key(key.clone()),
            (Order::Key, None) | (Order::None, _) => Extent::Own(sequence),
        };
        Self { epoch, extent }
    }

    /// Returns the one lane that a shard has with `Order::Topic`.
    pub fn all(epoch: Epoch) -> Self {
        Self { epoch, extent: Extent::All }
    }
}

impl<T> Waiting<T> {
    /// Has a message wait until it is due, and everything ahead of it in its lane has gone.
    pub fn insert(&mut self, lane: Lane, sequence: u64, due: Instant, message: T) {
        self.behead(&lane);
        self.lanes.entry(lane.clone()).or_default().insert(sequence, (due, message));
        self.crown(lane);
    }

    /// Tells whether something waits in a lane.
    pub fn blocks(&self, lane: &Lane) -> bool {
        !self.lanes.is_empty() && self.lanes.contains_key(lane)
    }

    /// Takes a message that is due, with its epoch and its sequence.
    pub fn take(&mut self, now: Instant) -> Option<(Epoch, u64, T)> {
        let (_, lane) = self.heads.first().filter(|(due, _)| *due <= now)?;
        let lane = lane.clone();
        self.behead(&lane);
        let waiting = self.lanes.get_mut(&lane)?;
        let (sequence, (_, message)) = waiting.pop_first()?;
        let epoch = lane.epoch;
        if waiting.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.crown(lane);
        }
        Some((epoch, sequence, message))
    }

    /// Tells when the next one is due.
    pub fn due(&self) -> Option<Instant> {
        self.heads.first().map(|(due, _)| *due)
    }

    /// Forgets what waits of an epoch.
    pub fn forget(&mut self, epoch: Epoch) {
        self.lanes.retain(|lane, _| lane.epoch != epoch);
        self.heads.retain(|(_, lane)| lane.epoch != epoch);
    }

    fn head(&self, lane: &Lane) -> Option<Instant> {
        self.lanes.get(lane)?.values().next().map(|(due, _)| *due)
    }

    fn behead(&mut self, lane: &Lane) {
        if let Some(due) = self.head(lane) {
            self.heads.remove(&(due, lane.clone()));
        }
    }

    fn crown(&mut self, lane: Lane) {
        if let Some(due) = self.head(&lane) {
            self.heads.insert((due, lane));
        }
    }
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new(), heads: BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const EPOCH: Epoch = Epoch(1);

    fn lane(order: Order, sequence: u64, key: &'static str) -> Lane {
        let message = Message { key: Some(Bytes::from_static(key.as_bytes())), ..Message::default() };
        Lane::of(order, EPOCH, sequence, &message)
    }

    fn sequences(waiting: &mut Waiting<()>, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| waiting.take(now)).map(|(_, sequence, ())| sequence).collect()
    }

    #[test]
    fn a_lane_waits_for_its_first() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut waiting = Waiting::default();
        for (sequence, due, key) in [(3, now, "a"), (1, later, "a"), (2, now, "b")] {
            waiting.insert(lane(Order::Key, sequence, key), sequence, due, ());
        }
        assert_eq!(sequences(&mut waiting, now), [2]);
        assert_eq!(waiting.due(), Some(later));
        assert!(waiting.blocks(&lane(Order::Key, 9, "a")));
        assert!(!waiting.blocks(&lane(Order::Key, 9, "b")));
        assert_eq!(sequences(&mut waiting, later), [1, 3]);
        assert_eq!(waiting.due(), None);
    }

    #[test]
    fn without_order_each_goes_when_it_is_due() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut waiting = Waiting::default();
        for (sequence, due) in [(1, later), (2, now)] {
            waiting.insert(lane(Order::None, sequence, "a"), sequence, due, ());
        }
        assert_eq!(sequences(&mut waiting, now), [2]);
        waiting.forget(EPOCH);
        assert_eq!((waiting.due(), sequences(&mut waiting, later)), (None, vec![]));
    }

    /// A message that is to wait: its key, its epoch and how long.
    fn messages() -> impl Strategy<Value = Vec<(usize, u64, u64)>> {
        prop::collection::vec((0_usize..3, 1_u64..3, 0_u64..5), 1..40)
    }

    proptest! {
        #[test]
        fn nothing_overtakes_within_a_lane_comes_early_or_is_stuck(
            order in prop_oneof![Just(Order::None), Just(Order::Key), Just(Order::Topic)],
            messages in messages(),
            forgotten in prop::option::of(1_u64..3),
        ) {
            const KEYS: [&str; 3] = ["a", "b", "c"];
            let start = Instant::now();
            let at = |seconds| start + Duration::from_secs(seconds);
            let lane_of = |(key, epoch, _): (usize, u64, u64), sequence| {
                let key = Some(Bytes::from_static(KEYS[key].as_bytes()));
                Lane::of(order, Epoch(epoch), sequence, &Message { key, ..Message::default() })
            };
            let mut waiting = Waiting::default();
            let mut left: BTreeMap<u64, (Lane, Epoch, Instant)> = BTreeMap::new();
            for (sequence, message) in (0..).zip(&messages) {
                let lane = lane_of(*message, sequence);
                waiting.insert(lane.clone(), sequence, at(message.2), ());
                left.insert(sequence, (lane, Epoch(message.1), at(message.2)));
            }
            if let Some(epoch) = forgotten {
                waiting.forget(Epoch(epoch));
                left.retain(|_, (_, of, _)| *of != Epoch(epoch));
            }
            for second in 0..5 {
                while let Some((epoch, sequence, ())) = waiting.take(at(second)) {
                    let (lane, of, due) = left.remove(&sequence).expect("what waits, and once");
                    prop_assert_eq!(epoch, of);
                    prop_assert!(due <= at(second), "{} comes early", sequence);
                    let mut ahead = left.range(..sequence).filter(|(_, (other, ..))| *other == lane);
                    prop_assert!(ahead.next().is_none(), "{} overtakes", sequence);
                    let behind = left.values().any(|(other, ..)| *other == lane);
                    prop_assert_eq!(waiting.blocks(&lane), behind);
                }
                let first = left.values().map(|(lane, ..)| lane).find_map(|lane| waiting.head(lane));
                prop_assert_eq!(waiting.due().is_some(), first.is_some());
                prop_assert!(waiting.due().is_none_or(|due| due > at(second)), "something is stuck");
            }
            prop_assert!(left.is_empty() && waiting.lanes.is_empty() && waiting.heads.is_empty());
        }
    }
}
