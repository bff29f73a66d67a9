//! What a member that gathers waits for.

use std::ops::RangeInclusive;

use crate::subscription::consumer::Info;

/// What the broker waited for when it was asked: so many messages among these sequences.
pub(super) struct Awaited {
    messages: u64,
    among: RangeInclusive<u64>,
}

impl Awaited {
    /// Reads what the broker says of the consumer.
    pub(super) fn of(info: &Info) -> Self {
        let first = info.ack_floor.stream_seq.saturating_add(1);
        Self { messages: info.num_ack_pending, among: first..=info.delivered.stream_seq }
    }

    /// Returns how many of them are not held here. What came since does not stand for one of them.
    pub(super) fn missing<'a>(&self, held: impl Iterator<Item = &'a u64>) -> usize {
        let here = held.filter(|sequence| self.among.contains(sequence)).count();
        usize::try_from(self.messages).unwrap_or(usize::MAX).saturating_sub(here)
    }
}

impl Default for Awaited {
    /// Nothing is known yet.
    fn default() -> Self {
        Self { messages: 0, among: 0..=0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_what_came_since_nor_what_is_settled_stands_for_what_is_missing() {
        let awaited = Awaited { messages: 3, among: 4..=9 };
        assert_eq!(awaited.missing([3, 4, 10, 11].iter()), 2);
        assert_eq!(awaited.missing([4, 6, 9, 12].iter()), 0);
        assert_eq!(Awaited::default().missing([10].iter()), 0);
    }
}
