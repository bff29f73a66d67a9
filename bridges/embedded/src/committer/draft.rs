//! One transaction while it is put together.
//!
//! What it changes is noted beside the index and taken over only after the commit, so that a
//! transaction that fails has not happened anywhere.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use redb::{ReadableTable, Table, WriteTransaction};
use sidespan_bridge::{Error, Fault, Guarantee, Message, Pattern, Position, Receipt, Start, Topic};
use tracing::warn;

use super::floors::Floors;
use crate::bulletin::Kept;
use crate::fault;
use crate::group::Group;
use crate::groups::Groups;
use crate::index::{Index, Meta, Row};
use crate::log::Log;
use crate::reading::{Stretch, first_at};
use crate::record::{Record, Stamp, seal, unseal};
use crate::saved::Saved;
use crate::store::{GROUPS, META, RECORDS, SEEN, SEEN_ORDER, TOPICS};

/// What a transaction changes besides the tables.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) meta: Meta,
    pub(super) rows: BTreeMap<u32, Row>,
    pub(super) founded: Vec<Saved>,
    /// Groups that were moved, and where to.
    pub(super) moved: Vec<(Arc<Group>, Saved)>,
    /// Records of registries.
    pub(super) kept: Vec<Kept>,
    /// Bytes of all records.
    pub(super) bytes: u64,
    /// Topics that have new messages.
    pub(super) grown: Vec<u32>,
    /// Unsettled messages that `discard: old` gave up.
    pub(super) discarded: u64,
}

/// A transaction while it is put together.
pub(super) struct Draft<'t> {
    pub(super) log: &'t Log,
    pub(super) groups: &'t Groups,
    pub(super) index: RwLockReadGuard<'t, Index>,
    pub(super) change: Change,
    pub(super) records: Table<'t, (u32, u64), &'static [u8]>,
    pub(super) seen: Table<'t, (u32, &'static str), &'static [u8]>,
    pub(super) seen_order: Table<'t, u64, (u32, &'static str)>,
    cursors: Table<'t, &'static str, &'static [u8]>,
    pub(super) txn: &'t WriteTransaction,
    pub(super) now: u64,
    /// Looked up when first needed, as most transactions don't.
    pub(super) floors: Option<Floors>,
}

