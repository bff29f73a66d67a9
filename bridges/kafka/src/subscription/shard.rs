//! One partition, for as long as it is ours.

use std::time::Duration;

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use sidespan_bridge::{Epoch, Message, Position, Prefix, Shard};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::member::{Member, last_end};
use super::memory::{Memory, Uncommitted};
use crate::catalogue::Partition;
use crate::message;
use crate::offsets::{METADATA_LIMIT, Place, SkipSet, Written};

/// A partition that we own, from its assignment to its loss.
pub(super) struct Owned {
    pub(super) partition: Partition,
    pub(super) shard: Shard,
    pub(super) epoch: Epoch,
    /// Where its records come from; taken away when the partition is to be given up.
    queue: Option<PartitionQueue<Member>>,
    prefix: Prefix,
    /// Settled by an owner before us, and not received yet.
    skip: SkipSet,
    /// Settled by ourselves before the partition was lost, and not received again yet.
    memory: Memory,
    uncommitted: Uncommitted,
    /// Behind the last record received.
    received: u64,
    /// Where the client came upon the end of the log.
    end: Option<u64>,
    /// Handed out and neither settled nor released.
    pub(super) out: usize,
    /// Unsettled, wherever they are, and their bytes.
    pub(super) held: usize,
    pub(super) held_bytes: usize,
    /// Moves with every settlement.
    version: u64,
    committed: u64,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) lost: CancellationToken,
    /// Not read, because too much lies between the oldest unsettled message and the newest.
    pub(super) parked: bool,
}

/// How far the broker knows what is settled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Settlements up to this version are in the commit, if they lie below `covers`.
    version: u64,
    floor: u64,
    covers: u64,
    /// No commit follows.
    pub(super) over: bool,
}

/// A settlement that somebody waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) offset: u64,
    version: u64,
}

/// What a commit says about one partition.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) epoch: Epoch,
    pub(super) partition: Partition,
    pub(super) floor: u64,
    pub(super) written: Written,
    version: u64,
}

/// What reading a partition brought.
pub(super) enum Read {
    /// A message that is to be delivered.
    Message(u64, Message),
    /// Something that needs no delivery; there may be more.
    Nothing,
    /// All that has arrived is read.
    Empty,
    /// The log does not have what we asked for.
    OutOfRange,
}

impl Claim {
    /// Tells whether the broker has it.
    pub(super) fn is_met(self, progress: &Progress) -> bool {
        self.offset < progress.floor || (self.version <= progress.version && self.offset < progress.covers)
    }
}

impl Owned {
    pub(super) fn new(
        partition: Partition,
        epoch: Epoch,
        queue: PartitionQueue<Member>,
        begin: u64,
        (skip, memory): (SkipSet, Memory),
    ) -> Self {
        let shard = Shard::new(format!("{}/{}", partition.topic, partition.number));
        Self {
            shard,
            partition,
            epoch,
            queue: Some(queue),
            prefix: Prefix::new(begin),
            skip,
            memory,
            uncommitted: Uncommitted::default(),
            received: begin,
            end: None,
            out: 0,
            held: 0,
            held_bytes: 0,
            version: 0,
            committed: 0,
            progress: watch::Sender::new(Progress { floor: begin, ..Progress::default() }),
            lost: CancellationToken::new(),
            parked: false,
        }
    }

    /// Takes the next record that has arrived.
    pub(super) fn read(&mut self) -> Read {
        let Some(queue) = &self.queue else { return Read::Empty };
        if self.prefix.span() >= SPAN {
            self.parked = true;
            return Read::Empty;
        }
        let (offset, message) = match queue.poll(Duration::ZERO) {
            None => return Read::Empty,
            Some(Ok(record)) => match u64::try_from(record.offset()) {
                Ok(offset) => (offset, message::of_record(&record)),
                Err(_) => return Read::Nothing,
            },
            Some(Err(error)) => return self.trouble(&error),
        };
        if !self.prefix.receive(offset) {
            return Read::Nothing;
        }
        self.received = offset + 1;
        let settled = self.skip.contains(offset);
        self.skip.forget_before(self.received);
        if settled {
            self.settle(offset);
            return Read::Nothing;
        }
        if self.memory.recall(offset, &message) {
            let claim = self.settle(offset);
            self.remember(claim, &message);
            return Read::Nothing;
        }
        self.held += 1;
        self.held_bytes += message.weight();
        Read::Message(offset, message)
    }

