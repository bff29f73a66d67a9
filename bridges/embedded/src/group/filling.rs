//! Reading ahead for a group.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tracing::error;

use super::board::Arrival;
use super::{Group, MOST_UNSETTLED, State};
use crate::log::Log;
use crate::reading::{Found, Stretch, merge, pick};

/// What is to be read.
enum Plan {
    /// Known messages whose contents are not in memory.
    Pick(Vec<(u64, u32)>),
    /// New messages, and where reading has got to if there are no more.
    Merge(Vec<Stretch>, u64),
}

impl Group {
    /// Reads one batch from the store and puts it on the board. Blocks.
    pub(super) fn fill(self: Arc<Self>) {
        let (plan, generation) = {
            let mut state = self.lock();
            (state.plan(&self.log), state.generation)
        };
        let found = self.log.store.read(|txn| match &plan {
            Plan::Pick(wanted) => pick(txn, wanted, BATCH_BYTES),
            Plan::Merge(stretches, _) => merge(txn, stretches, BATCH, BATCH_BYTES),
        });
        let mut state = self.lock();
        state.reading = false;
        match found {
            Ok(_) if state.generation != generation => {}
            Ok(found) => {
                self.report(&found);
                match plan {
                    Plan::Pick(wanted) => self.picked(&mut state, &wanted, found),
                    Plan::Merge(_, end) => self.merged(&mut state, end, found),
                }
                state.rest = None;
            }
            Err(failure) => {
                state.rest = Some(Instant::now() + self.log.read_failed(&failure));
            }
        }
        state.ring();
    }

    fn picked(&self, state: &mut State, wanted: &[(u64, u32)], found: Found) {
        let last = found.records.last().map_or(0, |(sequence, ..)| *sequence);
        let reached = if found.complete { u64::MAX } else { last };
        for (sequence, _) in wanted.iter().take_while(|(sequence, _)| *sequence <= reached) {
            if !found.records.iter().any(|(there, ..)| there == sequence) {
                // Removed by retention, or damaged: it cannot be given any more.
                state.backlog.remove(sequence);
                state.board.forget(*sequence);
                state.wanted.remove(sequence);
                state.version += 1;
            }
        }
        for (sequence, topic, record) in found.records {
            if let Some(open) = state.backlog.remove(&sequence) {
                let key = record.message.key.as_deref();
                let arrival = Arrival {
                    topic,
                    lane: self.lane(state.board.order(), topic, key),
                    weight: record.message.weight(),
                    given: open.given,
                    due: due(open.due),
                };
                state.board.receive(sequence, arrival);
            }
            state.keep(sequence, record.message);
        }
    }

    fn merged(&self, state: &mut State, end: u64, found: Found) {
        for (sequence, topic, record) in found.records {
            let key = record.message.key.as_deref();
            let arrival = Arrival {
                topic,
                lane: self.lane(state.board.order(), topic, key),
                weight: record.message.weight(),
                given: 0,
                due: None,
            };
            state.next = sequence + 1;
            state.board.receive(sequence, arrival);
            state.keep(sequence, record.message);
        }
        if found.complete {
            state.next = state.next.max(end);
        }
    }

    fn report(&self, found: &Found) {
        for (sequence, topic) in &found.damaged {
            let index = self.log.index();
            let topic = index.row(*topic).map_or("?", |row| row.topic.as_str());
            error!(
                group = self.name(),
                topic,
                position = format!("0-{sequence}"),
                "a stored message is damaged and is skipped: it is lost"
            );
        }
        self.log.note_damage(found.damaged.len() as u64);
    }
}

impl State {
    fn plan(&mut self, log: &Log) -> Plan {
        let backlog: Vec<_> =
            self.backlog.iter().take(PICK).map(|(sequence, open)| (*sequence, open.topic)).collect();
        if !backlog.is_empty() {
            return Plan::Pick(backlog);
        }
        if let Some(first) = self.wanted.first() {
            let ready = self.board.ready_from(*first);
            let missing = ready.filter(|(sequence, _)| !self.contents.contains_key(sequence));
            let others =
                self.wanted.iter().filter_map(|wanted| Some((*wanted, self.board.about(*wanted)?.0)));
            return Plan::Pick(
                others.chain(missing.take(PICK)).collect::<BTreeSet<_>>().into_iter().collect(),
            );
        }
        let stretches = self.unread(log);
        // Commits add to the log before they add to the index, so what the index knows is there.
        let ends = stretches.iter().map(|stretch| stretch.end);
        let end = ends.chain([self.heard]).fold(self.next, u64::max);
        Plan::Merge(stretches, end)
    }

    /// Returns what was not read yet of each topic.
    pub(super) fn unread(&mut self, log: &Log) -> Vec<Stretch> {
        let from = self.next;
        let index = log.index();
        let behind = self.matching.rows(&index).filter(|row| row.end > from && row.messages > 0);
        behind.map(|row| Stretch { topic: row.id, from: from.max(row.first), end: row.end }).collect()
    }

    /// Keeps a message that is ready, unless there is too much of that: then it is read again.
    fn keep(&mut self, sequence: u64, message: sidespan_bridge::Message) {
        let is_wanted = self.wanted.remove(&sequence);
        if self.board.is_ready(sequence) && (is_wanted || self.weight < KEPT) {
            self.weight += message.weight();
            if let Some(old) = self.contents.insert(sequence, message) {
                self.weight -= old.weight();
            }
        }
    }
}

/// Turns a stored time into an instant; `None` if it has passed.
fn due(millis: u64) -> Option<Instant> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wait = Duration::from_millis(millis).checked_sub(wall).filter(|wait| !wait.is_zero())?;
    Some(Instant::now() + wait.min(super::LONGEST_DELAY))
}

/// Messages of one read.
const BATCH: usize = 256;
/// Bytes of one read; a single message may be larger.
const BATCH_BYTES: usize = 1 << 20;
/// Known messages of one read.
const PICK: usize = 128;
/// Bytes of messages that are kept until they are handed out.
const KEPT: usize = 4 << 20;

// A batch must fit where new messages are only read while there is room.
const _: () = assert!(BATCH < MOST_UNSETTLED);
