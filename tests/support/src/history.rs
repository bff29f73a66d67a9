//! What happened to keyed messages, and whether it was as promised.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tokio::time::Instant;

/// A message, known by its key and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// The key's number.
    pub key: usize,
    /// The place among the key's messages, from 0.
    pub number: usize,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.number)
    }
}

impl Order {
    /// Reads a body that a publisher wrote.
    pub fn read(body: &str) -> Self {
        let (key, number) = body.split_once(' ').expect("a body that this run published");
        Self { key: key.parse().expect("a key"), number: number.parse().expect("a number") }
    }
}

/// Every publish and every delivery attempt, in the order in which they were seen.
#[derive(Debug, Default)]
pub struct History {
    stored: BTreeMap<Order, usize>,
    publishes_failed: usize,
    attempts: Vec<Attempt>,
    accepted: BTreeMap<Order, usize>,
    dead: BTreeSet<Order>,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    order: Order,
    member: usize,
    accepted: bool,
    at: Instant,
}

/// The keys that a member served at some time.
#[derive(Clone, Debug)]
pub struct Served {
    member: usize,
    keys: BTreeSet<usize>,
    /// How many attempts there were until then.
    until: usize,
}

impl Served {
    /// Tells whether it served none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl History {
    /// Notes a publish that was answered 2xx.
    pub fn stored(&mut self, order: Order) {
        *self.stored.entry(order).or_default() += 1;
    }

    /// Notes a publish that was not answered 2xx; it is made again.
    pub fn publish_failed(&mut self) {
        self.publishes_failed += 1;
    }

    /// Notes a delivery attempt of a member (a sidecar), and whether the webhook answers 2xx.
    pub fn attempt(&mut self, order: Order, member: usize, accepted: bool) {
        self.attempts.push(Attempt { order, member, accepted, at: Instant::now() });
        if accepted {
            *self.accepted.entry(order).or_default() += 1;
        }
    }

    /// Notes a dead letter that is stored.
    pub fn dead(&mut self, letter: Order) {
        self.dead.insert(letter);
    }

    /// Returns how many messages were accepted or are dead letters.
    pub fn settled(&self) -> usize {
        self.accepted.len() + self.dead.iter().filter(|order| !self.accepted.contains_key(order)).count()
    }

    /// Returns how many different messages the webhook accepted.
    pub fn delivered(&self) -> usize {
        self.accepted.len()
    }

    /// Returns how many different messages were answered 2xx.
    pub fn published(&self) -> usize {
        self.stored.len()
    }

    /// Returns how many stored messages the webhook has not accepted yet.
    pub fn lead(&self) -> usize {
        self.stored.len().saturating_sub(self.accepted.len())
    }

    /// Returns the keys whose last attempt was this member's.
    pub fn served_by(&self, member: usize) -> Served {
        let last: BTreeMap<usize, usize> =
            self.attempts.iter().map(|attempt| (attempt.order.key, attempt.member)).collect();
        let keys = last.into_iter().filter(|(_, by)| *by == member).map(|(key, _)| key).collect();
        Served { member, keys, until: self.attempts.len() }
    }

    /// Returns when the last of the keys was attempted by another member; `None` if some wait yet.
    pub fn taken_over(&self, served: &Served) -> Option<Instant> {
        let mut waiting = served.keys.clone();
        let others =
            self.attempts.iter().skip(served.until).filter(|attempt| attempt.member != served.member);
        let mut taken = others.filter(|attempt| waiting.remove(&attempt.order.key));
        let last = taken.by_ref().last().map(|attempt| attempt.at);
        last.filter(|_| waiting.is_empty())
    }

    /// Checks every promise and returns the figures, or what was broken.
    pub fn check(&self, published: usize, faults: usize) -> Result<Figures, Vec<String>> {
        let mut broken = Vec::new();
        if self.stored.len() != published {
            broken.push(format!("{} of {published} messages were answered 2xx", self.stored.len()));
        }
        let is_settled = |order: &&Order| self.accepted.contains_key(order) || self.dead.contains(order);
        for order in self.stored.keys().filter(|order| !is_settled(order)) {
            broken.push(format!("lost: {order} was stored, and is neither accepted nor a dead letter"));
        }
        broken.extend(self.order_breaks());
        broken.truncate(20);
        if !broken.is_empty() {
            return Err(broken);
        }
        let accepts: usize = self.accepted.values().sum();
        Ok(Figures {
            published,
            faults,
            publishes_failed: self.publishes_failed,
            attempts: self.attempts.len(),
            repeats: accepts - self.accepted.len(),
            late: self.late(),
            dead: self.dead.len(),
        })
    }

