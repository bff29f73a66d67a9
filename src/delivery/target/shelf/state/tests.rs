//! What may happen to leases in any order, with lanes as the pump has them and couriers that only count.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use sidespan_bridge::{Order, Shard};
use tokio::sync::oneshot::error::TryRecvError;
use tokio_util::sync::CancellationToken;

use super::super::tests::letter;
use super::*;
use crate::delivery::lanes::{Lane, Lanes};

#[derive(Clone, Debug)]
enum Happening {
    Ack(Index),
    /// A verdict on a lease that has ended.
    AckLate(Index),
    Arrive {
        key: u8,
        size: usize,
    },
    /// What was lost before is not ours any more, leases included.
    CutOff,
    Extend(Index, u64),
    Leave(u64),
    /// The shard is lost: what is leased may be finished.
    Lose,
    Nack(Index, Option<u64>),
    Pass(u64),
    Pull {
        who: Option<u64>,
        most: Amount,
    },
    PutBack(Index),
    /// The subscription breaks and begins again.
    Restart,
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = any::<Index>;
    let most = (1..4_usize, 1..60_usize).prop_map(|(messages, bytes)| Amount { messages, bytes });
    let happening = prop_oneof![
        8 => (0..3_u8, 0..40_usize).prop_map(|(key, size)| Happening::Arrive { key, size }),
        8 => (prop::option::of(0..2_u64), most).prop_map(|(who, most)| Happening::Pull { who, most }),
        6 => one().prop_map(Happening::Ack),
        2 => one().prop_map(Happening::AckLate),
        3 => (one(), prop::option::of(0..2 * LEASE)).prop_map(|(which, delay)| Happening::Nack(which, delay)),
        2 => (one(), 1..2 * LEASE).prop_map(|(which, by)| Happening::Extend(which, by)),
        2 => one().prop_map(Happening::PutBack),
        4 => (1..LEASE).prop_map(Happening::Pass),
        1 => (0..2_u64).prop_map(Happening::Leave),
        1 => Just(Happening::Lose),
        1 => Just(Happening::CutOff),
        1 => Just(Happening::Restart),
    ];
    prop::collection::vec(happening, 0..120)
}

/// A message, and what has become of it.
struct Known {
    key: u8,
    size: usize,
    /// Attempts that were made and failed.
    failed: u32,
    done: Option<Done>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// Somebody acknowledged it.
    Acked,
    /// It is another member's.
    Lost,
}

/// A message on its way, in place of a courier.
struct Carried {
    message: usize,
    lane: Option<Lane>,
    stop: CancellationToken,
    stage: Stage,
}

enum Stage {
    /// It waits for its next attempt.
    Pausing { until: Instant },
    /// It is on the shelf, or leased.
    Posted { number: u64, told: oneshot::Receiver<Told> },
}

impl Carried {
    fn number(&self) -> Option<u64> {
        match self.stage {
            Stage::Pausing { .. } => None,
            Stage::Posted { number, .. } => Some(number),
        }
    }
}

/// A lease as its consumer knows it.
struct Held {
    message: usize,
    who: Option<u64>,
    ends: Instant,
}

/// Plays a story, and looks after each happening whether what was promised still holds.
struct Story {
    order: Order,
    state: State,
    lanes: Lanes<usize>,
    known: Vec<Known>,
    carried: Vec<Carried>,
    held: BTreeMap<u64, Held>,
    /// The numbers of leases that have ended.
    over: Vec<u64>,
    stop: CancellationToken,
    now: Instant,
}

impl Story {
    fn begin(order: Order) -> Self {
        Self {
            order,
            state: State::default(),
            lanes: Lanes::new(),
            known: Vec::new(),
            carried: Vec::new(),
            held: BTreeMap::new(),
            over: Vec::new(),
            stop: CancellationToken::new(),
            now: Instant::now(),
        }
    }

    fn happen(&mut self, happening: &Happening) -> Result<(), TestCaseError> {
        match happening {
            Happening::Ack(which) => self.say(self.one(which), Reply::Acked)?,
            Happening::AckLate(which) if !self.over.is_empty() => {
                let number = *which.get(&self.over);
                prop_assert!(self.state.end(number).is_none(), "acknowledged after the lease");
                prop_assert!(!self.state.extend(number, self.now) && !self.state.put_back(number));
            }
            Happening::AckLate(_) => {}
            Happening::Arrive { key, size } => {
                self.known.push(Known { key: *key, size: *size, failed: 0, done: None });
                self.arrive(self.known.len() - 1);
            }
            Happening::CutOff => self.cut_off(),
            Happening::Extend(which, by) => {
                let ends = self.now + Duration::from_millis(*by);
                if let Some(number) = self.one(which) {
                    prop_assert!(self.state.extend(number, ends));
                    self.held.entry(number).and_modify(|held| held.ends = ends);
                }
            }
            Happening::Leave(who) => {
                self.state.leave(*who);
                self.ended(|held| held.who == Some(*who));
            }
            Happening::Lose => self.lose(),
            Happening::Nack(which, delay) => {
                let delay = delay.map(Duration::from_millis);
                self.say(self.one(which), Reply::Nacked(delay))?;
            }
            Happening::Pass(time) => {
                self.now += Duration::from_millis(*time);
                let now = self.now;
                self.state.expire(now);
                self.ended(|held| held.ends <= now);
            }
            Happening::Pull { who, most } => self.pull(*who, *most)?,
            Happening::PutBack(which) => {
                if let Some(number) = self.one(which) {
                    let is_lost = self.find(number).is_some_and(|carried| carried.stop.is_cancelled());
                    prop_assert_eq!(self.state.put_back(number), !is_lost);
                    self.held.remove(&number);
                }
            }
            Happening::Restart => self.restart(),
        }
        self.work()?;
        self.look()
    }

