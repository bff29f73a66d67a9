//! What happened to keyed messages, and whether it was as promised.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

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
    refusals: Refusals,
    slowest: Duration,
    attempts: Vec<Attempt>,
    accepted: BTreeMap<Order, usize>,
    /// How often what has this `webhook-id` was accepted.
    ids: BTreeMap<Box<str>, usize>,
    dead: BTreeSet<Order>,
    kills: Vec<Instant>,
    any_order: bool,
}

/// Publishes that were not answered 2xx, by what the publisher knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Answered 408, 429 or 503: not stored.
    pub not_stored: usize,
    /// Answered 504: perhaps stored.
    pub unknown: usize,
    /// Answered otherwise.
    pub other: usize,
    /// Not answered: perhaps stored.
    pub unanswered: usize,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    order: Order,
    member: usize,
    accepted: bool,
    at: Instant,
    /// How long the webhook takes to answer.
    takes: Duration,
}

/// What a webhook makes of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// It answers 2xx.
    pub accepted: bool,
    /// How long it takes to answer.
    pub takes: Duration,
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

    /// Notes a publish that was not answered 2xx, and with which status; it is made again.
    pub fn publish_failed(&mut self, status: Option<u16>) {
        let Refusals { not_stored, unknown, other, unanswered } = &mut self.refusals;
        *match status {
            Some(408 | 429 | 503) => not_stored,
            Some(504) => unknown,
            Some(_) => other,
            None => unanswered,
        } += 1;
    }

    /// Notes how long a publish took that was answered.
    pub fn answered(&mut self, took: Duration) {
        self.slowest = self.slowest.max(took);
    }

    /// Notes a delivery attempt of a member (a sidecar) with a `webhook-id`.
    pub fn attempt(&mut self, order: Order, id: &str, member: usize, taken: Taken) {
        let Taken { accepted, takes } = taken;
        self.attempts.push(Attempt { order, member, accepted, at: Instant::now(), takes });
        if accepted {
            *self.accepted.entry(order).or_default() += 1;
            *self.ids.entry(id.into()).or_default() += 1;
        }
    }

    /// Notes a dead letter that is stored.
    pub fn dead(&mut self, letter: Order) {
        self.dead.insert(letter);
    }

    /// Takes messages in any order: none was promised.
    pub fn in_any_order(&mut self) {
        self.any_order = true;
    }

    /// Notes that a sidecar was killed.
    pub fn killed(&mut self) {
        self.kills.push(Instant::now());
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

    /// Returns the publishes until now that were not answered 2xx.
    pub fn refusals(&self) -> Refusals {
        self.refusals
    }

    /// Returns how many attempts were made until now.
    pub fn attempts(&self) -> usize {
        self.attempts.len()
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

    /// Returns, for each attempt that took as long as `slow` and was over by now, how many other keys
    /// were attempted meanwhile.
    pub fn meanwhile(&self, slow: Duration) -> Vec<usize> {
        let now = Instant::now();
        let over = |attempt: &&Attempt| attempt.takes >= slow && attempt.at + attempt.takes < now;
        let others = |slow: &Attempt| {
            let end = slow.at + slow.takes;
            let during = self.attempts.iter().filter(|other| other.at > slow.at && other.at < end);
            let keys: BTreeSet<usize> = during.map(|other| other.order.key).collect();
            keys.iter().filter(|key| **key != slow.order.key).count()
        };
        self.attempts.iter().filter(over).map(others).collect()
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
        if !self.any_order {
            broken.extend(self.order_breaks());
        }
        broken.truncate(20);
        if !broken.is_empty() {
            return Err(broken);
        }
        Ok(Figures {
            published,
            faults,
            refusals: self.refusals,
            slowest: self.slowest,
            attempts: self.attempts.len(),
            repeats: self.ids.values().map(|accepted| accepted - 1).sum(),
            copies: self.ids.len() - self.accepted.len(),
            late: self.late(),
            dead: self.dead.len(),
            kills: self.kills.len(),
            uncommitted: self.uncommitted(),
        })
    }

    /// Counts what was accepted so shortly before a kill that the broker need not know of it.
    fn uncommitted(&self) -> usize {
        let shortly_before = |at: Instant| self.kills.iter().any(|kill| at <= *kill && at + COMMIT > *kill);
        self.attempts.iter().filter(|attempt| attempt.accepted && shortly_before(attempt.at)).count()
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
#[derive(Clone, Debug)]
pub struct Figures {
    /// How many messages were answered 2xx.
    pub published: usize,
    /// How many faults there were.
    pub faults: usize,
    /// The publishes that were made again.
    pub refusals: Refusals,
    /// The longest that a publisher waited for an answer.
    pub slowest: Duration,
    /// How many attempts the webhook saw.
    pub attempts: usize,
    /// How often something was accepted again under the same `webhook-id`.
    pub repeats: usize,
    /// How many messages are there twice, since publishers tried again what may have been stored.
    pub copies: usize,
    /// How many attempts came after a later message of their key.
    pub late: usize,
    /// How many dead letters were stored.
    pub dead: usize,
    /// How often a sidecar was killed.
    pub kills: usize,
    /// What was accepted within the last 100 ms before those kills.
    pub uncommitted: usize,
}

impl Figures {
    /// Returns how many repeats the kills of the sidecar excuse, with windows of `held` messages.
    pub fn excused(&self, held: usize) -> usize {
        self.kills * held + self.uncommitted
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { published, faults, refusals, slowest, attempts, repeats, copies, late, dead, .. } = self;
        let Refusals { not_stored, unknown, other, unanswered } = refusals;
        write!(
            f,
            "{published} stored and delivered, none lost, none out of order; {faults} faults; publishes tried \
             again: {not_stored} not stored, {unknown} unknown, {unanswered} unanswered, {other} other, slowest \
             answer {slowest:.1?}; {attempts} attempts; {repeats} accepted again, {copies} stored twice; \
             {late} came after a later message; {dead} dead letters"
        )
    }
}

/// How often settlements are committed.
const COMMIT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Taken = Taken { accepted: true, takes: Duration::ZERO };
    const NO: Taken = Taken { accepted: false, takes: Duration::ZERO };

    fn order(number: usize) -> Order {
        Order { key: 1, number }
    }

    #[test]
    fn the_checker_sees_a_loss_a_jump_and_a_repeat() {
        let mut lost = History::default();
        lost.stored(order(0));
        assert!(lost.check(1, 0).unwrap_err()[0].starts_with("lost"));

        let mut jump = History::default();
        for number in [1, 0] {
            jump.stored(order(number));
            jump.attempt(order(number), "", 0, OK);
        }
        assert!(jump.check(2, 0).unwrap_err()[0].starts_with("order"));

        let mut dead = History::default();
        for (number, taken) in [(0, NO), (1, OK)] {
            dead.stored(order(number));
            dead.attempt(order(number), "", 0, taken);
        }
        assert_eq!(dead.check(2, 0).unwrap_err().len(), 2, "lost, and out of order");
        dead.dead(order(0));
        assert_eq!(dead.check(2, 0).unwrap().dead, 1);
    }

    #[test]
    fn a_repeat_has_the_same_id_and_what_was_stored_twice_another() {
        let mut history = History::default();
        for number in [0, 1] {
            history.stored(order(number));
        }
        let story = [(0, "a", NO), (0, "a", OK), (1, "b", OK), (0, "a", OK), (1, "b", OK), (1, "c", OK)];
        for (number, id, taken) in story {
            history.attempt(order(number), id, 0, taken);
        }
        history.killed();
        let figures = history.check(2, 1).unwrap();
        assert_eq!((figures.repeats, figures.copies, figures.late), (2, 1, 1));
        assert_eq!(figures.excused(10), 15, "a window, and five that were just accepted");
    }

    #[test]
    fn a_take_over_is_over_when_every_key_has_been_attempted_by_another() {
        let mut history = History::default();
        let order = |key, number| Order { key, number };
        for (key, member) in [(1, 0), (2, 0), (3, 1), (4, 0), (4, 1)] {
            history.attempt(order(key, 0), "", member, OK);
        }
        let served = history.served_by(0);
        assert_eq!(served.keys, BTreeSet::from([1, 2]));
        for (key, member) in [(2, 1), (1, 0), (3, 1)] {
            history.attempt(order(key, 1), "", member, OK);
            assert_eq!(history.taken_over(&served), None);
        }
        history.attempt(order(1, 1), "", 1, OK);
        assert!(history.taken_over(&served).is_some());
    }
}
