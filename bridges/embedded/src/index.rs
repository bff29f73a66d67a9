//! What is known of the log without reading it: its topics and where each begins and ends.

use std::collections::HashMap;
use std::io;

use bytes::{Buf, Bytes};
use sidespan_bridge::{Error, Fault, Pattern, Shard, Topic};

use crate::record::{as_text, read_field, read_varint, seal, unseal, write_field, write_varint};

/// All topics, and the end of the log.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) meta: Meta,
    /// By id.
    rows: Vec<Row>,
    ids: HashMap<Topic, u32>,
}

impl Index {
    /// Collects what was stored.
    pub(crate) fn new(meta: Meta, rows: Vec<Row>) -> Self {
        let ids = rows.iter().map(|row| (row.topic.clone(), row.id)).collect();
        Self { meta, rows, ids }
    }

    /// Returns the topic of this name.
    pub(crate) fn find(&self, topic: &Topic) -> Option<&Row> {
        self.ids.get(topic).and_then(|id| self.row(*id))
    }

    /// Returns a topic by its id.
    pub(crate) fn row(&self, id: u32) -> Option<&Row> {
        self.rows.get(id as usize)
    }

    /// Returns all topics, by id.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Returns how many bytes all records count for.
    pub(crate) fn bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.bytes).sum()
    }

    /// Takes over what a commit has changed.
    pub(crate) fn apply(&mut self, meta: Meta, changed: impl IntoIterator<Item = Row>) {
        self.meta = meta;
        for row in changed {
            match self.rows.get_mut(row.id as usize) {
                Some(old) => *old = row,
                None => {
                    self.ids.insert(row.topic.clone(), row.id);
                    self.rows.push(row);
                }
            }
        }
    }
}

/// The end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The next sequence; the first is 1.
    pub(crate) head: u64,
    /// Time of the last message, in nanoseconds since 1970.
    pub(crate) time: u64,
    /// Counts commits, which tells whether one in doubt has happened.
    pub(crate) commits: u64,
}

impl Default for Meta {
    fn default() -> Self {
        Self { head: 1, time: 0, commits: 0 }
    }
}

impl Meta {
    /// The key of its row.
    pub(crate) const KEY: &str = "log";

    /// Returns the row to be stored.
    pub(crate) fn to_row(self) -> Vec<u8> {
        let numbers = [self.head, self.time, self.commits];
        seal(Self::KEY.as_bytes(), &numbers.map(u64::to_le_bytes).concat())
    }

    /// Reads a stored row; `None` if it is not what was written.
    pub(crate) fn from_row(row: &[u8]) -> Option<Self> {
        let mut body = unseal(Self::KEY.as_bytes(), row)?;
        let mut number = || body.try_get_u64_le().ok();
        Some(Self { head: number()?, time: number()?, commits: number()? })
    }
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: u32,
    pub(crate) topic: Topic,
    pub(crate) shard: Shard,
    /// Messages stored.
    pub(crate) messages: u64,
    /// What they count for.
    pub(crate) bytes: u64,
    /// Sequence of the oldest message, if there are any.
    pub(crate) first: u64,
    /// Just behind the newest message there ever was.
    pub(crate) end: u64,
    /// Just behind the newest message that retention removed.
    pub(crate) trimmed: u64,
    /// Ordinal of the next message.
    pub(crate) ordinal: u64,
}

impl Row {
    /// Makes a topic without messages.
    pub(crate) fn new(id: u32, topic: Topic) -> Self {
        let shard = Shard::new(topic.as_str());
        Self { id, topic, shard, messages: 0, bytes: 0, first: 0, end: 0, trimmed: 0, ordinal: 0 }
    }

    /// Returns the row to be stored.
    pub(crate) fn to_row(&self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        write_field(&mut body, self.topic.as_str().as_bytes())?;
        for number in [self.messages, self.bytes, self.first, self.end, self.trimmed, self.ordinal] {
            write_varint(&mut body, number)?;
        }
        Ok(seal(&self.id.to_le_bytes(), &body))
    }

    /// Reads a stored row; `None` if it is not what was written.
    pub(crate) fn from_row(id: u32, row: &[u8]) -> Option<Self> {
        let mut body = Bytes::copy_from_slice(unseal(&id.to_le_bytes(), row)?);
        let topic = Topic::new(&*as_text(&read_field(&mut body)?)?);
        let mut number = || read_varint(&mut body);
        Some(Self {
            messages: number()?,
            bytes: number()?,
            first: number()?,
            end: number()?,
            trimmed: number()?,
            ordinal: number()?,
            ..Self::new(id, topic)
        })
    }
}

/// The topics that a pattern stands for, followed as topics are made.
#[derive(Debug)]
pub(crate) struct Matching {
    pattern: Pattern,
    ids: Vec<u32>,
    seen: usize,
}

impl Matching {
    /// Begins without having seen any topic.
    pub(crate) fn new(pattern: Pattern) -> Self {
        Self { pattern, ids: Vec::new(), seen: 0 }
    }

    /// Returns the pattern.
    pub(crate) fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Returns the topics that the pattern stands for by now.
    pub(crate) fn rows<'a>(&'a mut self, index: &'a Index) -> impl Iterator<Item = &'a Row> {
        let unseen = index.rows().get(self.seen..).unwrap_or_default();
        let matching = unseen.iter().filter(|row| self.pattern.matches(&row.topic));
        self.ids.extend(matching.map(|row| row.id));
        self.seen = index.rows().len();
        self.ids.iter().filter_map(|id| index.row(*id))
    }
}

/// Refuses what cannot be the name of a topic.
pub(crate) fn check_name(topic: &Topic) -> Result<(), Error> {
    let name = topic.as_str();
    let why = if name.is_empty() {
        "a topic needs a name"
    } else if name.len() > LONGEST_NAME {
        "the name of a topic has at most 255 bytes"
    } else if name.chars().any(char::is_control) {
        "the name of a topic has no control characters"
    } else if name.contains(['*', '>']) {
        "`*` and `>` are wildcards, for subscribing: the name of a topic has none"
    } else if name.split('.').any(str::is_empty) {
        "dots stand between the parts of a topic's name: not at an end, and no two in a row"
    } else {
        return Ok(());
    };
    Err(Error::new(Fault::Invalid).detail(why))
}

const LONGEST_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_patterns_can_address() {
        for name in ["orders", "shop.orders", "a/b c", "ünï.cödé", "%2e"] {
            assert!(check_name(&Topic::new(name)).is_ok(), "{name}");
        }
        let long = "x".repeat(256);
        for name in ["", "a..b", ".a", "a.", "a\nb", "\u{7f}", "orders.*", ">", "a>b", &long] {
            let error = check_name(&Topic::new(name)).unwrap_err();
            assert_eq!(error.fault, Fault::Invalid, "{name}");
        }
    }

    #[test]
    fn rows_come_back_and_damage_is_seen() {
        let row = Row { messages: 3, end: 900, ordinal: 4, ..Row::new(7, Topic::new("a.b")) };
        let mut stored = row.to_row().unwrap();
        assert_eq!(Row::from_row(7, &stored), Some(row));
        assert_eq!(Row::from_row(8, &stored), None);
        stored[12] ^= 1;
        assert_eq!(Row::from_row(7, &stored), None);
        let meta = Meta { head: 5, time: 6, commits: 7 };
        assert_eq!(Meta::from_row(&meta.to_row()), Some(meta));
    }
}
