//! The conformance suite: what a bridge must do beyond what types can say.
//!
//! Each case is a function named by a sentence about behaviour; its body is the specification. A
//! bridge supplies a [`Harness`] and runs all of them from a test target with `harness = false`:
//!
//! ```ignore
//! #[tokio::main]
//! async fn main() -> std::process::ExitCode {
//!     conformance::main(async || Arc::new(Embedded::fresh()) as Arc<dyn Harness>).await
//! }
//! ```
//!
//! `cargo test -p <bridge> --test conformance some_words` runs the cases whose names hold
//! `some_words`. What a broker may lack is one literal table, [`Ability::of`]: a case that
//! needs what the broker lacks is reported as ignored, and
//! `what_the_broker_lacks_it_says` checks that the bridge
//! admits each lack. Any other lack is a failure.
//!
//! # What the cases take for granted
//!
//! A member is one opened [`Bridge`]: a sidecar. Cases make fresh topics and groups, so several may
//! run at the same time on one broker; those that disturb the broker run alone. They never sleep to
//! wait for something: they wait for a condition with a deadline ([`Harness::patience`]). That
//! something does *not* come is shown by a message that comes behind it.
//!
//! # What the suite decides where types leave it open
//!
//! - `subscribe` returns once the start is fixed at the broker: what is published from then on is
//!   not lost, even if the member goes away before its first delivery.
//! - `Confirmed` holds over a kill of the member, out of order too. `Control::close` hands over what
//!   was settled and not awaited.
//! - After `close`, and after a subscription was dropped, tokens still out are `Stale`, their `lost`
//!   is cancelled, and the next member gets their messages.
//! - A window is never exceeded, except by a single message that is larger. A message that comes
//!   again counts like any other.
//! - An ordered bridge does not overtake a released message. How many of one key it hands out at a
//!   time is its own choice.
//! - Once `probe` has said `Unavailable`, publishing says so too, until the broker is back.
//! - The tokens of a cursor settle nothing, so dropping one brings nothing back.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "this is test code, though it is compiled as a library for the bridges' tests"
)]

mod ability;
mod cases;
pub mod ending;
pub mod faults;
mod inbox;
pub mod lag;
mod ledger;
pub mod limits;
pub mod load;
pub mod lost;
pub mod order;
pub mod publish;
pub mod registry;
pub mod requests;
mod run;
pub mod seek;
pub mod settle;
pub mod start;
pub mod subscribe;
pub mod topics;
pub mod window;

pub use ability::{ABILITIES, Ability, Kind};
pub use cases::{CASES, Case};
pub use run::main;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Bridge, Driver, Settings, Topic};

/// What the suite needs to know of, and do to, a broker.
///
/// One is made for each case. Harnesses may share a broker process; they need not share anything
/// else. All names the suite uses are unique (`c1f0a9e2b3d4c5f6.eu.paid`: lower case letters,
/// digits and dots, at most 40 characters).
#[async_trait]
pub trait Harness: Send + Sync {
    /// Tells which column of the table of abilities holds.
    fn kind(&self) -> Kind;

    /// Returns the driver of the bridge.
    fn driver(&self) -> &'static dyn Driver;

    /// Returns the settings of every member.
    fn settings(&self) -> Settings;

    /// Opens a member: a bridge of its own to the same broker.
    ///
    /// Where one process owns the store (embedded) it returns the one bridge, and opens it anew
    /// after `close` and `kill`.
    async fn open(&self) -> Arc<dyn Bridge> {
        self.driver().open(&self.settings()).expect("a bridge")
    }

    /// Makes a topic as an operator would, not through a bridge, and returns once it can be used.
    ///
    /// `partitions` is at least 1 and is ignored where there are none. Topics that share a first
    /// token must be within reach of one pattern (on JetStream: in one stream).
    async fn make(&self, topic: &Topic, partitions: u32);

    /// Writes into a registry what somebody else could: a record of a name of its own, and, where the broker keeps
    /// what is written over, one of the name `key`. Nothing where only the bridge can write.
    async fn litter(&self, registry: &str, key: &str) {
        let _ = (registry, key);
    }

    /// Closes a member as a polite stop does, so that everything it has settled is with the broker.
    async fn close(&self, member: Arc<dyn Bridge>) {
        member.close(tokio::time::Instant::now() + self.patience()).await;
    }

    /// Kills a member as `kill -9` would: nothing that it has not yet said reaches the broker.
    ///
    /// The case drops the member's subscriptions and tokens *after* this call. Where the member
    /// can't be cut off from the outside, dropping is the next best thing: a bridge that is
    /// dropped without `close` says nothing more to the broker, as far as its client allows.
    /// Embedded: go on with a copy of the directory, taken now; what the old bridge still does
    /// then has no effect.
    async fn kill(&self, member: Arc<dyn Bridge>) {
        drop(member);
    }

    /// Returns the broker's process; `None` if it is not ours to kill, or if there is none.
    fn broker(&self) -> Option<&dyn Broker> {
        None
    }

    /// Returns the TCP port at which members reach the broker, to count their connections.
    fn port(&self) -> Option<u16> {
        None
    }

    /// Returns the broker's limit on the size of one message, in bytes.
    fn largest_message(&self) -> usize;

    /// Returns how long the broker lets a member hold a message that nobody renews (JetStream's
    /// `ack_wait`, Kafka's `max.poll.interval.ms`), set as short as the broker allows, at most 15
    /// seconds. Any short time where there is no such limit.
    fn lease(&self) -> Duration;

    /// Returns how long any one step may take: longer than it takes the broker to notice that a
    /// member is dead.
    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }
}

/// A broker's process. Cases that use it run alone.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Kills it with -9.
    async fn kill(&self);

    /// Starts it again, with its data, on the same port, and returns once it serves.
    async fn start(&self);

    /// Stops it in its tracks (SIGSTOP): connections stay, nothing answers.
    async fn freeze(&self);

    /// Lets it go on (SIGCONT).
    async fn thaw(&self);
}
