//! Follows ordered messages over all members that work on them.
//!
//! A message's body is `<key> <n>`. A worker attempts and accepts what it is given, at once and in
//! the order it is given; the ledger panics as soon as a key goes backwards or forwards other than
//! as a repeat: whatever a member attempts, everything ahead of it was accepted before.

use std::collections::BTreeMap;

use tokio::sync::watch;

use super::inbox::{Inbox, body, keyed};
use crate::{Delivery, Message, Verdict};

/// What was accepted so far.
pub(super) struct Ledger(watch::Sender<Accepted>);

/// The next number of each key, and how many repeats there were.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    next: BTreeMap<String, usize>,
    pub(super) repeats: usize,
}

impl Accepted {
    /// How many messages were accepted, repeats aside.
    pub(super) fn count(&self) -> usize {
        self.next.values().sum()
    }
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Accepted::default()))
    }

    /// Attempts a delivery and accepts it.
    pub(super) fn attempt(&self, member: &str, delivery: Delivery) {
        let body = body(&delivery);
        let (key, n) = body.split_once(' ').expect("a body of the ledger's");
        let n: usize = n.parse().expect("a number");
        let mut broken = None;
        self.0.send_modify(|accepted| {
            let next = accepted.next.entry(key.to_owned()).or_default();
            if n > *next {
                broken = Some(*next);
            } else if n == *next {
                *next += 1;
            } else {
                accepted.repeats += 1;
            }
        });
        if let Some(next) = broken {
            panic!("{member} was given number {n} of key {key}, but number {next} was never accepted");
        }
        drop(delivery.ack.settle(Verdict::Accept));
    }

    /// Works until so many messages are accepted by all members together. What comes of the `stalled`
    /// key is neither attempted nor settled; it is returned, in order.
    pub(super) async fn work(
        &self,
        member: &str,
        inbox: &mut Inbox,
        until: usize,
        stalled: Option<&str>,
    ) -> Vec<Delivery> {
        let mut held = Vec::new();
        let mut accepted = self.0.subscribe();
        loop {
            tokio::select! {
                biased;
                _ = accepted.wait_for(|accepted| accepted.count() >= until) => return held,
                delivery = inbox.next() => {
                    let delivery = delivery.expect("an open subscription");
                    if stalled.is_some_and(|key| delivery.message.key.as_deref() == Some(key.as_bytes())) {
                        held.push(delivery);
                    } else {
                        self.attempt(member, delivery);
                    }
                }
            }
        }
    }

    /// Waits until so many messages are accepted.
    pub(super) async fn reaches(&self, count: usize) {
        let mut accepted = self.0.subscribe();
        drop(accepted.wait_for(|accepted| accepted.count() >= count).await);
    }

    pub(super) fn count(&self) -> usize {
        self.0.borrow().count()
    }

    /// Says, for a message, what was accepted so far.
    pub(super) fn state(&self) -> String {
        format!("{:?}", self.0.borrow())
    }
}

/// Messages of `keys` keys, in turn, with the numbers `from..to` each.
pub(super) fn rounds(keys: usize, from: usize, to: usize) -> Vec<Message> {
    (from..to)
        .flat_map(|n| (0..keys).map(move |key| keyed(&format!("k{key}"), format!("k{key} {n}"))))
        .collect()
}
