//! AMQP 0-9-1 as a Sidespan bridge, as RabbitMQ speaks it.
//!
//! # How AMQP maps onto the contract
//!
//! | contract | AMQP |
//! |---|---|
//! | topic | `exchange/routing.key`; `/queue` is the default exchange; bare text is a routing key of `amq.topic` |
//! | wildcard pattern | binding key: `*` is `*`, `>` is `*.#` |
//! | group | durable queue of its name, bound to the exchange; members are its consumers |
//! | no group | a cursor of its own: an exclusive queue that goes with its connection |
//! | shard, epoch | queue, from one consumer to the next |
//! | position | none |
//! | key | header `sidespan-key` |
//! | headers | header table; what a table cannot carry (order, repeats) is listed in `sidespan-headers` |
//! | CloudEvents attributes | `cloudEvents_<attribute>`; `cloudEvents:` and `ce-` are read too |
//! | tombstone | none |
//! | receipt | publisher confirm of a persistent message, `mandatory`, not returned |
//! | `Accept` | acknowledgement in a transaction; the commit says that the broker has it, if not yet on disk |
//! | `Release` | held here and handed out again; other members never see it |
//! | topics | queues that stay, and routing keys of bindings, by the management API where it is configured |
//! | request | direct reply-to (`amq.rabbitmq.reply-to`), `correlation_id` |
//! | reply | to the queue that `reply_to` names |
//! | lag | messages that are ready, and those that this member holds; what other members hold is not told |
//!
//! # Connecting
//!
//! A URL of `amqps` is TLS. Addresses are tried in turn ([`dial`]), and each attempt reads
//! passwords and certificates anew: what was rotated is used by the next connection. What is wrong with a
//! connection is one line that says what to change: in the log, once for all connections of the bridge, and in
//! what a probe says. Neither names a user.
//!
//! # Publishing
//!
//! One confirm channel is shared by all ([`publisher`]), so that publishes stay in order, and
//! nobody waits for another's confirm. An exchange is looked up before the first message goes to it:
//! the broker ends the channel of who publishes to one that does not exist. A message that no
//! queue takes is `Unroutable`. What was handed over and is not answered is `Timeout`; while the
//! connection is down nothing is handed over. While the broker takes nothing (`connection.blocked`, a memory or
//! disk alarm) publishing is `Overloaded`.
//!
//! # Receiving
//!
//! The broker gives a member as many messages as its window holds ([`subscription`]). It counts messages,
//! not bytes: when those that came weigh four times as much as the window takes, they are given back
//! once, and from then on the broker is asked for fewer. Subscriptions without order share a connection; one with
//! order has its own. What the client library cannot read, a name that is not UTF-8, ends the connection once; the
//! next one mends it ([`mend`]). Nothing that the broker has is ever
//! deleted: a queue that exists with other settings is `Conflict`, and one whose pattern was
//! changed keeps its old binding until somebody takes it away.
//!
//! Quorum queues are made with the highest `x-delivery-limit`: without one RabbitMQ 4 gives a
//! message up after 20 deliveries. A message that is held for as long as `consumer_timeout` allows comes
//! again: shortly before, the subscription gives back all that it holds. Where the broker's own is shorter than the
//! settings say, the broker takes all back once, and names its own, which is kept to from then on.

mod address;
mod bridge;
mod dial;
mod fault;
mod headers;
mod link;
mod management;
mod mend;
mod message;
mod publisher;
mod replies;
mod settings;
mod subscription;
mod topology;
mod transport;
mod wire;

use std::sync::Arc;

use sidespan_bridge::{Bridge, Driver, Error, Limits, Settings, SettingsError, Subscribe, Unsupported};

use bridge::AmqpBridge;
use settings::AmqpSettings;

/// Opens bridges to RabbitMQ (`kind: amqp`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Amqp;

impl Driver for Amqp {
    fn name(&self) -> &'static str {
        "amqp"
    }

    fn system(&self) -> &'static str {
        "rabbitmq"
    }

    fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        AmqpSettings::read(settings).map(drop)
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(AmqpSettings)
    }

    fn limits(&self, settings: &Settings, to: &Subscribe) -> Result<Limits, Unsupported> {
        let settings = AmqpSettings::read(settings).map_err(|error| Unsupported(error.to_string().into()))?;
        bridge::limits(&settings, to)
    }

    fn stores(&self, _: &Settings) -> bool {
        true
    }

    fn server(&self, settings: &Settings) -> Option<(String, u16)> {
        match AmqpSettings::read(settings).ok()?.url.all() {
            [url] => Some((url.host.clone(), url.port)),
            _ => None,
        }
    }

    fn open(&self, settings: &Settings) -> Result<Arc<dyn Bridge>, Error> {
        Ok(Arc::new(AmqpBridge::open(settings)?))
    }
}
