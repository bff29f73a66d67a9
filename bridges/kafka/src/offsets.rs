//! What is settled beyond the committed offset, written beside it.
//!
//! Kafka keeps one number for a partition: everything before it is done. What is done beyond it
//! goes into the offset's metadata, so that a member that takes over repeats little. The text holds
//! a version, the cluster, the topic and partition, the offset it belongs to, the skip set, and a
//! checksum. If anything is not as it should be (a mirrored offset, another program's text, another
//! version), the skip set is ignored: messages come again, and none is lost.
//!
//! The topic's id and the leader epoch would say more than its name, but the client library
//! does not show them. Kafka forgets a group's offsets together with a topic that is deleted, so a
//! topic that was made anew under an old name comes without metadata.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// The partition that an offset is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The cluster's own id.
    pub(crate) cluster: &'a str,
    /// The topic's name.
    pub(crate) topic: &'a str,
    /// The partition's number.
    pub(crate) partition: i32,
}

/// Offsets that are settled though earlier ones are not: ascending ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SkipSet(Vec<Range>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    begin: u64,
    end: u64,
}

/// Metadata for a commit, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// What goes to the broker.
    pub(crate) text: String,
    /// All that is settled below this is said. Beyond it the text had no room.
    pub(crate) covers: u64,
}

impl SkipSet {
    /// Collects settled offsets; they must ascend.
    pub(crate) fn collect(offsets: impl IntoIterator<Item = u64>) -> Self {
        let mut ranges: Vec<Range> = Vec::new();
        for offset in offsets {
            match ranges.last_mut().filter(|last| last.end == offset) {
                Some(last) => last.end += 1,
                None => ranges.push(Range { begin: offset, end: offset.saturating_add(1) }),
            }
        }
        Self(ranges)
    }

    /// Tells whether an offset is in the set.
    pub(crate) fn contains(&self, offset: u64) -> bool {
        let index = self.0.partition_point(|range| range.end <= offset);
        self.0.get(index).is_some_and(|range| range.begin <= offset)
    }

    /// Counts the offsets of the set that are below `end`.
    pub(crate) fn count_below(&self, end: u64) -> u64 {
        self.0.iter().map(|range| range.end.min(end).saturating_sub(range.begin)).sum()
    }

    /// Lets go of everything before `offset`.
    pub(crate) fn forget_before(&mut self, offset: u64) {
        self.0.retain_mut(|range| {
            range.begin = range.begin.max(offset);
            range.begin < range.end
        });
    }

    /// Returns this set with a later one behind it: `later` begins where this one ends, or after.
    pub(crate) fn followed_by(mut self, later: &Self) -> Self {
        for range in &later.0 {
            match self.0.last_mut().filter(|last| last.end == range.begin) {
                Some(last) => last.end = range.end,
                None => self.0.push(*range),
            }
        }
        self
    }

    /// Writes the set for the offset `base`, as far as `limit` bytes of text go.
    pub(crate) fn write(&self, place: Place<'_>, base: u64, limit: usize) -> Written {
        let head = format!("{VERSION} {} {}/{} {base} ", place.cluster, place.topic, place.partition);
        let room = limit.saturating_sub(head.len() + 1 + CHECKSUM) / 4 * 3;
        let (mut bytes, mut covers, mut position) = (Vec::new(), u64::MAX, base);
        for range in &self.0 {
            let length = bytes.len();
            put(&mut bytes, range.begin.saturating_sub(position));
            put(&mut bytes, range.end - range.begin);
            if bytes.len() > room {
                bytes.truncate(length);
                covers = range.begin;
                break;
            }
            position = range.end;
        }
        let mut text = head;
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        let checksum = checksum(&text);
        text.push(' ');
        text.push_str(&checksum);
        if text.len() > limit {
            return Written { text: String::new(), covers: base };
        }
        Written { text, covers }
    }

