//! What of a group is kept: its cursor on the disk, and the messages that it has not settled.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sidespan_bridge::{Lag, Pattern, Settlement};

use super::{Group, Stored};
use crate::saved::Saved;

impl Group {
    /// Returns which messages retention must keep: the topics, and from where on.
    pub(crate) fn floor(&self) -> (Pattern, u64) {
        let state = self.lock();
        let firsts =
            [state.backlog.keys().next().copied(), state.board.unsettled().next().map(|(first, _)| first)];
        let floor = firsts.into_iter().flatten().min().unwrap_or(state.next).min(state.next);
        (state.matching.pattern().clone(), floor)
    }

    /// Returns the cursor if it has changed since it was stored last, and its version.
    pub(crate) fn unsaved(&self) -> Option<(u64, Saved)> {
        let name = self.name.clone()?;
        let state = self.lock();
        (!state.lifted && state.version > self.stored.borrow().version)
            .then(|| (state.version, state.save(name)))
    }

    /// Notes that a version of the cursor is stored.
    pub(crate) fn saved(&self, version: u64) {
        self.stored.send_if_modified(|stored| {
            let news = version > stored.version;
            stored.version = stored.version.max(version);
            news
        });
    }

    /// Waits until a version of the cursor is stored.
    pub(crate) async fn until_saved(&self, version: u64) -> Settlement {
        let is_saved = |stored: &Stored| stored.version >= version;
        if self.name.is_none() || is_saved(&self.stored.borrow()) {
            return Settlement::Confirmed;
        }
        self.log.queue.urge();
        let mut stored = self.stored.subscribe();
        match stored.wait_for(|stored| is_saved(stored) || stored.ended).await {
            Ok(stored) if is_saved(&stored) => Settlement::Confirmed,
            Ok(_) | Err(_) => Settlement::Stale,
        }
    }

    /// Counts what is not settled. Blocks.
    pub(crate) fn lag(&self) -> Result<Lag, redb::Error> {
        let (known, oldest, unread) = {
            let mut state = self.lock();
            let known = state.backlog.len() + state.board.len();
            let backlog = state.backlog.iter().next().map(|(sequence, open)| (*sequence, open.topic));
            let board = state.board.unsettled().next().map(|(sequence, entry)| (sequence, entry.topic));
            let oldest = backlog.into_iter().chain(board).min();
            (known as u64, oldest, state.unread(&self.log))
        };
        let (unread, first) = self.log.count(&unread, oldest)?;
        let age = |time: u64| {
            let time = UNIX_EPOCH + Duration::from_nanos(time);
            SystemTime::now().duration_since(time).unwrap_or_default()
        };
        Ok(Lag { messages: known + unread, oldest: first.map(age) })
    }
}
