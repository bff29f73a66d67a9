//! Messages that are here and not handed out, in the order in which they may be.
//!
//! A lane holds what goes one after the other. As long as something that was released waits in a lane,
//! nothing behind it is handed out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use sidespan_bridge::{Message, Order, Topic};
use tokio::time::Instant;

/// What is here, by sequence.
pub(crate) struct Shelf {
    order: Order,
    /// What was not handed out yet.
    fresh: BTreeMap<u64, Item>,
    /// What was released, and what must not overtake it.
    lanes: HashMap<Lane, BTreeMap<u64, (Instant, Item)>>,
    /// The first of each lane, by when it is due.
    heads: BTreeMap<(Instant, u64), Lane>,
}

/// A message, and where it was found.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) message: Message,
    pub(crate) topic: Topic,
    /// How often the broker gave it before.
    pub(crate) redelivered: u32,
}

/// What comes next off the shelf.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are messages, and none is kept")]
pub(crate) enum Next {
    /// This.
    Item(u64, Item),
    /// Nothing before something is put on it, or room is made.
    Nothing,
    /// Nothing before then.
    Until(Instant),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Lane {
    All,
    Key(Bytes),
    Own(u64),
}

impl Lane {
    fn of(order: Order, sequence: u64, message: &Message) -> Self {
        match (order, &message.key) {
            (Order::Topic, _) => Self::All,
            (Order::Key, Some(key)) => Self::Key(key.clone()),
            (Order::Key, None) | (Order::None, _) => Self::Own(sequence),
        }
    }
}

impl Shelf {
    pub(crate) fn new(order: Order) -> Self {
        Self { order, fresh: BTreeMap::new(), lanes: HashMap::new(), heads: BTreeMap::new() }
    }

    /// Puts a message on the shelf that came from the broker.
    pub(crate) fn put(&mut self, sequence: u64, item: Item) {
        self.fresh.insert(sequence, item);
    }

    /// Puts a message back that waits until it is due, and for everything ahead of it in its lane.
    pub(crate) fn put_back(&mut self, sequence: u64, due: Instant, item: Item) {
        let lane = Lane::of(self.order, sequence, &item.message);
        self.behead(&lane);
        self.lanes.entry(lane.clone()).or_default().insert(sequence, (due, item));
        self.crown(lane);
    }

    /// Takes the next message that may be handed out and fits.
    pub(crate) fn take(&mut self, now: Instant, fits: impl Fn(&Message) -> bool) -> Next {
        if let Some(((due, sequence), lane)) = self.heads.first_key_value()
            && *due <= now
        {
            let (sequence, lane) = (*sequence, lane.clone());
            let waiting = self.lanes.get(&lane).and_then(|lane| lane.get(&sequence));
            if !waiting.is_some_and(|(_, item)| fits(&item.message)) {
                return Next::Nothing;
            }
            return self
                .take_head(&lane)
                .map_or(Next::Nothing, |(sequence, item)| Next::Item(sequence, item));
        }
        while let Some(first) = self.fresh.first_entry() {
            let lane = Lane::of(self.order, *first.key(), &first.get().message);
            if self.lanes.contains_key(&lane) {
                let (sequence, item) = first.remove_entry();
                self.put_back(sequence, now, item);
            } else if fits(&first.get().message) {
                let (sequence, item) = first.remove_entry();
                return Next::Item(sequence, item);
            } else {
                break;
            }
        }
        self.heads.first_key_value().map_or(Next::Nothing, |((due, _), _)| Next::Until(*due))
    }

    /// Takes everything, and returns the sequences in order.
    pub(crate) fn clear(&mut self) -> BTreeSet<u64> {
        self.heads.clear();
        let lanes = std::mem::take(&mut self.lanes);
        let waiting = lanes.into_values().flat_map(BTreeMap::into_keys);
        std::mem::take(&mut self.fresh).into_keys().chain(waiting).collect()
    }

    fn take_head(&mut self, lane: &Lane) -> Option<(u64, Item)> {
        self.behead(lane);
        let waiting = self.lanes.get_mut(lane)?;
        let (sequence, (_, item)) = waiting.pop_first()?;
        if waiting.is_empty() {
            self.lanes.remove(lane);
        } else {
            self.crown(lane.clone());
        }
        Some((sequence, item))
    }

    fn head(&self, lane: &Lane) -> Option<(Instant, u64)> {
        self.lanes.get(lane)?.first_key_value().map(|(sequence, (due, _))| (*due, *sequence))
    }

    fn behead(&mut self, lane: &Lane) {
        if let Some(head) = self.head(lane) {
            self.heads.remove(&head);
        }
    }

    fn crown(&mut self, lane: Lane) {
        if let Some(head) = self.head(&lane) {
            self.heads.insert(head, lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn item(key: &'static str) -> Item {
        let message = Message { key: Some(Bytes::from_static(key.as_bytes())), ..Message::default() };
        Item { message, topic: Topic::new("t"), redelivered: 0 }
    }

    fn taken(shelf: &mut Shelf, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| match shelf.take(now, |_| true) {
            Next::Item(sequence, _) => Some(sequence),
            Next::Nothing | Next::Until(_) => None,
        })
        .collect()
    }

    #[test]
    fn what_was_released_goes_ahead_of_its_key_and_of_nothing_else() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut shelf = Shelf::new(Order::Key);
        shelf.put_back(1, later, item("a"));
        shelf.put(3, item("a"));
        shelf.put(2, item("b"));
        assert_eq!(taken(&mut shelf, now), [2]);
        assert!(matches!(shelf.take(now, |_| true), Next::Until(due) if due == later));
        assert_eq!(taken(&mut shelf, later), [1, 3]);
    }

    #[test]
    fn in_the_order_of_a_topic_everything_waits() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut shelf = Shelf::new(Order::Topic);
        shelf.put_back(1, later, item("a"));
        shelf.put(2, item("b"));
        assert!(taken(&mut shelf, now).is_empty());
        assert_eq!(taken(&mut shelf, later), [1, 2]);
    }

    #[test]
    fn what_does_not_fit_is_not_overtaken() {
        let now = Instant::now();
        let mut shelf = Shelf::new(Order::None);
        shelf.put(2, item("long"));
        shelf.put(3, item("s"));
        assert!(matches!(shelf.take(now, |message| message.weight() < 2), Next::Nothing));
        shelf.put_back(1, now, item("long"));
        assert!(matches!(shelf.take(now, |message| message.weight() < 2), Next::Nothing));
        assert_eq!(shelf.clear().into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }
}