    /// Reads what was written for exactly this place and offset; `None` if it was not.
    pub(crate) fn read(text: &str, place: Place<'_>, base: u64) -> Option<Self> {
        let (body, found) = text.rsplit_once(' ')?;
        if found != checksum(body) {
            return None;
        }
        let head = format!("{VERSION} {} {}/{} {base} ", place.cluster, place.topic, place.partition);
        let bytes = URL_SAFE_NO_PAD.decode(body.strip_prefix(&head)?).ok()?;
        let (mut rest, mut ranges, mut position) = (bytes.as_slice(), Vec::new(), base);
        while !rest.is_empty() {
            let begin = position.checked_add(get(&mut rest)?)?;
            let end = begin.checked_add(get(&mut rest)?)?;
            if end <= begin {
                return None;
            }
            ranges.push(Range { begin, end });
            position = end;
        }
        Some(Self(ranges))
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

fn get(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn checksum(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(CHECKSUM / 2).map(|byte| format!("{byte:02x}")).collect()
}

const VERSION: &str = "sidespan/1";
/// Characters of the checksum.
const CHECKSUM: usize = 16;
/// What a broker takes unless told otherwise (`offset.metadata.max.bytes`).
pub(crate) const METADATA_LIMIT: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const PLACE: Place<'static> = Place { cluster: "c1", topic: "orders", partition: 3 };

    #[test]
    fn anything_that_differs_is_ignored() {
        let set = SkipSet::collect([12, 13, 20]);
        let text = set.write(PLACE, 10, METADATA_LIMIT).text;
        assert_eq!(SkipSet::read(&text, PLACE, 10), Some(set));
        assert_eq!(SkipSet::read(&text, PLACE, 11), None);
        assert_eq!(SkipSet::read(&text, Place { cluster: "c2", ..PLACE }, 10), None);
        assert_eq!(SkipSet::read(&text, Place { topic: "order", ..PLACE }, 10), None);
        assert_eq!(SkipSet::read(&text, Place { partition: 4, ..PLACE }, 10), None);
        assert_eq!(SkipSet::read(&text.replace("sidespan/1", "sidespan/2"), PLACE, 10), None);
        assert_eq!(SkipSet::read("", PLACE, 10), None);
        assert_eq!(SkipSet::read("NO_METADATA", PLACE, 10), None);
    }

    #[test]
    fn a_set_that_does_not_fit_is_cut_and_says_where() {
        let set = SkipSet::collect((0..100_000).map(|n| 11 + n * 2));
        let written = set.write(PLACE, 10, METADATA_LIMIT);
        assert!(written.text.len() <= METADATA_LIMIT && written.text.len() > METADATA_LIMIT - 8);
        let read = SkipSet::read(&written.text, PLACE, 10).unwrap();
        assert!(read.contains(written.covers - 2) && !read.contains(written.covers));
        assert!(set.contains(written.covers));
    }

    #[test]
    fn a_name_that_leaves_no_room_leaves_no_text() {
        let written = SkipSet::collect([12]).write(PLACE, 10, 20);
        assert_eq!(written, Written { text: String::new(), covers: 10 });
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            base in 0u64..1 << 62,
            gaps in proptest::collection::vec(1u64..500, 0..300),
            limit in 60usize..4096,
        ) {
            let mut at = base;
            let offsets: BTreeSet<u64> = gaps.iter().map(|gap| { at += gap; at }).collect();
            let set = SkipSet::collect(offsets.iter().copied());
            let written = set.write(PLACE, base, limit);
            prop_assert!(written.text.len() <= limit);
            let read = SkipSet::read(&written.text, PLACE, base).unwrap_or_default();
            for offset in base..at + 2 {
                let said = offsets.contains(&offset) && offset < written.covers;
                prop_assert_eq!(read.contains(offset), said, "{}", offset);
            }
        }

        #[test]
        fn garbage_is_ignored(text in ".{0,300}", base in any::<u64>()) {
            prop_assert_eq!(SkipSet::read(&text, PLACE, base), None);
        }

        #[test]
        fn garbage_with_a_good_checksum_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), base in any::<u64>()) {
            let mut text = format!("{VERSION} c1 orders/3 {base} ");
            URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
            let sum = checksum(&text);
            let text = format!("{text} {sum}");
            if let Some(set) = SkipSet::read(&text, PLACE, base) {
                prop_assert!(set.0.iter().all(|range| range.begin < range.end));
            }
        }

        #[test]
        fn forgetting_and_following_keep_the_rest(
            offsets in proptest::collection::btree_set(0u64..200, 0..100),
            cut in 0u64..200,
        ) {
            let (before, after): (Vec<u64>, Vec<u64>) = offsets.iter().partition(|offset| **offset < cut);
            let mut rest = SkipSet::collect(offsets.iter().copied());
            rest.forget_before(cut);
            prop_assert_eq!(&rest, &SkipSet::collect(after));
            let whole = SkipSet::collect(before).followed_by(&rest);
            prop_assert_eq!(whole, SkipSet::collect(offsets.iter().copied()));
        }
    }
}
