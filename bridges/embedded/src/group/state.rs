//! What a group knows while it lives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sidespan_bridge::{Message, Pattern};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::board::Board;
use crate::index::Matching;
use crate::log::Log;
use crate::saved::{Open, Saved};

/// A group's cursor, and what lies between it and the members.
#[derive(Debug)]
pub(super) struct State {
    pub(super) matching: Matching,
    /// Everything before this was read.
    pub(super) next: u64,
    /// Unsettled from an earlier life, and not read yet in this one.
    pub(super) backlog: BTreeMap<u64, Open>,
    pub(super) board: Board,
    /// Messages read and not handed out, as far as they are kept.
    pub(super) contents: HashMap<u64, Message>,
    /// What those weigh.
    pub(super) weight: usize,
    /// Just behind the newest message that concerns this group.
    pub(super) heard: u64,
    pub(super) seats: HashMap<u64, Seat>,
    pub(super) reading: bool,
    /// Offered to a member, but not in memory.
    pub(super) wanted: BTreeSet<u64>,
    /// Counts the times that everything was put back, which makes a read under way worthless.
    pub(super) generation: u64,
    /// Reading failed: not again before this.
    pub(super) rest: Option<Instant>,
    /// Counts what is to be stored.
    pub(super) version: u64,
    /// It is being moved: nobody joins, and its cursor is not stored as it was.
    pub(super) lifted: bool,
    pub(super) ended: bool,
}

/// How a member is told that something has changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seat {
    /// There may be something to do.
    pub(crate) bell: Arc<Notify>,
    /// The membership is over, and what is out is no longer its.
    pub(crate) lost: CancellationToken,
}

impl State {
    /// Lets all members look again.
    pub(super) fn ring(&self) {
        self.seats.values().for_each(|seat| seat.bell.notify_one());
    }

    /// Tells whether there is more to be read, and room for it.
    pub(super) fn has_more(&self) -> bool {
        (!self.backlog.is_empty() || self.heard > self.next) && self.board.len() < MOST_UNSETTLED
    }

    /// Takes over another pattern: what is read and not settled stays only if it matches.
    pub(super) fn adopt(&mut self, pattern: Pattern, log: &Log) {
        let index = log.index();
        let keeps = |open: &Open| index.row(open.topic).is_some_and(|row| pattern.matches(&row.topic));
        let before = self.backlog.len();
        self.backlog.retain(|_, open| keeps(open));
        let dropped = before - self.backlog.len();
        if dropped > 0 {
            warn!(dropped, "unsettled messages do not match the new pattern and are left behind");
        }
        self.matching = Matching::new(pattern);
        self.version += 1;
    }

    /// Hears of all that is there by now.
    pub(super) fn catch_up(&mut self, log: &Log) {
        let ends = self.matching.rows(&log.index()).map(|row| row.end).max();
        self.heard = self.heard.max(ends.unwrap_or(0));
    }

    /// Forgets all messages but that they are not settled: nobody is there to have them.
    pub(super) fn retire(&mut self) {
        self.backlog.append(&mut self.open_on_board());
        self.board = Board::new(self.board.order());
        self.contents = HashMap::new();
        self.weight = 0;
        self.wanted.clear();
        self.generation += 1;
    }

    pub(super) fn open_on_board(&self) -> BTreeMap<u64, Open> {
        let (now, wall) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let due = |due: Instant| {
            u64::try_from((wall + due.saturating_duration_since(now)).as_millis()).unwrap_or(u64::MAX)
        };
        self.board
            .unsettled()
            .map(|(sequence, entry)| {
                let open = Open { topic: entry.topic, given: entry.given, due: entry.due.map_or(0, due) };
                (sequence, open)
            })
            .collect()
    }

    pub(super) fn save(&self, name: Box<str>) -> Saved {
        let mut open = self.open_on_board();
        open.extend(&self.backlog);
        Saved { name, pattern: self.matching.pattern().clone(), next: self.next, open }
    }
}

/// Reads nothing new while this many messages of a group are not settled.
pub(super) const MOST_UNSETTLED: usize = 65_536;
