//! What a subscription yields.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{AckToken, Message, Topic};

/// Something that happened on a subscription.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all events are deliveries, and none is kept as an event"
)]
pub enum Event {
    /// A message to be delivered and settled.
    Delivery(Delivery),
    /// A shard is no longer ours: everything of this epoch that is not settled by `finish_by`
    /// belongs to another member.
    ///
    /// Attempts that are under way may finish and settle until then; no new ones may start. At
    /// `finish_by` the bridge cancels the deliveries' `lost`, and later results are stale.
    Lost {
        /// Which part.
        shard: Shard,
        /// Which stretch of owning it has ended.
        epoch: Epoch,
        /// Until when results are still taken. Now or earlier: no longer.
        finish_by: Instant,
    },
}

/// A message on loan: it comes again unless its token is settled with `Accept`.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The address it was found at.
    pub topic: Topic,
    /// The part of the subscription within which order holds.
    pub shard: Shard,
    /// The stretch of owning the shard in which it was delivered.
    pub epoch: Epoch,
    /// Where it stands in the broker, if the broker has positions.
    pub position: Option<Position>,
    /// How often the broker says it gave the message before; `None` where it does not count.
    pub redelivered: Option<u32>,
    /// Cancelled once this delivery is no longer ours.
    pub lost: CancellationToken,
    /// Settles the message; dropped, it releases it.
    pub ack: AckToken,
}

/// A part of a subscription within which order holds: a partition, a queue, a log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(Arc<str>);

impl Shard {
    /// Names a shard; the name is for people and is unique within its subscription.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Numbers the stretches in which a member owns a shard; a later one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// Where a message stands in its topic; text for everybody but bridges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Partition, or 0 where there are none.
    pub partition: u32,
    /// Offset or sequence.
    pub sequence: u64,
}

impl Position {
    /// Returns the position just behind this one.
    pub fn next(self) -> Self {
        Self { sequence: self.sequence.saturating_add(1), ..self }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.sequence)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (partition, sequence) = text.split_once('-').ok_or(PositionError)?;
        Ok(Self {
            partition: partition.parse().map_err(|_| PositionError)?,
            sequence: sequence.parse().map_err(|_| PositionError)?,
        })
    }
}

/// A text that no receipt and no message gave as a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a position: use one that a receipt or a message gave")]
pub struct PositionError;
