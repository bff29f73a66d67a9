//! What a broker may lack.

use Ability::{
    Ages, Broker, Deduplication, DelayedRelease, Groups, Listeners, Listing, Order, OrderedSharing,
    Partitions, Positions, Registry, Requests, Seek, SeparateMembers, Start, Storage, Tombstone,
    UnknownTopic,
};

/// A broker, as far as its abilities go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Kafka.
    Kafka,
    /// NATS with JetStream.
    JetStream,
    /// NATS without.
    CoreNats,
    /// RabbitMQ.
    Amqp,
    /// The embedded log.
    Embedded,
}

/// Something that not every broker can do, and how a bridge admits that its broker cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// The lag tells the age of the oldest message. Else it has none.
    Ages,
    /// A process of its own, which can die while the member lives. Nothing to admit.
    Broker,
    /// A window in which a message of a known id is not stored again. Else `deduplicated` is false.
    Deduplication,
    /// A released message waits at the broker or on disk. Else `releases_to_broker` is false.
    DelayedRelease,
    /// What a group has settled outlives its members, and so does what it has not. Else `settle`
    /// is `Stale` and `lag` is `Unsupported`.
    Groups,
    /// The broker tells that nobody listens to a request. Else it waits in vain, and is a `Timeout`.
    Listeners,
    /// Topics can be listed. Else `topics` is `Unsupported`.
    Listing,
    /// `Order::Key` and `Order::Topic`. Else `Unsupported`.
    Order,
    /// Members of an ordered subscription all get a part. Else one is active, the others stand by.
    OrderedSharing,
    /// Partitions. Else asking for one other than 0 is `Unsupported` or `Invalid`.
    Partitions,
    /// Positions. Else receipts and deliveries have none.
    Positions,
    /// A registry. Else `registry` is `Unsupported`, and the driver says so.
    Registry,
    /// Requests get replies. Else `request` and `reply` are `Unsupported`.
    Requests,
    /// A group can be moved. Else `seek` is `Unsupported`.
    Seek,
    /// Several members at a time that live and die apart. Else `open` gives the one bridge again.
    SeparateMembers,
    /// `Start::Begin`, `Start::Time`, `Start::Position`, `Start::Resume`, and cursors that tell where
    /// they began. Else `Unsupported`.
    Start,
    /// Messages are stored. Else receipts say `AtMostOnce`.
    Storage,
    /// A message without a body that is not an empty message. Else `Unsupported` or `Invalid`.
    Tombstone,
    /// An address nobody made is a fault, whatever the settings. Else publishing there succeeds (an
    /// embedded log is made by its first message, unless the settings forbid it).
    UnknownTopic,
}

/// All abilities.
pub const ABILITIES: [Ability; 19] = [
    Ages,
    Broker,
    Deduplication,
    DelayedRelease,
    Groups,
    Listeners,
    Listing,
    Order,
    OrderedSharing,
    Partitions,
    Positions,
    Registry,
    Requests,
    Seek,
    SeparateMembers,
    Start,
    Storage,
    Tombstone,
    UnknownTopic,
];

impl Ability {
    /// Tells whether a kind of broker must have this ability. The one table of what may be lacking.
    pub fn of(self, kind: Kind) -> bool {
        #[rustfmt::skip]
        let [kafka, jetstream, core_nats, amqp, embedded] = match self {
            //                     Kafka  JetStr. core   AMQP   embedded
            Self::Ages            => [true,  true,  false, false, true],
            Self::Broker          => [true,  true,  true,  true,  false],
            Self::Deduplication   => [false, true,  false, false, true],
            Self::DelayedRelease  => [false, true,  false, false, true],
            Self::Groups          => [true,  true,  false, true,  true],
            Self::Listeners       => [false, false, true,  true,  true],
            Self::Listing         => [true,  true,  false, false, true],
            Self::Order           => [true,  true,  false, true,  true],
            Self::OrderedSharing  => [true,  false, false, false, false],
            Self::Partitions      => [true,  false, false, false, false],
            Self::Positions       => [true,  true,  false, false, true],
            Self::Registry        => [true,  true,  false, false, true],
            Self::Requests        => [true,  false, true,  true,  true],
            Self::Seek            => [true,  true,  false, false, true],
            Self::SeparateMembers => [true,  true,  true,  true,  false],
            Self::Start           => [true,  true,  false, false, true],
            Self::Storage         => [true,  true,  false, true,  true],
            Self::Tombstone       => [true,  false, false, false, true],
            Self::UnknownTopic    => [true,  true,  false, true,  false],
        };
        match kind {
            Kind::Kafka => kafka,
            Kind::JetStream => jetstream,
            Kind::CoreNats => core_nats,
            Kind::Amqp => amqp,
            Kind::Embedded => embedded,
        }
    }
}
