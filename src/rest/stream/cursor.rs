//! Where a stream goes on after a break: the event id, which is opaque to those who keep it.
//!
//! It holds what comes next of each partition, beginning with those that there were when the stream
//! began, and a time for what it doesn't name. It is sent ahead of the first message, so that a
//! reader that comes back has no gap, and doesn't get the history of what it hadn't seen yet.
//!
//! A topic of very many partitions, or a pattern over very many topics, would make it too long.
//! Then partitions are named as they are seen while there is room, and the rest goes on at the time
//! when the stream began: some messages come again, and none is lost.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use sidespan_bridge::{Pattern, Position, Start, Topic};

use crate::error::Error;

/// What a stream has shown.
#[derive(Debug)]
pub(super) struct Cursor {
    pattern: Pattern,
    next: BTreeMap<Topic, BTreeMap<u32, u64>>,
    /// Milliseconds since 1970; 0 is the beginning.
    since: u64,
    partitions: usize,
    /// Bytes of the topics' names.
    names: usize,
}

impl Cursor {
    /// Begins with what the bridge says: `start` was asked for at `now`.
    pub(super) fn new(pattern: Pattern, start: &Start, now: SystemTime, begun: &[(Topic, Position)]) -> Self {
        let mut cursor = Self { pattern, next: BTreeMap::new(), since: 0, partitions: 0, names: 0 };
        if begun.iter().all(|(topic, position)| cursor.note(topic, *position)) {
            // What is not named appears later, and all of it is new.
            return cursor;
        }
        let (named, since): (&[_], _) = match start {
            Start::Begin | Start::Position(_) => (&[], UNIX_EPOCH),
            Start::End => (&[], now - CLOCKS),
            Start::Time(time) => (&[], *time),
            Start::Resume { from, since } => (from, *since),
        };
        Self::resumed(cursor.pattern, named, since)
    }

    /// Goes on where an id says.
    pub(super) fn resumed(pattern: Pattern, from: &[(Topic, Position)], since: SystemTime) -> Self {
        let since = milliseconds(since);
        let mut cursor = Self { pattern, next: BTreeMap::new(), since, partitions: 0, names: 0 };
        for (topic, position) in from {
            cursor.note(topic, *position);
        }
        cursor
    }

    /// Goes on behind a message.
    pub(super) fn saw(&mut self, topic: &Topic, position: Position) {
        self.note(topic, position.next());
    }

    /// Says what comes next of a partition, if it is named or there is room to name it.
    fn note(&mut self, topic: &Topic, position: Position) -> bool {
        let Position { partition, sequence } = position;
        if let Some(next) = self.next.get_mut(topic).and_then(|topic| topic.get_mut(&partition)) {
            *next = sequence.max(*next);
            return true;
        }
        let name = if self.next.contains_key(topic) { 0 } else { self.name(topic).len() };
        if self.partitions == MOST_PARTITIONS || self.names + name > MOST_NAMES {
            return false;
        }
        self.partitions += 1;
        self.names += name;
        self.next.entry(topic.clone()).or_default().insert(partition, sequence);
        true
    }

    /// A single topic goes without saying.
    fn name<'a>(&self, topic: &'a Topic) -> &'a str {
        if topic.as_str() == self.pattern.as_str() { "" } else { topic.as_str() }
    }

    /// Returns the event id: at most `MOST_TEXT` letters and digits, `-` and `_`.
    pub(super) fn id(&self) -> String {
        let mut body = Vec::with_capacity(16 + self.names + self.partitions * 8);
        put(&mut body, self.since);
        for (topic, partitions) in &self.next {
            let name = self.name(topic);
            put(&mut body, name.len() as u64);
            body.extend_from_slice(name.as_bytes());
            put(&mut body, partitions.len() as u64);
            for (partition, sequence) in partitions {
                put(&mut body, (*partition).into());
                put(&mut body, *sequence);
            }
        }
        body.extend_from_slice(&checksum(&self.pattern, &body));
        URL_SAFE_NO_PAD.encode(body)
    }
}

/// Reads an event id.
pub(super) fn read(id: &[u8], pattern: &Pattern) -> Result<Start, Error> {
    let bytes = Some(id).filter(|id| id.len() <= MOST_TEXT).and_then(|id| URL_SAFE_NO_PAD.decode(id).ok());
    let read = bytes.as_deref().and_then(|bytes| {
        let (body, sum) = bytes.split_last_chunk()?;
        (*sum == checksum(pattern, body)).then(|| parse(body, pattern))?
    });
    read.ok_or_else(|| {
        Error::Invalid(
            "Last-Event-ID is not one that a stream of this topic gave: leave it out to begin at `start`"
                .to_owned(),
        )
    })
}

