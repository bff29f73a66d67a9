//! Kafka as a Sidespan bridge.
//!
//! # How Kafka maps onto the contract
//!
//! | contract | Kafka |
//! |---|---|
//! | topic | topic |
//! | wildcard pattern | regular expression; topics made later are found within seconds |
//! | group | consumer group, cooperative-sticky |
//! | no group | a cursor of its own: partitions are assigned by hand, nothing is committed |
//! | shard, epoch | partition, from one assignment to its loss |
//! | position | partition and offset |
//! | key | record key, placed as the Java client places it |
//! | tombstone | record without a value |
//! | receipt | `acks=all` from an idempotent producer |
//! | `Accept` | the contiguous prefix is committed, what is settled beyond it goes into the offset's metadata |
//! | `Release` | held here and handed out again; other members never see it |
//! | request | message with `kafka_replyTopic`, `kafka_replyPartition` and `kafka_correlationId`, as Spring has them |
//! | reply | message to that topic and partition, with the same correlation |
//! | reply address | `topic`, or `topic/partition` |
//! | correlation | its bytes; `base64:` and so on where they are not UTF-8 |
//! | seek | commit of offsets while the group has no members |
//! | registry | compacted topic `<service>.<name>`, of one partition |
//! | lag | end of the log less what is settled |
//!
//! # Getting in
//!
//! `tls` and `sasl` say how clients get in ([`access`]). The client library takes certificates and
//! passwords when a client is made, so one whose secrets have changed since is replaced: the producer
//! as soon as another gets in with the new ones and nothing is on its way; a consumer once a
//! connection of its own fails, by subscribing anew; the client for questions at the first that
//! fails. Tokens for OAUTHBEARER are fetched ahead by a task ([`tokens`]). The library gives them to
//! producers and consumers only, so with them no topic is created.
//!
//! Why nobody answers is said in one line ([`trouble`]). Who may write to no topic gets no
//! idempotent producer: each publish is `Denied` then, and reading goes on.
//!
//! # Publishing
//!
//! One idempotent producer is shared by all ([`publisher`]). Topics are looked up before the first
//! message goes to them, so that a missing one is said at once and nothing is created by asking.
//! The client goes on trying for `max_deadline`: a message whose caller has given up may still
//! be stored. What is known not to have left is `Unavailable`; all other silence is `Timeout`.
//!
//! The client gathers messages into requests of up to `batch.size` (1 MB), and the broker refuses a
//! request that is larger than a topic's `max.message.bytes` as a whole: where that is lower than 1 MB, set
//! `batch.size` below it in `properties`. What was refused only because of its neighbours is
//! `Rejected`, with that advice; to tell, the bridge asks for the topic's configuration. Where it may
//! not see that, all of such a request is `TooLarge`.
//!
//! # Receiving
//!
//! Each subscription has a consumer of its own ([`subscription`]). Records wait in one queue a
//! partition, inside the client. A full window leaves them there: to pause a partition would throw
//! its fetch buffer away. Commits follow settlements within 100 ms, at once when somebody waits.
//! Questions about logs go by a connection of their own ([`asker`]).
//!
//! A broker that is away for longer than a session costs a member its partitions, and what was accepted
//! meanwhile cannot be committed. A member that gets one back knows what it accepted itself, and
//! does not hand it out again.
//!
//! A new group's start is recorded for every partition before the first delivery. A partition or
//! topic that appears later begins at its beginning, and so does one whose position the log no
//! longer has. A wildcard subscription that matched nothing has nothing to record: its group is new
//! until a topic appears while it runs. Kafka forgets a group that had no members for a week
//! (`offsets.retention.minutes`): then it is new, too.

mod access;
mod asker;
mod blocking;
mod bridge;
mod catalogue;
mod clients;
mod correlation;
mod fault;
mod link;
mod message;
mod offsets;
mod properties;
mod publisher;
mod registry;
mod replies;
mod reply_to;
mod sasl;
mod seek;
mod settings;
mod stranded;
mod subscription;
mod tokens;
mod topics;
mod trouble;

use std::sync::Arc;

use sidespan_bridge::{Bridge, Driver, Error, Limits, Settings, SettingsError, Subscribe, Unsupported};

use bridge::KafkaBridge;
use settings::KafkaSettings;

/// Opens bridges to Kafka (`kind: kafka`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Kafka;

impl Driver for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        KafkaSettings::read(settings).map(drop)
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(KafkaSettings)
    }

    fn limits(&self, _: &Settings, _: &Subscribe) -> Result<Limits, Unsupported> {
        Ok(Limits { longest_hold: None, releases_to_broker: false })
    }

    fn stores(&self, _: &Settings) -> bool {
        true
    }

    fn keeps_registry(&self, _: &Settings) -> bool {
        true
    }

    fn server(&self, settings: &Settings) -> Option<(String, u16)> {
        match &*KafkaSettings::read(settings).ok()?.brokers {
            [broker] => {
                let (host, port) = broker.rsplit_once(':')?;
                Some((host.to_owned(), port.parse().ok()?))
            }
            _ => None,
        }
    }

    fn open(&self, settings: &Settings) -> Result<Arc<dyn Bridge>, Error> {
        Ok(Arc::new(KafkaBridge::open(settings)?))
    }
}
