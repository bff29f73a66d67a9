//! Reading messages: one topic, or several merged by sequence.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use redb::{Range, ReadOnlyTable, ReadTransaction, ReadableTable};

use crate::fault;
use crate::index::Row;
use crate::record::{Record, Stamp};
use crate::store::RECORDS;

/// The table of messages.
type Records = ReadOnlyTable<(u32, u64), &'static [u8]>;

/// A topic to be read, from a sequence up to an end that is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) topic: u32,
    pub(crate) from: u64,
    pub(crate) end: u64,
}

impl Stretch {
    /// Covers the whole of a topic.
    pub(crate) fn of(row: &Row) -> Self {
        Self { topic: row.id, from: row.first, end: row.end }
    }
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Sequence, topic and record, ascending.
    pub(crate) records: Vec<(u64, u32, Record)>,
    /// What is there and cannot be read.
    pub(crate) damaged: Vec<(u64, u32)>,
    /// All that was asked for was read; else only up to the last record.
    pub(crate) complete: bool,
}

/// Reads the first messages of several topics in the order of their sequences.
pub(crate) fn merge(
    txn: &ReadTransaction,
    stretches: &[Stretch],
    messages: usize,
    bytes: usize,
) -> Result<Found, redb::Error> {
    let table = txn.open_table(RECORDS)?;
    let mut found = Found::default();
    let mut sources = Vec::with_capacity(stretches.len());
    let mut heads = BinaryHeap::with_capacity(stretches.len());
    for (index, stretch) in stretches.iter().enumerate() {
        let mut source = Source { table: &table, stretch: *stretch, range: None, stepping: false };
        if let Some((sequence, row)) = source.next(&mut found.damaged)? {
            heads.push(Reverse((sequence, index, row)));
        }
        sources.push(source);
    }
    let mut taken = 0;
    while let Some(Reverse((sequence, index, row))) = heads.pop() {
        if found.records.len() >= messages || taken >= bytes {
            // What was found damaged beyond this point is found again when it is its turn.
            found.damaged.retain(|(damaged, _)| *damaged < sequence);
            return Ok(found);
        }
        let Some(source) = sources.get_mut(index) else { continue };
        let topic = source.stretch.topic;
        match Record::read(topic, sequence, &row) {
            Some(record) => {
                taken += record.message.weight();
                found.records.push((sequence, topic, record));
            }
            None => found.damaged.push((sequence, topic)),
        }
        if let Some((sequence, row)) = source.next(&mut found.damaged)? {
            heads.push(Reverse((sequence, index, row)));
        }
    }
    found.complete = true;
    Ok(found)
}

/// Reads single messages, which are given ascending; those that are gone are left out.
pub(crate) fn pick(txn: &ReadTransaction, wanted: &[(u64, u32)], bytes: usize) -> Result<Found, redb::Error> {
    let table = txn.open_table(RECORDS)?;
    let mut found = Found::default();
    let mut taken = 0;
    for (sequence, topic) in wanted.iter().copied() {
        if taken >= bytes {
            return Ok(found);
        }
        match table.get((topic, sequence)) {
            Ok(None) => {}
            Ok(Some(row)) => match Record::read(topic, sequence, &Bytes::copy_from_slice(row.value())) {
                Some(record) => {
                    taken += record.message.weight();
                    found.records.push((sequence, topic, record));
                }
                None => found.damaged.push((sequence, topic)),
            },
            Err(error) => match redb::Error::from(error) {
                error if fault::is_corrupted(&error) => found.damaged.push((sequence, topic)),
                error => return Err(error),
            },
        }
    }
    found.complete = true;
    Ok(found)
}

/// Returns the sequence and the stamp of the first readable message of a stretch.
pub(crate) fn first(
    table: &impl ReadableTable<(u32, u64), &'static [u8]>,
    stretch: Stretch,
) -> Result<Option<(u64, Stamp)>, redb::Error> {
    let Stretch { topic, from, end } = stretch;
    for row in table.range((topic, from)..(topic, end.max(from)))? {
        let (key, row) = row?;
        let (_, sequence) = key.value();
        if let Some(stamp) = Stamp::read(topic, sequence, row.value()) {
            return Ok(Some((sequence, stamp)));
        }
    }
    Ok(None)
}

/// Returns the first sequence of a stretch whose message is not older than `time`; its end if there
/// is none. Times never go back, so this is a bisection.
pub(crate) fn first_at(
    table: &impl ReadableTable<(u32, u64), &'static [u8]>,
    stretch: Stretch,
    time: u64,
) -> Result<u64, redb::Error> {
    let Stretch { topic, from: mut low, end: mut high } = stretch;
    while low < high {
        let middle = low + (high - low) / 2;
        match first(table, Stretch { topic, from: middle, end: high })? {
            Some((sequence, stamp)) if stamp.time < time => low = sequence + 1,
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}

/// One topic on its way through a merge.
struct Source<'a> {
    table: &'a Records,
    stretch: Stretch,
    range: Option<Range<'static, (u32, u64), &'static [u8]>>,
    /// A page is damaged: sequences are tried one by one, so that only what is on it is lost.
    stepping: bool,
}

impl Source<'_> {
    /// Returns the next sequence and its row.
    fn next(&mut self, damaged: &mut Vec<(u64, u32)>) -> Result<Option<(u64, Bytes)>, redb::Error> {
        if !self.stepping {
            match self.advance() {
                Err(error) if fault::is_corrupted(&error) => self.stepping = true,
                other => return other,
            }
        }
        let topic = self.stretch.topic;
        while self.stretch.from < self.stretch.end {
            let sequence = self.stretch.from;
            self.stretch.from += 1;
            match self.table.get((topic, sequence)) {
                Ok(Some(row)) => return Ok(Some((sequence, Bytes::copy_from_slice(row.value())))),
                Ok(None) => {}
                Err(error) => match redb::Error::from(error) {
                    error if fault::is_corrupted(&error) => damaged.push((sequence, topic)),
                    error => return Err(error),
                },
            }
        }
        Ok(None)
    }

    fn advance(&mut self) -> Result<Option<(u64, Bytes)>, redb::Error> {
        let Stretch { topic, from, end } = self.stretch;
        if from >= end {
            return Ok(None);
        }
        let range = match &mut self.range {
            Some(range) => range,
            None => self.range.insert(self.table.range((topic, from)..(topic, end))?),
        };
        let Some((key, row)) = range.next().transpose()? else { return Ok(None) };
        let (_, sequence) = key.value();
        self.stretch.from = sequence + 1;
        Ok(Some((sequence, Bytes::copy_from_slice(row.value()))))
    }
}
