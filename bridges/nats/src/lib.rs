//! NATS as a Sidespan bridge: JetStream, and core NATS.
//!
//! # How NATS maps onto the contract
//!
//! | contract | JetStream | core |
//! |---|---|---|
//! | topic | subject that a stream captures | subject |
//! | wildcard pattern | the same, within one stream | the same |
//! | group | durable pull consumer; `orders-api.billing` is `orders-api_billing` | queue group |
//! | no group | consumer of its own without acknowledgements | plain subscription |
//! | shard, epoch | the consumer, from one loss to the next | the subscription |
//! | position | the stream's sequence | – |
//! | key | header `Sidespan-Key` | the same |
//! | tombstone | – | – |
//! | receipt | the stream's acknowledgement | the server has seen it: at most once |
//! | `Accept` | `+ACK`, confirmed for whoever waits | – |
//! | `Release` | `-NAK` with its delay; held here where there is an order | held here |
//! | held | `+WPI` every third of `ack_wait` | – |
//! | order | one active member (pinned client), the others stand by | – |
//! | seek | the consumer is deleted and made again | – |
//! | lag | pending and unacknowledged | – |
//! | request | – | a subject under the bridge's inbox; nobody there is the server's word |
//! | reply | – | published to the request's reply subject; that nobody waits is not told |
//! | registry | bucket `<service>_<name>` of the key-value store | – |
//!
//! A bridge speaks one of the two (`mode`); one never stands in for the other. Both need a server of 2.11
//! or later; older ones have no pinned clients.
//!
//! # Publishing
//!
//! One connection is shared by all ([`publisher`]). A call hands over at once and in order; one task
//! reads the answers. A subject that no stream captures is said at once, by the server. An interest
//! stream acknowledges what it throws away, so for those the bridge asks whether somebody waits. A
//! connection that is lost takes along what was not answered: that may be stored. Idempotency keys are
//! hashed with the topic, as a stream remembers them over all its subjects.
//!
//! Core NATS answers nothing: there a message to ourselves follows each batch, and once it has come
//! back the server has seen what was ahead of it.
//!
//! # Receiving
//!
//! All subscriptions share a second connection; each has a consumer and a task ([`subscription`]) that
//! pulls as much as the window has room for. A consumer that is deleted is made again, behind what its
//! group had settled when somebody last looked; a stream that is made anew is read from its beginning.
//!
//! A pattern must lie within one stream: order and positions are a stream's.
//!
//! A consumer that the bridge makes for a group says its version in its metadata (`sidespan.version`). One
//! of an unknown version is refused and left as it is.
//!
//! # Security
//!
//! A link ([`link`]) logs in by name and password, token, NKey or credentials, by TLS or without, and reads
//! secrets and certificates anew for each connection. Why there is none is one line that says what to change,
//! for the log and the probe. What the server's permissions forbid is denied by name.

mod api;
mod bridge;
mod core;
mod fault;
mod link;
mod message;
mod publisher;
mod registry;
mod requests;
mod settings;
mod streams;
mod subject;
mod subscription;

use std::sync::Arc;

use sidespan_bridge::{Bridge, Driver, Error, Limits, Settings, SettingsError, Subscribe, Unsupported};

use bridge::NatsBridge;
use settings::NatsSettings;

/// Opens bridges to NATS (`kind: nats`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Nats;

impl Driver for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        NatsSettings::read(settings).map(drop)
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(NatsSettings)
    }

    fn limits(&self, settings: &Settings, to: &Subscribe) -> Result<Limits, Unsupported> {
        let settings = NatsSettings::read(settings).map_err(|error| Unsupported(error.to_string().into()))?;
        bridge::limits(&settings, to)
    }

    fn stores(&self, settings: &Settings) -> bool {
        NatsSettings::read(settings).is_ok_and(|settings| settings.stores())
    }

    fn keeps_registry(&self, settings: &Settings) -> bool {
        self.stores(settings)
    }

    fn server(&self, settings: &Settings) -> Option<(String, u16)> {
        match &*NatsSettings::read(settings).ok()?.addresses().ok()? {
            [server] => Some((server.host().to_owned(), server.port())),
            _ => None,
        }
    }

    fn open(&self, settings: &Settings) -> Result<Arc<dyn Bridge>, Error> {
        Ok(Arc::new(NatsBridge::open(settings)?))
    }
}
