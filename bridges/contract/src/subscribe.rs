//! What a subscriber asks of a bridge, and what the bridge answers that it can do.

use std::time::{Duration, SystemTime};

use crate::{Error, Fault, Pattern, Position, Topic};

/// A wish to receive.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// What to read.
    pub pattern: Pattern,
    /// Who shares the messages, by the broker's name for it (`<service>.<subscription>`).
    ///
    /// `None` is a cursor of its own: it sees everything from `start`, shares nothing, keeps
    /// nothing at the broker, and its tokens settle nothing.
    pub group: Option<Box<str>>,
    /// Where a *new* group begins. A group that exists goes on where it was.
    pub start: Start,
    /// Which messages must not overtake which.
    pub order: Order,
    /// How much may be unsettled at a time: the bridge hands out no more.
    pub window: Window,
}

/// Where a new group begins. Recorded at the broker before the first delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The oldest message that is stored.
    Begin,
    /// What is published after the subscription was made.
    #[default]
    End,
    /// The first message at or after a time.
    Time(SystemTime),
    /// These positions, inclusive: one a partition; partitions not named begin at their beginning.
    Position(Vec<Position>),
    /// Where another cursor stopped: what it was to get next of each partition that it knew, and
    /// a time for the rest.
    ///
    /// Partitions not named begin at the first message at or after `since`, or at their beginning
    /// where that is the Unix epoch. A bridge whose positions run through all its topics needs
    /// only one of them, the latest.
    Resume {
        /// What comes next, inclusive: at most one a partition.
        from: Vec<(Topic, Position)>,
        /// When the cursor began that did not name all partitions.
        since: SystemTime,
    },
}

/// Which messages must not overtake which. Order holds within a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// None: as fast as can be.
    #[default]
    None,
    /// Messages of one key go one after the other.
    Key,
    /// All messages of a shard go one after the other.
    Topic,
}

/// How much may be unsettled at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Messages.
    pub messages: usize,
    /// Bytes, by `Message::weight`; a single message may be larger.
    pub bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { messages: 4096, bytes: 16 << 20 }
    }
}

/// What a bridge can do for a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a message may be held unsettled; `None` is without limit.
    pub longest_hold: Option<Duration>,
    /// A released message waits at the broker or on disk and does not take up the window.
    pub releases_to_broker: bool,
}

/// Something that a broker cannot do, said before any I/O.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(
    /// What, and what to ask for instead.
    pub Box<str>,
);

impl From<Unsupported> for Error {
    fn from(unsupported: Unsupported) -> Self {
        Self::new(Fault::Unsupported).detail(unsupported.0)
    }
}
