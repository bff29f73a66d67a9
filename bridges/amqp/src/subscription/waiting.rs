//! Messages that wait inside the bridge: released ones, and what must not overtake them.
//!
//! AMQP cannot delay a message, and returning one puts it where it stood in the queue, to come again
//! at once. So a release waits here. A lane holds what goes one after the other: as long as
//! something waits in it, nothing behind is handed out.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sidespan_bridge::{Message, Order};
use tokio::time::Instant;

use super::shared::Arrived;

/// Messages that wait, by lane, each by its delivery tag.
#[derive(Default)]
pub(super) struct Waiting {
    lanes: BTreeMap<Lane, BTreeMap<u64, (Instant, Arrived)>>,
    /// The first of each lane, by when it is due.
    heads: BTreeSet<(Instant, Lane)>,
}

/// What goes one after the other within a queue.
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
    pub(super) fn of(order: Order, tag: u64, message: &Message) -> Self {
        match (order, &message.key) {
            (Order::Topic, _) => Self::All,
            (Order::Key, Some(key)) => Self::Key(key.clone()),
            (Order::Key, None) | (Order::None, _) => Self::Own(tag),
        }
    }
}

impl Waiting {
    /// Has a message wait until it is due, and everything ahead of it in its lane has gone.
    pub(super) fn insert(&mut self, lane: Lane, due: Instant, arrived: Arrived) {
        self.behead(&lane);
        self.lanes.entry(lane.clone()).or_default().insert(arrived.tag, (due, arrived));
        self.crown(lane);
    }

    /// Tells whether something waits in a lane.
    pub(super) fn blocks(&self, lane: &Lane) -> bool {
        self.lanes.contains_key(lane)
    }

    /// Takes a message that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<Arrived> {
        let (_, lane) = self.heads.first().filter(|(due, _)| *due <= now)?;
        let lane = lane.clone();
        self.behead(&lane);
        let waiting = self.lanes.get_mut(&lane)?;
        let (_, (_, arrived)) = waiting.pop_first()?;
        if waiting.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.crown(lane);
        }
        Some(arrived)
    }

    /// Tells when the next one is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.heads.first().map(|(due, _)| *due)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sidespan_bridge::Topic;

    use super::*;

    fn arrived(tag: u64, key: &'static str) -> Arrived {
        let message = Message { key: Some(key.into()), ..Message::default() };
        Arrived { tag, message, topic: Topic::new("t"), before: None }
    }

    fn release(waiting: &mut Waiting, order: Order, tag: u64, due: Instant, key: &'static str) {
        let arrived = arrived(tag, key);
        waiting.insert(Lane::of(order, tag, &arrived.message), due, arrived);
    }

    fn tags(waiting: &mut Waiting, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| waiting.take(now)).map(|arrived| arrived.tag).collect()
    }

    #[test]
    fn a_lane_waits_for_its_first() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut waiting = Waiting::default();
        release(&mut waiting, Order::Key, 3, now, "a");
        release(&mut waiting, Order::Key, 1, later, "a");
        release(&mut waiting, Order::Key, 2, now, "b");
        assert_eq!(tags(&mut waiting, now), [2]);
        assert_eq!(waiting.due(), Some(later));
        assert!(waiting.blocks(&Lane::Key("a".into())));
        assert!(!waiting.blocks(&Lane::Key("b".into())));
        assert_eq!(tags(&mut waiting, later), [1, 3]);
        assert_eq!(waiting.due(), None);
    }

    #[test]
    fn without_order_each_goes_when_it_is_due() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut waiting = Waiting::default();
        release(&mut waiting, Order::None, 1, later, "a");
        release(&mut waiting, Order::None, 2, now, "a");
        assert_eq!(tags(&mut waiting, now), [2]);
        assert_eq!(tags(&mut waiting, later), [1]);
    }
}
