//! Which message may go next: pure bookkeeping, without tasks, time or brokers.
//!
//! A lane is a queue of messages of which one is under way at a time. What has no lane goes as soon
//! as it can. All who can go do so in the order in which they came to be able to, so nobody starves.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use sidespan_bridge::{Order, Shard};

/// Names a lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Messages of one key within a shard.
    Key(Shard, Bytes),
    /// All messages of a shard.
    Shard(Shard),
}

impl Lane {
    /// Finds the lane of a message. A message without a key has nothing to be ordered by.
    pub(super) fn of(order: Order, shard: &Shard, key: Option<&Bytes>) -> Option<Self> {
        match order {
            Order::Key => key.map(|key| Self::Key(shard.clone(), key.clone())),
            Order::None => None,
            Order::Topic => Some(Self::Shard(shard.clone())),
        }
    }
}

/// Messages that are not under way yet, and the lanes that are busy.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    /// Lanes that are busy or have messages; a lane's messages in the order in which they came.
    lanes: HashMap<Lane, Queue<T>>,
    /// What can go: each lane at most once, and only if it is idle and has messages.
    ready: VecDeque<Ready<T>>,
    len: usize,
}

#[derive(Debug)]
struct Queue<T> {
    busy: bool,
    waiting: VecDeque<T>,
}

#[derive(Debug)]
enum Ready<T> {
    Free(T),
    First(Lane),
}

impl<T> Lanes<T> {
    pub(super) fn new() -> Self {
        Self { lanes: HashMap::new(), ready: VecDeque::new(), len: 0 }
    }

    /// Adds a message behind those of its lane.
    pub(super) fn push(&mut self, lane: Option<Lane>, item: T) {
        self.len += 1;
        let Some(lane) = lane else {
            self.ready.push_back(Ready::Free(item));
            return;
        };
        if let Some(queue) = self.lanes.get_mut(&lane) {
            queue.waiting.push_back(item);
            return;
        }
        let waiting = VecDeque::from([item]);
        self.lanes.insert(lane.clone(), Queue { busy: false, waiting });
        self.ready.push_back(Ready::First(lane));
    }

    /// Tells whether [`Lanes::start`] has something to give.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the next message that may go. Its lane is busy until [`Lanes::finish`].
    pub(super) fn start(&mut self) -> Option<(Option<Lane>, T)> {
        let started = match self.ready.pop_front()? {
            Ready::Free(item) => (None, item),
            Ready::First(lane) => {
                // A ready lane has a first message.
                let queue = self.lanes.get_mut(&lane)?;
                queue.busy = true;
                let item = queue.waiting.pop_front()?;
                (Some(lane), item)
            }
        };
        self.len -= 1;
        Some(started)
    }

    /// Notes that the message that was under way on a lane has ended.
    pub(super) fn finish(&mut self, lane: Lane) {
        match self.lanes.get_mut(&lane) {
            Some(queue) if !queue.waiting.is_empty() => {
                queue.busy = false;
                self.ready.push_back(Ready::First(lane));
            }
            Some(_) => drop(self.lanes.remove(&lane)),
            None => {}
        }
    }

    /// Takes out what waits and is not to be kept. Busy lanes stay busy.
    pub(super) fn remove(&mut self, mut is_removed: impl FnMut(&T) -> bool) {
        self.ready.retain(|ready| match ready {
            Ready::Free(item) => !is_removed(item),
            Ready::First(_) => true,
        });
        for queue in self.lanes.values_mut() {
            queue.waiting.retain(|item| !is_removed(item));
        }
        self.lanes.retain(|_, queue| queue.busy || !queue.waiting.is_empty());
        let lanes = &self.lanes;
        self.ready.retain(|ready| match ready {
            Ready::Free(_) => true,
            Ready::First(lane) => lanes.contains_key(lane),
        });
        let free = self.ready.iter().filter(|ready| matches!(ready, Ready::Free(_))).count();
        self.len = free + self.lanes.values().map(|queue| queue.waiting.len()).sum::<usize>();
    }

    /// Takes out everything that waits. Busy lanes stay busy.
    pub(super) fn clear(&mut self) -> Vec<T> {
        let free = self.ready.drain(..).filter_map(|ready| match ready {
            Ready::Free(item) => Some(item),
            Ready::First(_) => None,
        });
        let ordered = self.lanes.values_mut().flat_map(|queue| queue.waiting.drain(..));
        let all = free.chain(ordered).collect();
        self.lanes.retain(|_, queue| queue.busy);
        self.len = 0;
        all
    }

    /// Returns how many messages wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns how many lanes there are, busy ones included.
    pub(super) fn count(&self) -> usize {
        self.lanes.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn shard(number: u8) -> Shard {
        Shard::new(number.to_string())
    }

    fn key(number: u8) -> Option<Bytes> {
        (number > 0).then(|| Bytes::copy_from_slice(&[number]))
    }

    #[test]
    fn a_lane_is_one_key_of_one_shard_or_a_whole_shard() {
        let lane = |order, number| Lane::of(order, &shard(number), key(number).as_ref());
        assert_eq!(lane(Order::None, 1), None);
        assert_eq!(lane(Order::Key, 0), None, "without a key there is nothing to order by");
        assert_ne!(lane(Order::Key, 1), lane(Order::Key, 2));
        assert_eq!(lane(Order::Topic, 0), Some(Lane::Shard(shard(0))));
    }

    #[test]
    fn a_busy_lane_holds_only_itself() {
        let mut lanes = Lanes::new();
        let lane = |number| Lane::of(Order::Key, &shard(0), key(number).as_ref());
        lanes.push(lane(1), "slow");
        lanes.push(lane(1), "behind it");
        lanes.push(lane(2), "of another key");
        lanes.push(lane(0), "without a key");
        let order: Vec<_> = std::iter::from_fn(|| lanes.start().map(|(_, item)| item)).collect();
        assert_eq!(order, ["slow", "of another key", "without a key"]);
        lanes.finish(lane(1).unwrap());
        assert_eq!(lanes.start().map(|(_, item)| item), Some("behind it"));
    }

    /// A message as the tests see it: where it belongs, and its place among all.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Item {
        shard: u8,
        epoch: u8,
        key: u8,
        place: usize,
    }