    /// Counts the attempts that were made again after a later message of their key: what a receiver
    /// that does not drop repeats takes for a step back.
    fn late(&self) -> usize {
        let mut latest: BTreeMap<usize, usize> = BTreeMap::new();
        let is_late = |attempt: &&Attempt| {
            let latest = latest.entry(attempt.order.key).or_default();
            *latest = attempt.order.number.max(*latest);
            attempt.order.number < *latest
        };
        self.attempts.iter().filter(is_late).count()
    }

    /// Within a key, a message is first attempted only after all earlier ones were accepted or
    /// became dead letters, which takes an attempt.
    fn order_breaks(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut accepted_up_to: BTreeMap<usize, usize> = BTreeMap::new();
        let mut attempted: BTreeSet<Order> = BTreeSet::new();
        for attempt in &self.attempts {
            let Order { key, number } = attempt.order;
            let next = accepted_up_to.entry(key).or_default();
            let given_up = |number| {
                let order = Order { key, number };
                self.dead.contains(&order) && attempted.contains(&order)
            };
            while number > *next && given_up(*next) {
                *next += 1;
            }
            attempted.insert(attempt.order);
            if number > *next {
                broken
                    .push(format!("order: {} was attempted before {key} {next} was accepted", attempt.order));
            }
            if attempt.accepted && number == *next {
                *next += 1;
            }
        }
        broken
    }
}

/// The figures of a run that kept its promises.
#[derive(Debug)]
pub struct Figures {
    published: usize,
    faults: usize,
    publishes_failed: usize,
    attempts: usize,
    repeats: usize,
    late: usize,
    dead: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { published, faults, publishes_failed, attempts, repeats, late, dead } = self;
        write!(
            f,
            "{published} stored and delivered, none lost, none out of order; {faults} faults; \
             {publishes_failed} publishes tried again; {attempts} attempts; {repeats} accepted again; {late} repeats came after a later message; {dead} dead letters"
        )
    }
}

#[test]
fn the_checker_sees_a_loss_a_jump_and_a_repeat() {
    let order = |number| Order { key: 1, number };
    let mut lost = History::default();
    lost.stored(order(0));
    assert!(lost.check(1, 0).unwrap_err()[0].starts_with("lost"));

    let mut jump = History::default();
    for number in [1, 0] {
        jump.stored(order(number));
        jump.attempt(order(number), 0, true);
    }
    assert!(jump.check(2, 0).unwrap_err()[0].starts_with("order"));

    let mut repeat = History::default();
    for number in [0, 1] {
        repeat.stored(order(number));
    }
    for (number, accepted) in [(0, false), (0, true), (1, true), (0, true), (1, true)] {
        repeat.attempt(order(number), 0, accepted);
    }
    let figures = repeat.check(2, 1).unwrap();
    assert_eq!((figures.repeats, figures.late), (2, 1));

    let mut dead = History::default();
    for (number, accepted) in [(0, false), (1, true)] {
        dead.stored(order(number));
        dead.attempt(order(number), 0, accepted);
    }
    assert_eq!(dead.check(2, 0).unwrap_err().len(), 2, "lost, and out of order");
    dead.dead(order(0));
    assert_eq!(dead.check(2, 0).unwrap().dead, 1);
}

#[test]
fn a_take_over_is_over_when_every_key_has_been_attempted_by_another() {
    let mut history = History::default();
    let order = |key, number| Order { key, number };
    for (key, member) in [(1, 0), (2, 0), (3, 1), (4, 0), (4, 1)] {
        history.attempt(order(key, 0), member, true);
    }
    let served = history.served_by(0);
    assert_eq!(served.keys, BTreeSet::from([1, 2]));
    for (key, member) in [(2, 1), (1, 0), (3, 1)] {
        history.attempt(order(key, 1), member, true);
        assert_eq!(history.taken_over(&served), None);
    }
    history.attempt(order(1, 1), 1, true);
    assert!(history.taken_over(&served).is_some());
}
