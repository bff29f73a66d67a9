//! Messages that wait inside the bridge: released ones, and what must not overtake them.
//!
//! A lane holds what goes one after the other. As long as something waits in a lane, nothing
//! behind it is handed out.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sidespan_bridge::{Epoch, Message, Order};
use tokio::time::Instant;

/// Messages that wait, by lane.
#[derive(Default)]
pub(super) struct Waiting {
    lanes: BTreeMap<(Epoch, Lane), BTreeMap<u64, (Instant, Message)>>,
    /// The first of each lane, by when it is due.
    heads: BTreeSet<(Instant, Epoch, Lane)>,
}

/// What goes one after the other within a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Everything.
    All,
    /// What has this key.
    Key(Bytes),
    /// Only this message.
    Own(u64),
}

impl Lane {
    /// Returns the lane of a message.
    pub(super) fn of(order: Order, offset: u64, message: &Message) -> Self {
        match (order, &message.key) {
            (Order::Topic, _) => Self::All,
            (Order::Key, Some(key)) => Self::Key(key.clone()),
            (Order::Key, None) | (Order::None, _) => Self::Own(offset),
        }
    }
}

impl Waiting {
    /// Has a message wait until it is due, and everything ahead of it in its lane has gone.
    pub(super) fn insert(&mut self, epoch: Epoch, lane: Lane, offset: u64, due: Instant, message: Message) {
        let place = (epoch, lane);
        self.behead(&place);
        self.lanes.entry(place.clone()).or_default().insert(offset, (due, message));
        self.crown(place);
    }

    /// Tells whether something waits in a lane.
    pub(super) fn blocks(&self, epoch: Epoch, lane: Lane) -> bool {
        !self.lanes.is_empty() && self.lanes.contains_key(&(epoch, lane))
    }

    /// Takes a message that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Epoch, u64, Message)> {
        let (due, epoch, lane) = self.heads.first()?;
        if *due > now {
            return None;
        }
        let place = (*epoch, lane.clone());
        self.behead(&place);
        let lane = self.lanes.get_mut(&place)?;
        let (offset, (_, message)) = lane.pop_first()?;
        if lane.is_empty() {
            self.lanes.remove(&place);
        } else {
            self.crown(place.clone());
        }
        Some((place.0, offset, message))
    }

    /// Tells when the next one is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.heads.first().map(|head| head.0)
    }

    /// Forgets what waits of an epoch.
    pub(super) fn forget(&mut self, epoch: Epoch) {
        self.lanes.retain(|place, _| place.0 != epoch);
        self.heads.retain(|head| head.1 != epoch);
    }

    fn behead(&mut self, place: &(Epoch, Lane)) {
        if let Some((due, _)) = self.lanes.get(place).and_then(|lane| lane.values().next()) {
            self.heads.remove(&(*due, place.0, place.1.clone()));
        }
    }

    fn crown(&mut self, place: (Epoch, Lane)) {
        if let Some((due, _)) = self.lanes.get(&place).and_then(|lane| lane.values().next()) {
            self.heads.insert((*due, place.0, place.1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const EPOCH: Epoch = Epoch(1);

    fn keyed(key: &'static str) -> Message {
        Message { key: Some(Bytes::from_static(key.as_bytes())), ..Message::default() }
    }

    fn release(waiting: &mut Waiting, order: Order, offset: u64, due: Instant, key: &'static str) {
        let message = keyed(key);
        waiting.insert(EPOCH, Lane::of(order, offset, &message), offset, due, message);
    }

    fn offsets(waiting: &mut Waiting, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| waiting.take(now)).map(|(_, offset, _)| offset).collect()
    }

    #[test]
    fn a_lane_waits_for_its_first() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut waiting = Waiting::default();
        release(&mut waiting, Order::Key, 3, now, "a");
        release(&mut waiting, Order::Key, 1, later, "a");
        release(&mut waiting, Order::Key, 2, now, "b");
        assert_eq!(offsets(&mut waiting, now), [2]);
        assert_eq!(waiting.due(), Some(later));
        assert!(waiting.blocks(EPOCH, Lane::of(Order::Key, 9, &keyed("a"))));
        assert!(!waiting.blocks(EPOCH, Lane::of(Order::Key, 9, &keyed("b"))));
        assert_eq!(offsets(&mut waiting, later), [1, 3]);
        assert_eq!(waiting.due(), None);
    }

    #[test]
    fn without_order_each_goes_when_it_is_due() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut waiting = Waiting::default();
        release(&mut waiting, Order::None, 1, later, "a");
        release(&mut waiting, Order::None, 2, now, "a");
        assert_eq!(offsets(&mut waiting, now), [2]);
        waiting.forget(EPOCH);
        assert_eq!((waiting.due(), offsets(&mut waiting, later)), (None, vec![]));
    }
}