fn parse(mut rest: &[u8], pattern: &Pattern) -> Option<Start> {
    let since = UNIX_EPOCH.checked_add(Duration::from_millis(get(&mut rest)?))?;
    let mut from = Vec::new();
    while !rest.is_empty() {
        let length = usize::try_from(get(&mut rest)?).ok()?;
        let name = std::str::from_utf8(rest.split_off(..length)?).ok()?;
        let topic = Topic::new(if name.is_empty() { pattern.as_str() } else { name });
        for _ in 0..get(&mut rest)? {
            let partition = u32::try_from(get(&mut rest)?).ok()?;
            from.push((topic.clone(), Position { partition, sequence: get(&mut rest)? }));
        }
    }
    Some(Start::Resume { from, since })
}

/// Keeps an id from being used for another topic, or cut short by accident.
fn checksum(pattern: &Pattern, body: &[u8]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(pattern.as_str()).chain_update([0]).chain_update(body).finalize();
    let mut sum = [0; 4];
    sum.iter_mut().zip(hash).for_each(|(sum, byte)| *sum = byte);
    sum
}

/// Counts from 1970.
fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::try_from(since).unwrap_or(u64::MAX)
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn get(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A producer's clock, the broker's and ours may differ, and what is sent may be under way.
const CLOCKS: Duration = Duration::from_secs(60);
const MOST_PARTITIONS: usize = 256;
/// Bytes of names in one id.
const MOST_NAMES: usize = 2048;
/// With the longest numbers there are: 15 bytes a partition, 2 more for each of two lengths a topic.
const MOST_TEXT: usize = (MOST_PARTITIONS * (15 + 4) + MOST_NAMES + 10 + 4) * 4 / 3 + 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(name: &str) -> Topic {
        Topic::new(name)
    }

    fn at(partition: u32, sequence: u64) -> Position {
        Position { partition, sequence }
    }

    fn resume(from: &[(&str, Position)], since: SystemTime) -> Start {
        Start::Resume { from: from.iter().map(|(name, at)| (topic(name), *at)).collect(), since }
    }

    #[test]
    fn an_id_names_what_comes_next_of_every_partition_from_the_first_on() {
        let orders = Pattern::exactly(&topic("orders"));
        let begun = [(topic("orders"), at(0, 41)), (topic("orders"), at(1, 7))];
        let mut cursor = Cursor::new(orders.clone(), &Start::End, SystemTime::now(), &begun);
        let expected = resume(&[("orders", at(0, 41)), ("orders", at(1, 7))], UNIX_EPOCH);
        assert_eq!(read(cursor.id().as_bytes(), &orders).unwrap(), expected);
        cursor.saw(&topic("orders"), at(0, 41));
        cursor.saw(&topic("orders"), at(2, 0));
        let next = [("orders", at(0, 42)), ("orders", at(1, 7)), ("orders", at(2, 1))];
        assert_eq!(read(cursor.id().as_bytes(), &orders).unwrap(), resume(&next, UNIX_EPOCH));
        assert!(cursor.id().len() < 24, "{}", cursor.id());
    }

    #[test]
    fn what_an_id_has_no_room_for_goes_on_at_a_time() {
        let all = Pattern::parse(">").unwrap();
        let begun: Vec<_> = (0..300).map(|n| (topic("orders"), at(n, u64::MAX))).collect();
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let since = |start| Cursor::new(all.clone(), &start, now, &begun).since;
        assert_eq!(since(Start::Begin), 0);
        assert_eq!(since(Start::Time(now)), 1_000_000);
        assert_eq!(since(Start::End), 940_000);
        let known = resume(&[("a", at(0, 1))], now);
        let mut cursor = Cursor::new(all.clone(), &known, now, &begun);
        assert_eq!(read(cursor.id().as_bytes(), &all).unwrap(), known);
        for n in 0..300 {
            cursor.saw(&topic(&format!("{n:08}")), at(u32::MAX, u64::MAX));
        }
        let id = cursor.id();
        assert!(id.len() <= MOST_TEXT, "{}", id.len());
        let Ok(Start::Resume { from, since }) = read(id.as_bytes(), &all) else { panic!("{id}") };
        assert_eq!((from.len(), since), (MOST_PARTITIONS, now));
    }

    #[test]
    fn an_id_of_another_topic_is_refused() {
        let orders = Pattern::exactly(&topic("orders"));
        let begun = [(topic("orders"), at(0, 41))];
        let id = Cursor::new(orders, &Start::End, SystemTime::now(), &begun).id();
        let error = read(id.as_bytes(), &Pattern::exactly(&topic("payments"))).unwrap_err().to_string();
        assert!(error.contains("Last-Event-ID") && error.contains("this topic"), "{error}");
    }

    proptest! {
        #[test]
        fn garbage_is_refused(text in "[A-Za-z0-9_-]{1,200}|.{1,50}") {
            prop_assert!(read(text.as_bytes(), &Pattern::parse("orders.*").unwrap()).is_err());
        }

        #[test]
        fn garbage_with_a_good_checksum_does_no_harm(mut body in prop::collection::vec(any::<u8>(), 0..100)) {
            let pattern = Pattern::parse("orders.*").unwrap();
            let sum = checksum(&pattern, &body);
            body.extend_from_slice(&sum);
            let _ = read(URL_SAFE_NO_PAD.encode(body).as_bytes(), &pattern);
        }
    }
}
