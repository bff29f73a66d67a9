//! A durable cursor as it is stored.
//!
//! What is settled beyond the first unsettled message would be a long list where a group reads one
//! topic among many. What is *not* settled is short: no longer than what members may hold. So the
//! cursor is how far the group has read, and which of that is not settled.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use sidespan_bridge::Pattern;

use crate::record::{as_text, read_field, read_varint, seal, unseal, write_field, write_varint};

/// A group as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) name: Box<str>,
    pub(crate) pattern: Pattern,
    /// Everything before this was read.
    pub(crate) next: u64,
    /// Of that, what is not settled.
    pub(crate) open: BTreeMap<u64, Open>,
}

/// A message that was read and is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) topic: u32,
    /// How often it was given to a member.
    pub(crate) given: u32,
    /// Until when it waits: milliseconds since 1970, 0 if it does not.
    pub(crate) due: u64,
}

impl Saved {
    /// Makes a group that begins at a sequence.
    pub(crate) fn new(name: Box<str>, pattern: Pattern, next: u64) -> Self {
        Self { name, pattern, next, open: BTreeMap::new() }
    }

    /// Returns the first sequence that is not settled.
    pub(crate) fn floor(&self) -> u64 {
        self.open.first_key_value().map_or(self.next, |(first, _)| *first)
    }

    /// Returns the row to be stored.
    pub(crate) fn to_row(&self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        write_field(&mut body, self.pattern.as_str().as_bytes())?;
        write_varint(&mut body, self.next)?;
        write_varint(&mut body, self.open.len() as u64)?;
        let mut last = 0;
        for (sequence, open) in &self.open {
            write_varint(&mut body, sequence - last)?;
            write_varint(&mut body, open.topic.into())?;
            write_varint(&mut body, open.given.into())?;
            write_varint(&mut body, open.due)?;
            last = *sequence;
        }
        Ok(seal(self.name.as_bytes(), &body))
    }

    /// Reads a stored row; `None` if it is not what was written.
    pub(crate) fn from_row(name: &str, row: &[u8]) -> Option<Self> {
        let mut body = Bytes::copy_from_slice(unseal(name.as_bytes(), row)?);
        let pattern = Pattern::parse(&as_text(&read_field(&mut body)?)?).ok()?;
        let mut saved = Self::new(name.into(), pattern, read_varint(&mut body)?);
        let mut sequence = 0_u64;
        for _ in 0..read_varint(&mut body)? {
            sequence = sequence.checked_add(read_varint(&mut body)?)?;
            let topic = u32::try_from(read_varint(&mut body)?).ok()?;
            let given = u32::try_from(read_varint(&mut body)?).ok()?;
            saved.open.insert(sequence, Open { topic, given, due: read_varint(&mut body)? });
        }
        Some(saved)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_was(
            next: u64,
            open in prop::collection::btree_map(
                any::<u64>(),
                (any::<u32>(), any::<u32>(), any::<u64>())
                    .prop_map(|(topic, given, due)| Open { topic, given, due }),
                0..50,
            ),
        ) {
            let pattern = Pattern::parse("orders.*").unwrap();
            let saved = Saved { open, ..Saved::new("a.b".into(), pattern, next) };
            let row = saved.to_row().unwrap();
            prop_assert_eq!(Saved::from_row("a.c", &row), None);
            prop_assert_eq!(Saved::from_row("a.b", &row), Some(saved));
        }
    }
}