    fn arrive(&mut self, message: usize) {
        let key = self.known[message].key;
        let key = (key > 0).then(|| Bytes::from(vec![key]));
        self.lanes.push(Lane::of(self.order, &Shard::new("0"), key.as_ref()), message);
    }

    fn one(&self, which: &Index) -> Option<u64> {
        let numbers: Vec<u64> = self.held.keys().copied().collect();
        (!numbers.is_empty()).then(|| *which.get(&numbers))
    }

    fn find(&self, number: u64) -> Option<&Carried> {
        self.carried.iter().find(|carried| carried.number() == Some(number))
    }

    fn ended(&mut self, is_over: impl Fn(&Held) -> bool) {
        self.over.extend(self.held.extract_if(.., |_, held| is_over(held)).map(|(number, _)| number));
    }

    /// Gives a verdict on a lease, which is there as long as nothing has ended it.
    fn say(&mut self, number: Option<u64>, reply: Reply) -> Result<(), TestCaseError> {
        let Some(number) = number else { return Ok(()) };
        let leased = self.state.end(number);
        prop_assert!(leased.is_some_and(|leased| leased.tell(reply)), "gone before its end");
        self.held.remove(&number);
        self.over.push(number);
        Ok(())
    }

    fn pull(&mut self, who: Option<u64>, most: Amount) -> Result<(), TestCaseError> {
        let ends = self.now + Duration::from_millis(LEASE);
        let leases = self.state.take(who, most, ends);
        let sum: usize = leases.iter().map(|lease| lease.letter.message.weight()).sum();
        prop_assert!(leases.len() <= most.messages && (sum <= most.bytes || leases.len() == 1));
        if let Some((_, next)) = self.state.waiting.first_key_value() {
            let is_too_much = !leases.is_empty() && sum + next.letter.message.weight() > most.bytes;
            prop_assert!(leases.len() == most.messages || is_too_much, "something is kept back");
        }
        for lease in leases {
            let carried = self.find(lease.number).expect("only what was posted is handed out");
            let (message, known) = (carried.message, &self.known[carried.message]);
            prop_assert!(!carried.stop.is_cancelled(), "{} is handed out and lost", message);
            prop_assert_eq!(known.done, None);
            prop_assert_eq!((lease.attempt, lease.ends), (known.failed + 1, ends));
            let others = self.held.values().any(|held| held.message == message);
            prop_assert!(!others, "{} has two holders", message);
            for (earlier, before) in self.known[..message].iter().enumerate() {
                let may_go = before.done.is_some() || !self.are_ordered(before, known);
                prop_assert!(may_go, "{} overtakes {}", message, earlier);
            }
            self.held.insert(lease.number, Held { message, who, ends });
        }
        Ok(())
    }

    fn are_ordered(&self, one: &Known, other: &Known) -> bool {
        match self.order {
            Order::Key => one.key > 0 && one.key == other.key,
            Order::None => false,
            Order::Topic => true,
        }
    }

    /// Nothing new begins with what there is. A courier takes back what nobody has.
    fn lose(&mut self) {
        std::mem::take(&mut self.stop).cancel();
        self.lanes.remove(|_| true);
        let state = &mut self.state;
        let gone = self.carried.extract_if(.., |carried| {
            carried.number().is_none_or(|number| state.waiting.remove(&number).is_some())
        });
        gone.filter_map(|carried| carried.lane).for_each(|lane| self.lanes.finish(lane));
        for (message, known) in self.known.iter_mut().enumerate() {
            let is_leased = self.carried.iter().any(|carried| carried.message == message);
            if known.done.is_none() && !is_leased {
                known.done = Some(Done::Lost);
            }
        }
    }

    /// Couriers are dropped, and their places on the shelf with them.
    fn cut_off(&mut self) {
        for carried in self.carried.extract_if(.., |carried| carried.stop.is_cancelled()) {
            if let Some(number) = carried.number() {
                self.state.end(number);
                self.over.extend(self.held.remove(&number).map(|_| number));
            }
            self.known[carried.message].done = Some(Done::Lost);
            carried.lane.into_iter().for_each(|lane| self.lanes.finish(lane));
        }
    }

