//! What waits and what is leased: pure bookkeeping, but for telling couriers how their letters fared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Amount, Lease, Unreplied};
use crate::delivery::letter::Letter;
use crate::delivery::target::Reply;

#[cfg(test)]
mod tests;

/// The letters of one shelf, by their numbers.
#[derive(Default)]
pub(super) struct State {
    pub(super) next: u64,
    /// In the order in which they came.
    pub(super) waiting: BTreeMap<u64, Waiting>,
    pub(super) leased: HashMap<u64, Leased>,
    /// When each lease ends.
    pub(super) ends: BTreeSet<(Instant, u64)>,
}

/// A letter that nobody has.
pub(super) struct Waiting {
    pub(super) letter: Arc<Letter>,
    pub(super) attempt: u32,
    pub(super) outcome: oneshot::Sender<Told>,
}

/// A letter that a consumer has.
pub(super) struct Leased {
    pub(super) letter: Arc<Letter>,
    pub(super) attempt: u32,
    pub(super) ends: Instant,
    pub(super) consumer: Option<u64>,
    pub(super) began: Instant,
    pub(super) outcome: oneshot::Sender<Told>,
}

/// What a courier is told of its letter.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) reply: Reply,
    /// How long a consumer had it.
    pub(super) took: Duration,
}

impl Leased {
    /// Tells its courier what came of it, and whether that still waits for it.
    pub(super) fn tell(self, reply: Reply) -> bool {
        let Self { letter, began, outcome, .. } = self;
        // The courier's is the last one then.
        drop(letter);
        outcome.send(Told { reply, took: began.elapsed() }).is_ok()
    }
}

impl State {
    /// Returns a number that nobody has.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Leases the oldest, as much as is asked for.
    pub(super) fn take(&mut self, consumer: Option<u64>, most: Amount, ends: Instant) -> Vec<Lease> {
        let mut leases = Vec::new();
        let began = Instant::now();
        let mut room = Some(most.bytes);
        while let Some(left) = room
            && leases.len() < most.messages
        {
            let Some(first) = self.waiting.first_entry() else { break };
            if first.get().outcome.is_closed() {
                first.remove();
                continue;
            }
            let weight = first.get().letter.message.weight();
            if weight > left && !leases.is_empty() {
                break;
            }
            room = left.checked_sub(weight);
            let (number, Waiting { letter, attempt, outcome }) = first.remove_entry();
            self.ends.insert((ends, number));
            let leased = Leased { letter: letter.clone(), attempt, ends, consumer, began, outcome };
            self.leased.insert(number, leased);
            leases.push(Lease { number, letter, attempt, ends });
        }
        leases
    }

    /// Ends a lease.
    pub(super) fn end(&mut self, number: u64) -> Option<Leased> {
        let leased = self.leased.remove(&number)?;
        self.ends.remove(&(leased.ends, number));
        Some(leased)
    }

    /// Ends the lease of a message that awaits a reply.
    pub(super) fn end_request(&mut self, number: u64) -> Result<Leased, Unreplied> {
        match self.leased.get(&number) {
            Some(leased) if leased.letter.message.reply_to.is_none() => Err(Unreplied::NotAwaited),
            Some(_) | None => self.end(number).ok_or(Unreplied::Ended),
        }
    }

    /// Undoes a lease; tells whether its letter waits again.
    pub(super) fn put_back(&mut self, number: u64) -> bool {
        let Some(Leased { letter, attempt, outcome, .. }) = self.end(number) else { return false };
        // Its courier waits only for leases any more.
        if letter.stop.is_cancelled() {
            return false;
        }
        self.waiting.insert(number, Waiting { letter, attempt, outcome });
        true
    }

    /// Lets a lease end at another time; tells whether there is one.
    pub(super) fn extend(&mut self, number: u64, ends: Instant) -> bool {
        let Some(leased) = self.leased.get_mut(&number) else { return false };
        self.ends.remove(&(leased.ends, number));
        leased.ends = ends;
        self.ends.insert((ends, number));
        true
    }

    /// Ends all leases whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((ends, number)) = self.ends.first().copied().filter(|(ends, _)| *ends <= now) {
            self.ends.remove(&(ends, number));
            if let Some(leased) = self.leased.remove(&number) {
                leased.tell(Reply::Unanswered("the lease ended".into()));
            }
        }
    }

    /// Ends all leases of a consumer.
    pub(super) fn leave(&mut self, consumer: u64) {
        let gone = self.leased.extract_if(|_, leased| leased.consumer == Some(consumer));
        for (number, leased) in gone {
            self.ends.remove(&(leased.ends, number));
            leased.tell(Reply::Unanswered("the consumer went away".into()));
        }
    }
}
