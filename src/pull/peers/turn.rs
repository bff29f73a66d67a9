//! Looking around for all who wait: one at a time does, and what it saw is remembered.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::lock;

/// What all consumers of one subscription share: one at a time looks around.
#[derive(Debug, Default)]
pub(in crate::pull) struct Turn {
    pub(super) turn: tokio::sync::Mutex<()>,
    pub(super) seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    /// A look has ended.
    pub(super) looked: bool,
    /// When a peer said that it gets messages.
    pub(super) owner: Option<Instant>,
}

impl Turn {
    /// Tells whether no peer has lately said that it gets messages, though they were looked at.
    pub(in crate::pull) fn lacks_owner(&self) -> bool {
        let seen = lock(&self.seen);
        seen.looked && seen.owner.is_none_or(|at| at.elapsed() > LATELY)
    }
}

/// More than a look may take.
const LATELY: Duration = Duration::from_secs(15);
