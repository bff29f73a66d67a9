//! What the broker has confirmed as accepted, in case it forgets.
//!
//! A server that is killed loses the acknowledgements of its last moments, though it had confirmed them, and
//! delivers those messages again. As long as this member lives they are acknowledged again instead.
//!
//! A stream that is made anew counts from 1 again: so a message is one of these only if the stream took it no
//! later than the last of its range.

use std::collections::BTreeMap;
use std::time::SystemTime;

/// Sequences that were accepted, as ranges without a gap.
#[derive(Default)]
pub(super) struct Accepted {
    /// By its first: the last of a range, and when the stream took that.
    ranges: BTreeMap<u64, (u64, SystemTime)>,
    /// Everything up to here was settled at the broker when it was asked last.
    floor: u64,
}

impl Accepted {
    /// Notes a message, and when the stream took it.
    pub(super) fn note(&mut self, sequence: u64, time: SystemTime) {
        if self.range_of(sequence).is_some() {
            return;
        }
        let mut range = (sequence, (sequence, time));
        if let Some((first, (last, before))) = self.ranges.range(..sequence).next_back()
            && last + 1 == sequence
        {
            range = (*first, (sequence, time.max(*before)));
        }
        if let Some((last, after)) = self.ranges.remove(&sequence.saturating_add(1)) {
            range.1 = (last, after.max(range.1.1));
        }
        self.ranges.insert(range.0, range.1);
        if self.ranges.len() > MOST {
            self.ranges.pop_first();
        }
    }

    /// Tells whether a message that comes is one of these.
    pub(super) fn holds(&self, sequence: u64, time: SystemTime) -> bool {
        self.range_of(sequence).is_some_and(|latest| time <= latest)
    }

    /// The broker has settled everything up to `floor`. What it said so of when it was asked before is on its
    /// disk by now, and forgotten here. Tells whether something is left.
    pub(super) fn settled(&mut self, floor: u64) -> bool {
        let old = std::mem::replace(&mut self.floor, floor).min(floor);
        while let Some(first) = self.ranges.first_entry().filter(|first| *first.key() <= old) {
            let (last, latest) = first.remove();
            if last > old {
                self.ranges.insert(old + 1, (last, latest));
            }
        }
        !self.ranges.is_empty()
    }

    /// Returns when the last of the range that holds a sequence was taken.
    fn range_of(&self, sequence: u64) -> Option<SystemTime> {
        let (_, (last, latest)) = self.ranges.range(..=sequence).next_back()?;
        (sequence <= *last).then_some(*latest)
    }
}

/// Where other subjects lie between there are many ranges, and the oldest are forgotten.
const MOST: usize = 8_192;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn accepted(sequences: impl IntoIterator<Item = u64>) -> Accepted {
        let mut accepted = Accepted::default();
        sequences.into_iter().for_each(|sequence| accepted.note(sequence, at(sequence)));
        accepted
    }

    #[test]
    fn what_was_noted_in_any_order_is_held_and_nothing_else() {
        let accepted = accepted([5, 3, 9, 4, 1, 8, 3]);
        let held: Vec<u64> = (0..12).filter(|sequence| accepted.holds(*sequence, at(*sequence))).collect();
        assert_eq!(held, [1, 3, 4, 5, 8, 9]);
        assert_eq!(accepted.ranges.len(), 3);
    }

    #[test]
    fn a_message_of_a_stream_that_was_made_anew_is_another_one() {
        let accepted = accepted(1..=9);
        assert!(accepted.holds(2, at(2)) && !accepted.holds(2, at(10)));
    }

    #[test]
    fn what_was_below_the_floor_the_time_before_is_forgotten() {
        let mut accepted = accepted((1..=9).filter(|sequence| *sequence != 5));
        accepted.settled(4);
        assert!(accepted.holds(4, at(4)), "it may not be on the disk yet");
        accepted.settled(7);
        assert!(!accepted.holds(4, at(4)) && accepted.holds(6, at(6)));
        // A floor that fell tells of what the broker forgot.
        accepted.settled(1);
        accepted.settled(8);
        assert!(accepted.holds(6, at(6)));
        accepted.settled(9);
        assert!(
            !accepted.holds(8, at(8)) && accepted.holds(9, at(9)),
            "a range is forgotten as far as it is old"
        );
        assert!(!accepted.settled(9), "nothing is left");
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let most = u64::try_from(MOST).unwrap();
        let accepted = accepted((0..=most).map(|n| n * 2));
        assert_eq!(accepted.ranges.len(), MOST);
        assert!(!accepted.holds(0, at(0)) && accepted.holds(2, at(2)));
    }
}
