//! Sidespan's embedded bridge: a durable log in one directory, for when there is no broker.
//!
//! # How the log maps onto the contract
//!
//! - **Topic**: a named log; made by the first who publishes or subscribes to it, unless the
//!   settings say otherwise. A name has 1 to 255 bytes, no control characters, no `*` and `>`, and
//!   dots only between its parts.
//! - **Position**: one ascending sequence over all topics, in partition 0. So a wildcard
//!   subscription reads in the order of publishing, over topics too, and one number says how far it
//!   is. A topic that is made later lies wholly behind that number: it is read from its beginning.
//! - **Shard**: the topic.
//! - **Receipt**: after the flush to the disk. One thread commits all that waits in one
//!   transaction. An idempotency key and its message are in the same transaction.
//! - **Group**: a durable cursor: how far it has read, and which of that is not settled, with the
//!   delay of what was released. Stored at most 100 ms after a change, or at once when somebody
//!   awaits it. After a kill all that was not settled comes again, and at most what was settled
//!   since the last commit. A group that comes with another pattern goes on where it was: topics
//!   that it reads only from now on are read from there.
//! - **Members** of a group share it within the process (there is no other: the directory is
//!   locked). With `Order::Key` a key with something outstanding stays with its member, with
//!   `Order::Topic` one member is active. Nothing is ever revoked, so there is no `Lost`.
//! - **Request**: a message like any other, refused where no group and no cursor reads its topic. Its reply
//!   goes from hand to hand within the process, and is stored nowhere.
//! - **Registry**: rows beside the log, changed by the same transactions. A revision is the number of the
//!   transaction that wrote the record; the one writer compares.
//! - **Retention**: by size (1 GiB if nothing else is said) and by age, oldest first over all
//!   topics, never past what a durable group has not settled: publishing is refused then, unless
//!   `discard: old` gives up the old messages.
//!
//! # The way through the files
//!
//! In: `publisher` -> `queue` -> `committer` (draft, retention, answer) -> `store`. Out: `store` ->
//! `reading` -> `group` (filling, board, state, keeping) -> `subscription`. `log` is what both share, and
//! knows neither; `groups` is who reads, and `replies` who awaits an answer. `registry` stands beside them: its
//! rows are written by the committer, which tells of them on the `bulletin`.

mod bridge;
mod bulletin;
mod committer;
mod directory;
mod fault;
mod group;
mod groups;
mod index;
mod log;
mod publisher;
mod queue;
mod reading;
mod record;
mod registry;
mod replies;
mod saved;
pub mod settings;
mod store;
mod subscription;

use std::sync::Arc;

use sidespan_bridge::{
    Bridge, Driver, Error, Fault, Limits, Settings, SettingsError, Subscribe, Unsupported,
};

use crate::bridge::EmbeddedBridge;
use crate::settings::EmbeddedSettings;

/// The driver of `kind: embedded`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Embedded;

/// The driver, for a list of drivers.
pub static DRIVER: Embedded = Embedded;

impl Driver for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn system(&self) -> &'static str {
        "sidespan_embedded"
    }

    fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        settings.parse::<EmbeddedSettings>()?.check()
    }

    fn schema(&self) -> schemars::Schema {
        schemars::schema_for!(EmbeddedSettings)
    }

    fn limits(&self, _: &Settings, _: &Subscribe) -> Result<Limits, Unsupported> {
        Ok(Limits { longest_hold: None, releases_to_broker: true })
    }

    fn stores(&self, _: &Settings) -> bool {
        true
    }

    fn keeps_registry(&self, _: &Settings) -> bool {
        true
    }

    fn open(&self, settings: &Settings) -> Result<Arc<dyn Bridge>, Error> {
        let invalid = |error: SettingsError| Error::new(Fault::Invalid).detail(error.to_string());
        let settings: EmbeddedSettings = settings.parse().map_err(invalid)?;
        settings.check().map_err(invalid)?;
        Ok(Arc::new(EmbeddedBridge::open(&settings)?))
    }
}