impl<'t> Draft<'t> {
    /// Begins without a change.
    pub(super) fn new(
        log: &'t Log,
        groups: &'t Groups,
        txn: &'t WriteTransaction,
    ) -> Result<Self, redb::Error> {
        let index = log.index();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // A clock that goes back must not make times go back.
        let now = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX).max(index.meta.time);
        let meta = Meta { commits: index.meta.commits + 1, ..index.meta };
        Ok(Self {
            log,
            groups,
            change: Change { meta, bytes: index.bytes(), ..Change::default() },
            index,
            records: txn.open_table(RECORDS)?,
            seen: txn.open_table(SEEN)?,
            seen_order: txn.open_table(SEEN_ORDER)?,
            cursors: txn.open_table(GROUPS)?,
            txn,
            now,
            floors: None,
        })
    }

    /// Makes sure that a topic exists, and returns its id.
    pub(super) fn create(&mut self, topic: &Topic) -> Result<u32, Error> {
        let created = self.change.rows.values().find(|row| row.topic == *topic);
        if let Some(row) = self.index.find(topic).or(created) {
            return Ok(row.id);
        }
        if !self.log.limits.create_topics {
            return Err(unknown_topic(topic));
        }
        let new = self.change.rows.range(self.index.rows().len() as u32..).count();
        let id = (self.index.rows().len() + new) as u32;
        if id >= MOST_TOPICS {
            return Err(
                Error::new(Fault::Rejected).detail("the embedded log has as many topics as it takes (65536)")
            );
        }
        self.change.rows.insert(id, Row::new(id, topic.clone()));
        Ok(id)
    }

    /// Makes a durable group, unless it exists.
    pub(super) fn found(
        &mut self,
        name: &str,
        pattern: &Pattern,
        start: &Start,
    ) -> Result<Result<(), Error>, redb::Error> {
        if let Some(Err(error)) = pattern.literal().map(|topic| self.create(&topic)) {
            return Ok(Err(error));
        }
        let is_known =
            self.groups.find(name).is_some() || self.change.founded.iter().any(|saved| &*saved.name == name);
        if is_known {
            return Ok(Ok(()));
        }
        let begun = self.begin(name, pattern, start)?;
        Ok(begun.map(|saved| self.change.founded.push(saved)))
    }

    /// Moves a durable group, whatever it has settled.
    pub(super) fn put_down(
        &mut self,
        group: &Arc<Group>,
        pattern: &Pattern,
        start: &Start,
    ) -> Result<Result<(), Error>, redb::Error> {
        if let Some(Err(error)) = pattern.literal().map(|topic| self.create(&topic)) {
            return Ok(Err(error));
        }
        let begun = self.begin(group.name(), pattern, start)?;
        Ok(begun.map(|saved| self.change.moved.push((Arc::clone(group), saved))))
    }

    /// Stores a cursor that has settled nothing yet.
    fn begin(
        &mut self,
        name: &str,
        pattern: &Pattern,
        start: &Start,
    ) -> Result<Result<Saved, Error>, redb::Error> {
        let next = match resolve(self.rows(), self.change.meta.head, pattern, start, &self.records)? {
            Ok(next) => next,
            Err(error) => return Ok(Err(error)),
        };
        let saved = Saved::new(name.into(), pattern.clone(), next);
        self.save(&saved)?;
        self.floors = None;
        Ok(Ok(saved))
    }

    /// Stores a message, unless its deduplication id is known or there is no room.
    pub(super) fn publish(
        &mut self,
        id: u32,
        message: &Message,
    ) -> Result<Result<Receipt, Error>, redb::Error> {
        let window = u64::try_from(self.log.limits.deduplication.as_nanos()).unwrap_or(u64::MAX);
        let deduplication = message.deduplication.as_deref().filter(|_| window > 0);
        if let Some(seen) = deduplication
            && let Some((sequence, time)) = self.look_up(id, seen)?
            && self.now.saturating_sub(time) < window
        {
            return Ok(Ok(receipt(sequence, true, true)));
        }
        let length = Record::length(message);
        let charge = length as u64 + OVERHEAD;
        if let Err(error) = self.make_room(charge)? {
            return Ok(Err(error));
        }
        let sequence = self.change.meta.head;
        let row = self.row(id)?;
        let stamp = Stamp { ordinal: row.ordinal, time: self.now };
        let mut place = self.records.insert_reserve((id, sequence), length)?;
        Record::write(place.as_mut(), id, sequence, stamp, message)?;
        drop(place);
        if let Some(seen) = deduplication {
            self.remember(id, seen, sequence)?;
        }
        let row = self.row(id)?;
        if row.messages == 0 {
            row.first = sequence;
        }
        row.messages += 1;
        row.bytes += charge;
        row.ordinal += 1;
        row.end = sequence + 1;
        self.change.bytes += charge;
        self.change.meta.head = sequence + 1;
        self.change.meta.time = self.now;
        if self.change.grown.last() != Some(&id) {
            self.change.grown.push(id);
        }
        Ok(Ok(receipt(sequence, false, deduplication.is_some())))
    }

    /// Stores a cursor.
    pub(super) fn save(&mut self, saved: &Saved) -> Result<(), redb::Error> {
        self.cursors.insert(&*saved.name, saved.to_row()?.as_slice())?;
        Ok(())
    }

    /// Forgets deduplication ids that are too old to matter.
    pub(super) fn forget_ids(&mut self) -> Result<(), redb::Error> {
        let window = u64::try_from(self.log.limits.deduplication.as_nanos()).unwrap_or(u64::MAX);
        for _ in 0..FORGET {
            let Some((sequence, id, name)) = self.oldest_id()? else { return Ok(()) };
            let newer = match self.look_up(id, &name)? {
                Some((_, time)) if self.now.saturating_sub(time) < window => true,
                Some(_) | None => false,
            };
            let is_its_own = self.look_up(id, &name)?.is_none_or(|(seen, _)| seen == sequence);
            if newer && is_its_own {
                return Ok(());
            }
            self.seen_order.remove(sequence)?;
            if is_its_own {
                self.seen.remove((id, name.as_str()))?;
            }
        }
        Ok(())
    }

    /// Writes what is left to be written, and returns what to take over once it is committed.
    pub(super) fn finish(self) -> Result<Change, redb::Error> {
        let mut topics = self.txn.open_table(TOPICS)?;
        for row in self.change.rows.values() {
            topics.insert(row.id, row.to_row()?.as_slice())?;
        }
        self.txn.open_table(META)?.insert(Meta::KEY, self.change.meta.to_row().as_slice())?;
        Ok(self.change)
    }

    /// Returns all topics as this transaction leaves them.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        let changed = &self.change.rows;
        let fresh = changed.range(self.index.rows().len() as u32..).map(|(_, row)| row);
        self.index.rows().iter().map(|row| changed.get(&row.id).unwrap_or(row)).chain(fresh)
    }

    /// Returns the row of a topic, to be changed.
    pub(super) fn row(&mut self, id: u32) -> Result<&mut Row, redb::Error> {
        match self.change.rows.entry(id) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let row = self.index.row(id).ok_or_else(|| fault::corrupted("a topic that is not there"))?;
                Ok(entry.insert(row.clone()))
            }
        }
    }

    fn look_up(&self, id: u32, name: &str) -> Result<Option<(u64, u64)>, redb::Error> {
        let Some(row) = self.seen.get((id, name))? else { return Ok(None) };
        let numbers = unseal(name.as_bytes(), row.value()).and_then(|body| {
            let (sequence, time) = body.split_first_chunk::<8>()?;
            Some((u64::from_le_bytes(*sequence), u64::from_le_bytes(time.try_into().ok()?)))
        });
        if numbers.is_none() {
            warn!("a remembered idempotency key is damaged and is ignored");
        }
        Ok(numbers)
    }

    fn remember(&mut self, id: u32, name: &str, sequence: u64) -> Result<(), redb::Error> {
        let body = [sequence.to_le_bytes(), self.now.to_le_bytes()].concat();
        self.seen.insert((id, name), seal(name.as_bytes(), &body).as_slice())?;
        self.seen_order.insert(sequence, (id, name))?;
        Ok(())
    }

    fn oldest_id(&self) -> Result<Option<(u64, u32, String)>, redb::Error> {
        let Some((sequence, row)) = self.seen_order.first()? else { return Ok(None) };
        let (id, name) = row.value();
        Ok(Some((sequence.value(), id, name.to_owned())))
    }
}

