//! What stands in a registry, by its log: a pure function of the records.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sidespan_bridge::{Change, Header, Message, Revision};

/// What the log has come to.
#[derive(Debug, Default)]
pub(super) struct Fold {
    records: BTreeMap<Arc<str>, Record>,
    /// All that was there when the reading began has been read; before, what compaction has left may mislead.
    pub(super) live: bool,
}

/// What stands under a name.
#[derive(Debug, Default)]
struct Record {
    value: Option<Bytes>,
    /// `NONE` where nothing stands there.
    revision: Revision,
    /// Something rejected is in the log behind what stands, and was not followed by a restatement.
    disturbed: bool,
}

/// What a record of the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// This stands there, and always did: written behind a record that was rejected.
    Restatement { revision: Revision, value: Option<Bytes> },
    /// Write this, or remove what is there, if this revision is.
    Write { expected: Revision, value: Option<Bytes> },
}

/// What became of a record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Something else stands there now.
    Changed,
    /// It says what stands there.
    Nothing,
    /// It has no effect.
    Rejected,
}

impl Fold {
    /// Folds in the next record of the log; `None` is one that no registry wrote.
    pub(super) fn apply(&mut self, key: &str, offset: u64, entry: Option<Entry>) -> Effect {
        let is_new = !self.records.contains_key(key);
        let Some(entry) = entry else {
            if let Some(record) = self.records.get_mut(key) {
                record.disturbed = true;
            }
            return Effect::Rejected;
        };
        let believes = !self.live;
        let record = self.records.entry(key.into()).or_default();
        match entry {
            Entry::Write { expected, value } if record.revision == expected || (is_new && believes) => {
                record.revision = if value.is_some() { Revision(offset + 1) } else { Revision::NONE };
                record.value = value;
                Effect::Changed
            }
            Entry::Restatement { revision, value } if record.revision == revision || believes => {
                let effect = if record.revision == revision { Effect::Nothing } else { Effect::Changed };
                *record = Record { value, revision, disturbed: false };
                effect
            }
            Entry::Restatement { .. } | Entry::Write { .. } => {
                record.disturbed = true;
                Effect::Rejected
            }
        }
    }

    /// Returns the revision that stands under a name.
    pub(super) fn stands(&self, key: &str) -> Revision {
        self.records.get(key).map_or(Revision::NONE, |record| record.revision)
    }

    /// Returns what is to be written behind a record that was rejected.
    pub(super) fn restatement(&self, key: &str) -> Entry {
        let record = self.records.get(key);
        let value = record.and_then(|record| record.value.clone());
        Entry::Restatement { revision: self.stands(key), value }
    }

    /// Returns the names behind which there is something rejected.
    pub(super) fn disturbed(&self) -> Vec<Arc<str>> {
        let disturbed = self.records.iter().filter(|(_, record)| record.disturbed);
        disturbed.map(|(key, _)| Arc::clone(key)).collect()
    }

    /// Tells what stands under one name.
    pub(super) fn change(&self, key: &str) -> Change {
        let record = self.records.get(key);
        match record.and_then(|record| Some((record.value.clone()?, record.revision))) {
            Some((value, revision)) => Change::Put { key: key.into(), value, revision },
            None => Change::Removed { key: key.into() },
        }
    }

    /// Tells all that stands.
    pub(super) fn all(&self) -> Vec<Change> {
        let standing = self.records.iter().filter(|(_, record)| record.value.is_some());
        standing.map(|(key, _)| self.change(key)).collect()
    }

    /// Counts what stands.
    pub(super) fn count(&self) -> usize {
        self.records.values().filter(|record| record.value.is_some()).count()
    }
}

impl Entry {
    /// Returns the record of the log that says this.
    pub(super) fn to_message(&self, key: &str) -> Message {
        let (name, revision, value) = match self {
            Self::Restatement { revision, value } => (RESTATES, revision, value),
            Self::Write { expected, value } => (EXPECTS, expected, value),
        };
        let headers = vec![Header::new(MARK, VERSION), Header::new(name, revision.0.to_string())];
        Message { payload: value.clone(), key: Some(key.to_owned().into()), headers, ..Message::default() }
    }

    /// Reads a record of the log; `None` if no registry of this release wrote it.
    pub(super) fn of_message(message: &Message) -> Option<Self> {
        if message.header(MARK)?.as_ref() != VERSION.as_bytes() {
            return None;
        }
        let number = |name: &str| std::str::from_utf8(message.header(name)?).ok()?.parse().ok().map(Revision);
        let value = message.payload.clone();
        match (number(EXPECTS), number(RESTATES)) {
            (Some(expected), None) => Some(Self::Write { expected, value }),
            (None, Some(revision)) if value.is_some() == (revision != Revision::NONE) => {
                Some(Self::Restatement { revision, value })
            }
            (None | Some(_), _) => None,
        }
    }
}

/// What stands in the headers of a record of ours, and which layout it has.
pub(super) const MARK: &str = "sidespan-registry";
pub(super) const VERSION: &str = "1";
const EXPECTS: &str = "sidespan-expects";
const RESTATES: &str = "sidespan-restates";

#[cfg(test)]
mod tests;