    /// All leases end, and what is not settled comes again, in order.
    fn restart(&mut self) {
        self.cut_off();
        let next = self.state.next;
        self.state = State { next, ..State::default() };
        self.ended(|_| true);
        self.carried.clear();
        self.lanes = Lanes::new();
        for message in 0..self.known.len() {
            if self.known[message].done.is_none() {
                self.known[message].failed = 0;
                self.arrive(message);
            }
        }
    }

    /// Lets couriers hear what became of their letters, and post what may go.
    fn work(&mut self) -> Result<(), TestCaseError> {
        for mut carried in std::mem::take(&mut self.carried) {
            let known = &mut self.known[carried.message];
            let told = match &mut carried.stage {
                Stage::Pausing { .. } => Err(TryRecvError::Empty),
                Stage::Posted { told, .. } => told.try_recv().map(|told| told.reply),
            };
            match told {
                Ok(Reply::Acked) => known.done = Some(Done::Acked),
                Ok(_) if carried.stop.is_cancelled() => known.done = Some(Done::Lost),
                Ok(reply) => {
                    let delay = if let Reply::Nacked(Some(delay)) = reply { delay } else { RETRY };
                    known.failed += 1;
                    carried.stage = Stage::Pausing { until: self.now + delay };
                }
                Err(TryRecvError::Closed) => {
                    prop_assert!(carried.stop.is_cancelled(), "{} is forgotten", carried.message);
                    known.done = Some(Done::Lost);
                }
                Err(TryRecvError::Empty) => {}
            }
            if known.done.is_none() {
                self.carried.push(carried);
            } else {
                carried.lane.into_iter().for_each(|lane| self.lanes.finish(lane));
            }
        }
        self.post();
        Ok(())
    }

    fn post(&mut self) {
        let mut slots = SLOTS - self.carried.iter().filter(|carried| carried.number().is_some()).count();
        let mut carried = std::mem::take(&mut self.carried);
        for carried in &mut carried {
            let is_due = matches!(carried.stage, Stage::Pausing { until } if until <= self.now);
            if is_due && slots > 0 {
                carried.stage = self.put(carried.message, &carried.stop);
                slots -= 1;
            }
        }
        while slots > 0
            && let Some((lane, message)) = self.lanes.start()
        {
            let stop = self.stop.clone();
            let stage = self.put(message, &stop);
            carried.push(Carried { message, lane, stop, stage });
            slots -= 1;
        }
        self.carried = carried;
    }

    fn put(&mut self, message: usize, stop: &CancellationToken) -> Stage {
        let (outcome, told) = oneshot::channel();
        let known = &self.known[message];
        let (letter, attempt) = (letter(vec![0; known.size], stop), known.failed + 1);
        let number = self.state.number();
        self.state.waiting.insert(number, Waiting { letter, attempt, outcome });
        Stage::Posted { number, told }
    }

    /// What is leased is what consumers hold, and nothing is kept of what has ended.
    fn look(&self) -> Result<(), TestCaseError> {
        let leased: BTreeSet<u64> = self.state.leased.keys().copied().collect();
        prop_assert_eq!(&leased, &self.held.keys().copied().collect());
        let ends: BTreeSet<_> = self.held.iter().map(|(number, held)| (held.ends, *number)).collect();
        prop_assert_eq!(&self.state.ends, &ends);
        let waiting: BTreeSet<u64> = self.state.waiting.keys().copied().collect();
        prop_assert!(waiting.is_disjoint(&leased));
        let posted: BTreeSet<u64> = self.carried.iter().filter_map(Carried::number).collect();
        prop_assert_eq!(posted, &waiting | &leased);
        Ok(())
    }

    /// From here on one consumer takes everything and acknowledges it: all that is ours must get there.
    fn end(mut self) -> Result<(), TestCaseError> {
        let most = Amount { messages: usize::MAX, bytes: usize::MAX };
        // Leases that others hold must end first; then each round has one of every lane at least.
        for _ in 0..self.known.len() + 3 {
            self.happen(&Happening::Pull { who: None, most })?;
            while !self.held.is_empty() {
                self.say(self.held.keys().next().copied(), Reply::Acked)?;
            }
            self.happen(&Happening::Pass(2 * LEASE))?;
        }
        prop_assert_eq!(self.known.iter().position(|known| known.done.is_none()), None, "it is stuck");
        prop_assert!(self.state.waiting.is_empty() && self.carried.is_empty());
        Ok(())
    }
}

proptest! {
    #[test]
    fn no_message_has_two_holders_overtakes_its_key_or_is_stuck(
        order in prop_oneof![Just(Order::None), Just(Order::Key), Just(Order::Topic)],
        story in happenings(),
    ) {
        let mut told = Story::begin(order);
        for happening in &story {
            told.happen(happening)?;
        }
        told.end()?;
    }
}

/// How long a lease lasts, in milliseconds.
const LEASE: u64 = 100;
/// Between attempts, where a consumer names no time.
const RETRY: Duration = Duration::from_millis(20);
/// How many attempts run at a time.
const SLOTS: usize = 4;