/// Returns the sequence at which a new reader begins.
pub(crate) fn resolve<'a>(
    rows: impl Iterator<Item = &'a Row>,
    head: u64,
    pattern: &Pattern,
    start: &Start,
    records: &impl ReadableTable<(u32, u64), &'static [u8]>,
) -> Result<Result<u64, Error>, redb::Error> {
    let mut rows = rows.filter(|row| pattern.matches(&row.topic));
    let (named, otherwise) = match start {
        Start::Begin => return Ok(Ok(0)),
        Start::End => return Ok(Ok(head)),
        Start::Time(time) => return at_time(rows, head, *time, records).map(Ok),
        Start::Position(positions) => (positions.first().copied(), SystemTime::UNIX_EPOCH),
        // Sequences run through all topics: who knows one has seen what is before it in each.
        Start::Resume { from, since } => (from.iter().map(|(_, position)| *position).max(), *since),
    };
    let Some(Position { partition, sequence }) = named else {
        return at_time(rows, head, otherwise, records).map(Ok);
    };
    if partition != 0 {
        let detail = "the embedded log has one partition, 0: use a position that it gave";
        return Ok(Err(Error::new(Fault::Invalid).detail(detail)));
    }
    if sequence > head {
        warn!(%pattern, position = sequence, end = head, "the log does not reach to this position: reading what it has");
        return at_time(rows, head, otherwise, records).map(Ok);
    }
    if rows.any(|row| row.trimmed > sequence) {
        warn!(%pattern, position = sequence, "retention has removed messages behind this position: they are lost to this reader");
    }
    Ok(Ok(sequence))
}

/// Returns the sequence of the first message at or after a time.
fn at_time<'a>(
    rows: impl Iterator<Item = &'a Row>,
    head: u64,
    time: SystemTime,
    records: &impl ReadableTable<(u32, u64), &'static [u8]>,
) -> Result<u64, redb::Error> {
    let nanos = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
    let mut next = head;
    for row in rows.filter(|row| row.messages > 0) {
        let at = first_at(records, Stretch::of(row), nanos)?;
        next = if at < row.end { next.min(at) } else { next };
    }
    Ok(next)
}

/// Says that a topic does not exist.
pub(crate) fn unknown_topic(topic: &Topic) -> Error {
    Error::new(Fault::UnknownTopic)
        .detail(format!("there is no topic {topic} in the embedded log, and create_topics is off"))
}

fn receipt(sequence: u64, duplicate: bool, deduplicated: bool) -> Receipt {
    Receipt {
        position: Some(Position { partition: 0, sequence }),
        guarantee: Guarantee::AtLeastOnce,
        duplicate,
        deduplicated,
        local: true,
    }
}

/// What a record counts for beyond its length: its key, and its share of the page.
pub(super) const OVERHEAD: u64 = 32;
/// Deduplication ids forgotten by one transaction at most.
const FORGET: usize = 4096;
const MOST_TOPICS: u32 = 65_536;
