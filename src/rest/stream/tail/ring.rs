//! The last messages of a tail, and how far its followers are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Failure;
use crate::rest::stream::shown::Shown;

/// The last messages of a tail.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) state: Mutex<State>,
    /// Tells all followers.
    pub(super) arrived: Notify,
    /// Tells who reads.
    pub(super) followed: Notify,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The number of the first message that is here.
    pub(super) first: u64,
    pub(super) shown: VecDeque<Entry>,
    /// The bytes of all messages that ever were here.
    bytes: u64,
    /// The id that is before the first.
    pub(super) before: Box<str>,
    /// What the quickest of the followers takes next.
    pub(super) furthest: u64,
    pub(super) end: Option<Option<Failure>>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) shown: Arc<Shown>,
    /// Of all bytes, those up to its end.
    bytes: u64,
}

impl Ring {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the quickest follower is near.
    pub(super) async fn until_followed(&self) {
        loop {
            if self.lock().is_followed() {
                return;
            }
            self.followed.notified().await;
        }
    }
}

impl State {
    /// Begins behind the message of this id.
    pub(super) fn beginning_after(id: String) -> Self {
        Self { before: id.into(), ..Self::default() }
    }

    pub(super) fn next(&self) -> u64 {
        self.first + self.shown.len() as u64
    }

    fn is_followed(&self) -> bool {
        let (ahead, last) = (self.next().saturating_sub(self.furthest), self.shown.len());
        let taken =
            usize::try_from(ahead).ok().and_then(|ahead| self.shown.get(last.checked_sub(ahead + 1)?));
        let bytes = if ahead == 0 { 0 } else { self.bytes - taken.map_or(0, |entry| entry.bytes) };
        ahead < LEAD && bytes < LEAD_BYTES
    }

    pub(super) fn last(&self) -> &str {
        self.shown.back().and_then(|entry| entry.shown.id()).unwrap_or(&self.before)
    }

    pub(super) fn behind(&self, id: &str) -> Option<u64> {
        if *self.before == *id {
            return Some(self.first);
        }
        let index = self.shown.iter().rposition(|entry| entry.shown.id() == Some(id))?;
        Some(self.first + index as u64 + 1)
    }

    fn kept(&self) -> u64 {
        let before = self.shown.front().map(|first| first.bytes - first.shown.weight() as u64);
        self.bytes - before.unwrap_or(self.bytes)
    }

    pub(super) fn push(&mut self, shown: Shown) {
        self.bytes += shown.weight() as u64;
        self.shown.push_back(Entry { shown: Arc::new(shown), bytes: self.bytes });
        while self.shown.len() > MESSAGES || (self.shown.len() > 1 && self.kept() > BYTES) {
            let Some(Entry { shown, .. }) = self.shown.pop_front() else { break };
            self.first += 1;
            if let Some(id) = shown.id() {
                self.before = id.into();
            }
        }
    }
}

/// How many messages are kept, and how many bytes of them; one is, however large.
const MESSAGES: usize = 1024;
const BYTES: u64 = 1 << 20;
/// How far the tail is read before the quickest of its followers.
const LEAD: u64 = 256;
const LEAD_BYTES: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn state(messages: u64, weight: usize) -> State {
        let mut state = State { before: "0".into(), ..State::default() };
        for id in 1..=messages {
            state.push(Shown::of(&id.to_string(), &"1".repeat(weight)));
        }
        state
    }

    #[test]
    fn the_last_messages_are_kept() {
        let state = state(2000, 10);
        assert_eq!((state.shown.len(), state.first, state.next()), (MESSAGES, 976, 2000));
        assert_eq!((&*state.before, state.last()), ("976", "2000"));
        assert_eq!(state.behind("975"), None);
        assert_eq!(state.behind("976"), Some(976));
        assert_eq!(state.behind("1999"), Some(1999));
        assert_eq!(state.behind("2000"), Some(2000));
    }

    #[test]
    fn of_large_messages_fewer_are_kept_and_one_at_least() {
        let few = state(20, 400 << 10);
        assert_eq!((few.shown.len(), few.next()), (2, 20));
        let one = state(3, 5 << 20);
        assert_eq!((one.shown.len(), one.last()), (1, "3"));
    }

    #[test]
    fn the_quickest_follower_says_how_far_it_is_read() {
        let is_followed = |state: State, furthest| State { furthest, ..state }.is_followed();
        assert!(is_followed(state(100, 10), 0));
        assert!(!is_followed(state(300, 10), 0));
        assert!(is_followed(state(300, 10), 100));
        assert!(!is_followed(state(5, 100 << 10), 0));
        assert!(is_followed(state(5, 100 << 10), 3));
        assert!(!is_followed(state(1, 1 << 20), 0));
        assert!(is_followed(state(1, 1 << 20), 1));
    }
}