    fn trouble(&mut self, error: &KafkaError) -> Read {
        match error {
            KafkaError::PartitionEOF(_) => {
                if let Some(end) = last_end() {
                    self.end = Some(end);
                    self.reach(end);
                }
                Read::Nothing
            }
            KafkaError::MessageConsumption(
                Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation,
            ) => Read::OutOfRange,
            error => {
                tracing::warn!(shard = %self.shard, %error, "a partition cannot be read for now");
                Read::Nothing
            }
        }
    }

    /// Everything below `end` has come by now, or never will: control records, aborted messages,
    /// compacted ones. Once all that came is settled, so is the rest.
    fn reach(&mut self, end: u64) {
        let floor = self.prefix.floor();
        self.prefix.reach(end);
        if self.prefix.floor() > floor {
            self.version += 1;
        }
    }

    /// Notes that a message is settled, and returns what to wait for at the broker.
    pub(super) fn settle(&mut self, offset: u64) -> Claim {
        if self.prefix.settle(offset) {
            self.version += 1;
            if let Some(end) = self.end {
                self.reach(end);
            }
        }
        Claim { offset, version: self.version }
    }

    /// Notes that a message is done, whatever the broker hears of it.
    pub(super) fn remember(&mut self, claim: Claim, message: &Message) {
        if claim.version > self.committed {
            self.uncommitted.note(claim.offset, claim.version, message);
        }
    }

    /// Returns what is to be remembered when the partition is no longer ours.
    pub(super) fn into_memory(self) -> (Partition, Memory) {
        let Self { partition, mut memory, uncommitted, progress, .. } = self;
        memory.extend(uncommitted, progress.borrow().floor);
        (partition, memory)
    }

    /// Tells whether reading can go on that was stopped for want of room.
    pub(super) fn unpark(&mut self) -> bool {
        self.parked && self.prefix.span() < SPAN && std::mem::take(&mut self.parked)
    }

    /// Hands out nothing more.
    pub(super) fn stop(&mut self) {
        self.queue = None;
    }

    /// Tells whether the partition is being given up.
    pub(super) fn is_leaving(&self) -> bool {
        self.queue.is_none()
    }

    /// Counts what is stored up to `high` and not settled.
    pub(super) fn lag(&self, high: u64) -> u64 {
        let beyond = self.prefix.beyond().count() as u64;
        high.saturating_sub(self.prefix.floor()).saturating_sub(beyond)
    }

    /// Returns the first offset that is not settled.
    pub(super) fn floor(&self) -> u64 {
        self.prefix.floor()
    }

    /// Returns what the broker does not know yet, if there is anything.
    pub(super) fn snapshot(&self, cluster: Option<&str>) -> Option<Snapshot> {
        if self.version == self.committed {
            return None;
        }
        let floor = self.prefix.floor();
        let written = match cluster {
            Some(cluster) => {
                let (topic, partition) = (self.partition.topic.as_str(), self.partition.number);
                let settled = SkipSet::collect(self.prefix.beyond()).followed_by(&self.skip);
                settled.write(Place { cluster, topic, partition }, floor, METADATA_LIMIT)
            }
            None => Written { text: String::new(), covers: floor },
        };
        let (epoch, partition) = (self.epoch, self.partition.clone());
        Some(Snapshot { epoch, partition, floor, written, version: self.version })
    }

    /// Notes that the broker has a snapshot.
    pub(super) fn committed(&mut self, snapshot: &Snapshot) {
        self.committed = self.committed.max(snapshot.version);
        self.uncommitted.committed(snapshot.version);
        self.progress.send_modify(|progress| {
            progress.version = snapshot.version;
            progress.floor = snapshot.floor;
            progress.covers = snapshot.written.covers;
        });
    }

    /// Ends the epoch: late results are stale from here on.
    pub(super) fn end(&self) {
        self.lost.cancel();
        self.progress.send_modify(|progress| progress.over = true);
    }

    pub(super) fn position(&self, offset: u64) -> Option<Position> {
        Some(Position { partition: u32::try_from(self.partition.number).ok()?, sequence: offset })
    }
}

/// How far a partition is read ahead of its oldest unsettled message: some 16 MiB of notes.
const SPAN: usize = 1 << 20;
