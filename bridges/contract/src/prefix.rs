//! What of a log is settled, as far as it is contiguous.

use std::collections::VecDeque;

/// Follows one shard of a log: which messages were received, and which of them are settled.
///
/// *Contiguous* means contiguous in what was received: logs have gaps (compaction, aborted
/// transactions, other topics), and what never came need not be settled. The position to commit
/// never passes an unsettled message.
#[derive(Clone, Debug)]
pub struct Prefix {
    /// Everything before this is settled; what to commit.
    floor: u64,
    /// Received from `floor` on, ascending, the first one unsettled.
    window: VecDeque<Entry>,
    unsettled: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    sequence: u64,
    settled: bool,
}

impl Prefix {
    /// Begins at the first sequence that is not settled yet.
    pub fn new(floor: u64) -> Self {
        Self { floor, window: VecDeque::new(), unsettled: 0 }
    }

    /// Notes a message that was received. Sequences below or equal to an earlier one are ignored,
    /// and the answer is then `false`.
    pub fn receive(&mut self, sequence: u64) -> bool {
        let last = self.window.back().map(|entry| entry.sequence);
        if sequence < self.floor || last.is_some_and(|last| sequence <= last) {
            return false;
        }
        self.window.push_back(Entry { sequence, settled: false });
        self.unsettled += 1;
        true
    }

    /// Notes that a message is settled; tells whether that was news.
    pub fn settle(&mut self, sequence: u64) -> bool {
        let Ok(index) = self.window.binary_search_by_key(&sequence, |entry| entry.sequence) else {
            return false;
        };
        let Some(entry) = self.window.get_mut(index).filter(|entry| !entry.settled) else {
            return false;
        };
        entry.settled = true;
        self.unsettled -= 1;
        while let Some(first) = self.window.front().filter(|entry| entry.settled) {
            self.floor = first.sequence + 1;
            self.window.pop_front();
        }
        true
    }

    /// Notes that everything before `end` was received or does not exist, so that trailing gaps
    /// can be passed. Has no effect while a message is unsettled.
    pub fn reach(&mut self, end: u64) {
        if self.window.is_empty() {
            self.floor = self.floor.max(end);
        }
    }

    /// Returns the position to commit: the first message that is not settled.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Returns what is settled beyond the floor, ascending.
    pub fn beyond(&self) -> impl Iterator<Item = u64> {
        self.window.iter().filter(|entry| entry.settled).map(|entry| entry.sequence)
    }

    /// Tells whether a message is settled. What was never received is not.
    pub fn is_settled(&self, sequence: u64) -> bool {
        sequence < self.floor
            || self
                .window
                .binary_search_by_key(&sequence, |entry| entry.sequence)
                .ok()
                .and_then(|index| self.window.get(index))
                .is_some_and(|entry| entry.settled)
    }

    /// Returns how many received messages are not settled.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Returns how far the window is stretched: settled and unsettled messages from the floor on.
    pub fn span(&self) -> usize {
        self.window.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn trailing_gaps_are_passed_only_when_all_is_settled() {
        let mut prefix = Prefix::new(0);
        prefix.receive(3);
        prefix.reach(10);
        assert_eq!(prefix.floor(), 0);
        prefix.settle(3);
        assert_eq!(prefix.floor(), 4);
        prefix.reach(10);
        assert_eq!(prefix.floor(), 10);
    }

    proptest! {
        #[test]
        fn the_floor_never_passes_an_unsettled_message_and_always_reaches_the_first(
            gaps in prop::collection::vec(1_u64..4, 1..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
        ) {
            let mut prefix = Prefix::new(0);
            let mut sequence = 0;
            let sequences: Vec<u64> = gaps.iter().map(|gap| { sequence += gap; sequence }).collect();
            for sequence in &sequences {
                prop_assert!(prefix.receive(*sequence));
                prop_assert!(!prefix.receive(*sequence));
            }
            let mut open: BTreeSet<u64> = sequences.iter().copied().collect();
            for pick in order {
                let sequence = *pick.get(&sequences);
                prop_assert_eq!(prefix.settle(sequence), open.remove(&sequence));
                let first = open.first().copied();
                let floor = prefix.floor();
                prop_assert!(first.is_none_or(|first| floor <= first));
                prop_assert!(sequences.iter().filter(|s| **s < floor).all(|s| !open.contains(s)));
                if let Some(first) = first {
                    let before = sequences.iter().filter(|s| **s < first).max();
                    prop_assert_eq!(floor, before.map_or(0, |before| before + 1));
                }
                prop_assert_eq!(prefix.unsettled(), open.len());
                let beyond: Vec<u64> = prefix.beyond().collect();
                let expected: Vec<u64> =
                    sequences.iter().copied().filter(|s| *s >= floor && !open.contains(s)).collect();
                prop_assert_eq!(beyond, expected);
            }
        }
    }
}
