//! What is removed, and when.
//!
//! The oldest messages go first, over all topics. What a durable group has not settled stays, with
//! everything behind it that the group reads, unless the settings give up old messages rather
//! than refuse new ones.

use redb::ReadableTable;
use sidespan_bridge::{Error, Fault};

use super::draft::{Change, Draft, OVERHEAD};
use super::floors::Floors;
use crate::record::Stamp;
use crate::settings::Discard;

/// A message at the front of a topic.
struct Front {
    sequence: u64,
    charge: u64,
    time: u64,
}

impl Draft<'_> {
    /// Makes room for a record, or says who is in the way.
    pub(super) fn make_room(&mut self, charge: u64) -> Result<Result<(), Error>, redb::Error> {
        let limit = self.log.limits.bytes;
        if self.change.bytes + charge <= limit {
            return Ok(Ok(()));
        }
        // More than is needed, so that not every publish has to.
        let target = limit.saturating_sub(charge.max((limit / SLACK).min(MOST_SLACK)));
        while self.change.bytes > target {
            if !self.remove_oldest(target)? {
                break;
            }
        }
        if self.change.bytes + charge <= limit { Ok(Ok(())) } else { Ok(Err(self.full(limit))) }
    }

    /// Removes what is too old; tells whether there may be more.
    pub(super) fn expire(&mut self) -> Result<bool, redb::Error> {
        let Some(age) = self.log.limits.age else { return Ok(false) };
        let limit = self.now.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        let topics: Vec<u32> =
            self.index.rows().iter().filter(|row| row.messages > 0).map(|row| row.id).collect();
        let mut removed = 0;
        for topic in topics {
            let floor = self.floor(topic);
            let fronts = self.fronts(topic, CHUNK)?;
            let old =
                fronts.iter().take_while(|front| front.time < limit && self.may_go(front, floor)).count();
            self.remove(topic, &fronts, old)?;
            removed += old;
            if removed >= CHUNK {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes messages from the topic with the oldest one; tells whether any could go.
    fn remove_oldest(&mut self, target: u64) -> Result<bool, redb::Error> {
        let mut firsts: Vec<(u64, u32)> =
            self.rows().filter(|row| row.messages > 0).map(|row| (row.first, row.id)).collect();
        firsts.sort_unstable();
        for (at, (_, topic)) in firsts.iter().enumerate() {
            let floor = self.floor(*topic);
            let next = firsts.get(at + 1).map_or(u64::MAX, |(first, _)| *first);
            let fronts = self.fronts(*topic, CHUNK)?;
            let mut bytes = self.change.bytes;
            let old = fronts
                .iter()
                .take_while(|front| {
                    let goes = bytes > target && front.sequence < next && self.may_go(front, floor);
                    bytes -= if goes { front.charge } else { 0 };
                    goes
                })
                .count();
            if old > 0 {
                self.remove(*topic, &fronts, old)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the oldest messages of a topic, and one more.
    fn fronts(&self, topic: u32, most: usize) -> Result<Vec<Front>, redb::Error> {
        let mut fronts = Vec::new();
        for row in self.records.range((topic, 0)..=(topic, u64::MAX))?.take(most + 1) {
            let (key, row) = row?;
            let (_, sequence) = key.value();
            // A damaged message has no time, and is as good as gone.
            let time = Stamp::read(topic, sequence, row.value()).map_or(0, |stamp| stamp.time);
            fronts.push(Front { sequence, charge: row.value().len() as u64 + OVERHEAD, time });
        }
        Ok(fronts)
    }

    /// Removes the first `count` messages of a topic.
    fn remove(&mut self, topic: u32, fronts: &[Front], count: usize) -> Result<(), redb::Error> {
        let (gone, rest) = fronts.split_at_checked(count).unwrap_or((fronts, &[]));
        let Some(last) = gone.last() else { return Ok(()) };
        let floor = self.floor(topic);
        for front in gone {
            self.records.remove((topic, front.sequence))?;
        }
        let charge: u64 = gone.iter().map(|front| front.charge).sum();
        self.change.discarded += gone.iter().filter(|front| front.sequence >= floor).count() as u64;
        self.change.bytes = self.change.bytes.saturating_sub(charge);
        let row = self.row(topic)?;
        row.messages = row.messages.saturating_sub(count as u64);
        row.bytes = row.bytes.saturating_sub(charge);
        row.trimmed = last.sequence + 1;
        row.first = rest.first().map_or(row.end, |front| front.sequence);
        Ok(())
    }

    fn may_go(&self, front: &Front, floor: u64) -> bool {
        match self.log.limits.discard {
            Discard::New => front.sequence < floor,
            Discard::Old => true,
        }
    }

    /// Returns the first sequence of a topic that some group has not settled.
    fn floor(&mut self, topic: u32) -> u64 {
        let Change { founded, moved, .. } = &self.change;
        let begun = founded.iter().chain(moved.iter().map(|(_, saved)| saved));
        let floors = self.floors.get_or_insert_with(|| Floors::look(self.groups, begun));
        let row = self.change.rows.get(&topic).or_else(|| self.index.row(topic));
        row.map_or(u64::MAX, |row| floors.of(&row.topic))
    }

    fn full(&self, limit: u64) -> Error {
        let slowest = self.floors.as_ref().and_then(Floors::slowest);
        let held = slowest.map_or_else(String::new, |group| {
            format!(": the subscription {group} has yet to settle its oldest messages")
        });
        Error::new(Fault::StorageFull)
            .detail(format!("the embedded log has reached its limit of {limit} bytes (retention.size){held}"))
    }
}

/// The share of the limit that is freed at a time.
const SLACK: u64 = 64;
/// Bytes that are freed at a time at most.
const MOST_SLACK: u64 = 4 << 20;
/// Messages removed at a time.
const CHUNK: usize = 256;
