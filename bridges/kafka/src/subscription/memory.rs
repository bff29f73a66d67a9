//! What was settled here and the broker has not been told.
//!
//! While a broker is away nothing can be committed, and after a while the member has lost its
//! partitions. When it gets one back it reads again all that it settled meanwhile. But a message
//! that was accepted stays accepted, whoever owned its partition in between: so it is remembered,
//! and not handed out again if it is the same one. A log that has lost its end holds others at the
//! same offsets: hence the fingerprints.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use sidespan_bridge::Message;

/// Settlements of one partition that are in no commit yet, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Uncommitted(VecDeque<Entry>);

#[derive(Debug)]
struct Entry {
    offset: u64,
    version: u64,
    fingerprint: u64,
}

/// What was settled in a partition before it was lost.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Fingerprints by offset.
    settled: HashMap<u64, u64>,
    /// What the broker had committed by then.
    floor: u64,
}

impl Uncommitted {
    /// Notes a settlement.
    pub(super) fn note(&mut self, offset: u64, version: u64, message: &Message) {
        self.0.push_back(Entry { offset, version, fingerprint: fingerprint(message) });
    }

    /// Lets go of what is in a commit.
    pub(super) fn committed(&mut self, version: u64) {
        while self.0.front().is_some_and(|entry| entry.version <= version) {
            self.0.pop_front();
        }
    }
}

impl Memory {
    /// Adds what was settled since, up to when the broker had committed all below `floor`.
    pub(super) fn extend(&mut self, settled: Uncommitted, floor: u64) {
        self.floor = floor;
        self.settled.extend(settled.0.into_iter().map(|entry| (entry.offset, entry.fingerprint)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.settled.is_empty()
    }

    /// Returns what still holds where the partition goes on at `begin`. A group that goes back was moved while we
    /// were away, and what was settled before is to come again.
    pub(super) fn held_at(self, begin: u64) -> Self {
        if begin < self.floor { Self::default() } else { self }
    }

    /// Tells, once, whether this very message was settled.
    pub(super) fn recall(&mut self, offset: u64, message: &Message) -> bool {
        !self.settled.is_empty() && self.settled.remove(&offset) == Some(fingerprint(message))
    }
}

/// Two messages at the same offset of a log are the same if this is.
fn fingerprint(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.time.hash(&mut hasher);
    message.key.hash(&mut hasher);
    let payload = message.payload.as_deref();
    payload.map(<[u8]>::len).hash(&mut hasher);
    payload.map(|payload| payload.get(..SAMPLE).unwrap_or(payload)).hash(&mut hasher);
    hasher.finish()
}

/// As much of a payload as is looked at.
const SAMPLE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &'static str) -> Message {
        Message { payload: Some(payload.into()), ..Message::default() }
    }

    #[test]
    fn only_the_very_same_message_is_recalled_and_only_if_it_was_not_committed() {
        let mut settled = Uncommitted::default();
        for (offset, version) in [(5, 1), (3, 2), (4, 3)] {
            settled.note(offset, version, &message("one"));
        }
        settled.committed(1);
        let mut memory = Memory::default();
        memory.extend(settled, 3);
        let mut memory = memory.held_at(3);
        assert!(!memory.recall(5, &message("one")), "it is in a commit");
        assert!(!memory.recall(3, &message("another")), "the log holds another there now");
        assert!(memory.recall(4, &message("one")));
        assert!(memory.is_empty());
    }

    #[test]
    fn nothing_is_recalled_in_a_group_that_was_moved_back() {
        let mut settled = Uncommitted::default();
        settled.note(5, 1, &message("one"));
        let mut memory = Memory::default();
        memory.extend(settled, 4);
        assert!(memory.held_at(3).is_empty());
    }
}