    #[derive(Clone, Debug)]
    enum Happening {
        Arrive { shard: u8, key: u8 },
        Finish(prop::sample::Index),
        Clear,
        Lose { shard: u8 },
        Start,
    }

    fn happenings() -> impl Strategy<Value = Vec<Happening>> {
        let happening = prop_oneof![
            4 => (0_u8..2, 0_u8..4).prop_map(|(shard, key)| Happening::Arrive { shard, key }),
            3 => Just(Happening::Start),
            3 => any::<prop::sample::Index>().prop_map(Happening::Finish),
            1 => Just(Happening::Clear),
            1 => (0_u8..2).prop_map(|shard| Happening::Lose { shard }),
        ];
        prop::collection::vec(happening, 0..200)
    }

    /// Plays a story against a model that knows what waits and what is under way.
    #[derive(Debug)]
    struct Play {
        order: Order,
        lanes: Lanes<Item>,
        waiting: BTreeSet<Item>,
        under_way: Vec<(Option<Lane>, Item)>,
        last: BTreeMap<(u8, u8), (u8, usize)>,
        epochs: [u8; 2],
        places: usize,
    }

    impl Play {
        fn new(order: Order) -> Self {
            Self {
                order,
                lanes: Lanes::new(),
                waiting: BTreeSet::new(),
                under_way: Vec::new(),
                last: BTreeMap::new(),
                epochs: [0; 2],
                places: 0,
            }
        }

        fn ordered_by(&self, item: &Item) -> Option<(u8, u8)> {
            match self.order {
                Order::Key => (item.key > 0).then_some((item.shard, item.key)),
                Order::None => None,
                Order::Topic => Some((item.shard, 0)),
            }
        }

        fn startable(&self) -> usize {
            let busy = |group| self.under_way.iter().any(|(_, item)| self.ordered_by(item) == Some(group));
            let groups: BTreeSet<_> = self.waiting.iter().filter_map(|item| self.ordered_by(item)).collect();
            let free = self.waiting.iter().filter(|item| self.ordered_by(item).is_none()).count();
            free + groups.into_iter().filter(|group| !busy(*group)).count()
        }

        fn play(&mut self, happening: &Happening) -> Result<(), TestCaseError> {
            match *happening {
                Happening::Arrive { shard: number, key: by } => {
                    let epoch = self.epochs[usize::from(number)];
                    let item = Item { shard: number, epoch, key: by, place: self.places };
                    self.places += 1;
                    self.waiting.insert(item);
                    self.lanes.push(Lane::of(self.order, &shard(number), key(by).as_ref()), item);
                }
                Happening::Start => self.start()?,
                Happening::Finish(index) => {
                    if !self.under_way.is_empty() {
                        self.finish(index.index(self.under_way.len()));
                    }
                }
                Happening::Clear => {
                    let cleared: BTreeSet<Item> = self.lanes.clear().into_iter().collect();
                    prop_assert_eq!(&cleared, &self.waiting);
                    self.waiting.clear();
                }
                Happening::Lose { shard } => {
                    self.epochs[usize::from(shard)] += 1;
                    self.waiting.retain(|item| item.shard != shard);
                    self.lanes.remove(|item| item.shard == shard);
                }
            }
            prop_assert_eq!(self.lanes.len(), self.waiting.len());
            prop_assert_eq!(self.lanes.is_ready(), self.startable() > 0, "nothing is stuck");
            Ok(())
        }

        fn finish(&mut self, index: usize) {
            let (lane, _) = self.under_way.remove(index);
            lane.into_iter().for_each(|lane| self.lanes.finish(lane));
        }

        fn start(&mut self) -> Result<(), TestCaseError> {
            let Some((lane, item)) = self.lanes.start() else { return Ok(()) };
            prop_assert!(self.waiting.remove(&item), "only what waits can start, and once");
            if let Some(group) = self.ordered_by(&item) {
                let same = |(_, other): &(_, Item)| self.ordered_by(other) == Some(group);
                prop_assert!(!self.under_way.iter().any(same), "one at a time");
                let last = self.last.insert(group, (item.epoch, item.place));
                prop_assert!(last.is_none_or(|last| last < (item.epoch, item.place)), "never backwards");
            }
            self.under_way.push((lane, item));
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn order_holds_and_nothing_is_stuck(
            order in prop_oneof![Just(Order::None), Just(Order::Key), Just(Order::Topic)],
            story in happenings(),
        ) {
            let mut play = Play::new(order);
            for happening in story {
                play.play(&happening)?;
            }
            while !play.waiting.is_empty() || !play.under_way.is_empty() {
                let startable = play.startable();
                prop_assert!(startable > 0 || !play.under_way.is_empty());
                for _ in 0..startable {
                    play.play(&Happening::Start)?;
                }
                prop_assert_eq!(play.startable(), 0, "other lanes never wait for a busy one");
                play.finish(0);
            }
            prop_assert!(play.lanes.lanes.is_empty(), "idle lanes are forgotten");
        }
    }
}
