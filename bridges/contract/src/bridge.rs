//! The traits that a broker implements.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    Error, Event, Fault, Guarantee, Limits, Message, Pattern, Position, Receipt, Registry, Settings,
    SettingsError, Subscribe, Topic, Unsupported,
};

/// A kind of broker, as the configuration names it (`kind: kafka`).
pub trait Driver: Sync {
    /// Returns the name that `kind` gives.
    fn name(&self) -> &'static str;

    /// Returns the messaging system that it speaks to, as OpenTelemetry's conventions name it (`messaging.system`).
    fn system(&self) -> &'static str {
        self.name()
    }

    /// Checks settings without any I/O.
    ///
    /// # Errors
    ///
    /// Names the key, what was expected, and what was found.
    fn check(&self, settings: &Settings) -> Result<(), SettingsError>;

    /// Returns the JSON Schema of the settings.
    fn schema(&self) -> schemars::Schema;

    /// Tells, without any I/O, what the broker can do for such a subscription, by settings that
    /// `check` accepts.
    ///
    /// # Errors
    ///
    /// What the broker cannot do. `Bridge::subscribe` refuses the same.
    fn limits(&self, settings: &Settings, to: &Subscribe) -> Result<Limits, Unsupported>;

    /// Tells, without any I/O, whether the broker stores what is published.
    fn stores(&self, settings: &Settings) -> bool;

    /// Tells, without any I/O, whether the broker can keep a [`Registry`].
    fn keeps_registry(&self, settings: &Settings) -> bool {
        let _ = settings;
        false
    }

    /// Returns the host and the port of the broker, where the settings name only one: for those who watch.
    fn server(&self, settings: &Settings) -> Option<(String, u16)> {
        let _ = settings;
        None
    }

    /// Opens a bridge, within a Tokio runtime. Never waits for the broker: `probe` tells.
    ///
    /// # Errors
    ///
    /// Settings that cannot be used, or a local resource (a directory, a lock) that cannot be had.
    fn open(&self, settings: &Settings) -> Result<Arc<dyn Bridge>, Error>;
}

/// A connection to one broker, shared by everyone in the process.
#[async_trait]
pub trait Bridge: Send + Sync {
    /// Returns the one publisher that all publishes share.
    fn publisher(&self) -> Arc<dyn Publisher>;

    /// Joins or makes a subscription.
    ///
    /// # Errors
    ///
    /// The caller tries again, with backoff, unless the fault says that it is useless.
    async fn subscribe(&self, to: Subscribe) -> Result<Box<dyn Subscription>, Error>;

    /// Tells whether the broker can be used now. Answers within `deadline`.
    ///
    /// # Errors
    ///
    /// Says in one line what is wrong and what to do.
    async fn probe(&self, deadline: Instant) -> Result<(), Error>;

    /// Tells, without any I/O, what holds on every topic.
    fn guarantees(&self) -> Guarantees;

    /// Lists the topics that a pattern stands for; a literal pattern gives one or none.
    ///
    /// # Errors
    ///
    /// The broker cannot be asked.
    async fn topics(&self, pattern: &Pattern, deadline: Instant) -> Result<Vec<TopicInfo>, Error>;

    /// Makes sure that this topic exists, creating it where the settings say so.
    ///
    /// # Errors
    ///
    /// `UnknownTopic` where it does not exist and may not be created.
    async fn ensure(&self, topic: &Topic, deadline: Instant) -> Result<(), Error>;

    /// Makes sure that what is published to a topic is kept until somebody reads it, as dead letters
    /// need.
    ///
    /// Where a topic stores nothing by itself (AMQP), a queue must stand behind it.
    ///
    /// # Errors
    ///
    /// As `ensure`; `Unsupported` where nothing is stored at all.
    async fn ensure_kept(&self, topic: &Topic, deadline: Instant) -> Result<(), Error> {
        self.ensure(topic, deadline).await
    }

    /// Accepts a message whose token went with its process, by the token's `receipt`. Done when the broker has
    /// it; the message may have been given to another member before.
    ///
    /// # Errors
    ///
    /// `Unsupported` where the broker has no such thing, `Unroutable` where the receipt is good for nothing
    /// any more.
    async fn accept(&self, receipt: &str, deadline: Instant) -> Result<(), Error> {
        let _ = (receipt, deadline);
        Err(Error::new(Fault::Unsupported).detail("only the process that received a message settles it"))
    }

    /// Publishes a request, and waits for the one reply that names it. Where replies arrive is the bridge's own
    /// affair: it sets the message's `reply_to` and `correlation`, and gives both back as they came in the reply.
    ///
    /// Dropping the future forgets the request: a reply that comes later is for nobody, and is dropped.
    ///
    /// # Errors
    ///
    /// `Unroutable` where the broker tells that nobody listens, `Timeout` where no reply came by `deadline` (the
    /// request may have been handled), `Limited` where too many replies are awaited, `Unsupported` where the
    /// broker has no such thing; else as a publish.
    async fn request(&self, topic: &Topic, message: Message, deadline: Instant) -> Result<Message, Error> {
        let _ = (topic, message, deadline);
        Err(Error::new(Fault::Unsupported).detail("this broker has no replies"))
    }

    /// Sends a reply to where a received message awaits it: `to` is that message's `reply_to`, and the reply has
    /// its `correlation`. Done when the broker has it, or, where it keeps nothing, has seen it.
    ///
    /// # Errors
    ///
    /// `Unroutable` where the broker tells that nobody waits there any more, `Invalid` where `to` is no place that
    /// a reply may go to, `Unsupported` where the broker has no replies; else as a publish.
    async fn reply(&self, to: &str, reply: Message, deadline: Instant) -> Result<(), Error> {
        let _ = (to, reply, deadline);
        Err(Error::new(Fault::Unsupported).detail("this broker has no replies"))
    }

    /// Moves a group to `to.start`, whatever it has settled: what lies behind comes again, what lies before is
    /// skipped. The group exists, or is made. Done when the broker has it recorded.
    ///
    /// Nobody here may be a member meanwhile; where others are, the bridge waits for them to leave until `deadline`.
    ///
    /// # Errors
    ///
    /// `Conflict` where members are left by then, `Unsupported` where the broker cannot, or not to there.
    async fn seek(&self, to: &Subscribe, deadline: Instant) -> Result<(), Error> {
        let _ = (to, deadline);
        Err(Error::new(Fault::Unsupported).detail("this broker cannot move a group"))
    }

    /// Counts what a group has not settled, whether it has members or not. `None` where it does not exist yet: where
    /// it would begin is not fixed.
    ///
    /// # Errors
    ///
    /// The broker cannot be asked by `deadline`, or cannot tell (`Unsupported`).
    async fn lag(&self, to: &Subscribe, deadline: Instant) -> Result<Option<Lag>, Error> {
        let _ = (to, deadline);
        Err(Error::new(Fault::Unsupported).detail("this broker does not tell what a group has left"))
    }

    /// Opens the registry of this name, making it where it does not exist. Never waits for the broker.
    ///
    /// # Errors
    ///
    /// The broker cannot keep one, as [`Driver::keeps_registry`] tells.
    fn registry(&self, name: &str) -> Result<Arc<dyn Registry>, Unsupported> {
        Err(Unsupported(
            format!("this broker cannot keep the registry {name}: name a bridge that can").into(),
        ))
    }

    /// Waits until everything that was handed over is settled one way or the other, then lets go
    /// of the broker. Idempotent.
    async fn close(&self, deadline: Instant);
}

/// The publishing half of a bridge.
pub trait Publisher: Send + Sync {
    /// Publishes a batch: one outcome a message, in order; there is no overall failure.
    ///
    /// The call itself submits, in order; dropping the future cancels nothing. The future is done
    /// by `deadline`: what was handed over and is not answered then is `Fault::Timeout`.
    fn publish(
        &self,
        topic: &Topic,
        batch: Vec<Message>,
        deadline: Instant,
    ) -> BoxFuture<'static, Vec<Result<Receipt, Error>>>;
}

/// The receiving half, read by one task.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for what comes next. Cancel-safe.
    ///
    /// `None` is a clean end, after `close`. An error ends the subscription: drop it, wait, and
    /// subscribe again. Trouble that heals by itself (a broker that restarts) is no error.
    async fn next(&mut self) -> Option<Result<Event, Error>>;

    /// Tells where a cursor of its own began: the first position to come of every partition that
    /// there was, as `Start::Resume` takes it. What is not named appeared later, and is read from
    /// its beginning. `None` for a group, and where the broker has no positions.
    fn begun(&self) -> Option<Vec<(Topic, Position)>> {
        None
    }

    /// Returns the handle that steers the subscription from elsewhere.
    fn control(&self) -> Arc<dyn Control>;
}

/// Steers a subscription from outside the task that reads it.
#[async_trait]
pub trait Control: Send + Sync {
    /// Stops new deliveries. What is out stays ours, and is settled as ever. Idempotent.
    fn stop_intake(&self);

    /// Tells whether this member is one that gets messages, as far as it knows without asking.
    fn role(&self) -> Role;

    /// Counts what is not settled yet.
    ///
    /// # Errors
    ///
    /// The broker cannot be asked, or cannot tell (`Unsupported`).
    async fn lag(&self) -> Result<Lag, Error>;

    /// Ends the membership: hands what was settled to the broker, gives back the rest, and lets
    /// `next` end with `None`. Tokens still out are stale from here on. Idempotent.
    ///
    /// # Errors
    ///
    /// Not all settlements could be handed over by `deadline`; those messages may come again.
    async fn close(&self, deadline: Instant) -> Result<(), Error>;
}

/// What a member is to its subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It gets messages, or would if there were any.
    Active,
    /// Other members get them; it takes over when one of those goes.
    Standby,
    /// The broker does not tell, and nothing has come yet that would.
    Unknown,
}

/// What a group has yet to settle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Messages stored and not settled.
    pub messages: u64,
    /// Age of the oldest of them, where the broker can tell.
    pub oldest: Option<Duration>,
}

/// A topic that exists at the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its address.
    pub topic: Topic,
    /// How many partitions; 1 where there are none.
    pub partitions: u32,
    /// How many messages are stored, where the broker tells.
    pub messages: Option<u64>,
    /// How many bytes they take there, where the broker tells.
    pub bytes: Option<u64>,
}

/// What holds on every topic of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarantees {
    /// What a receipt is worth. `AtLeastOnce`: messages are stored.
    pub delivery: Guarantee,
    /// A message whose idempotency key is known is not stored again.
    pub deduplicates: bool,
    /// A subscription may ask for order.
    pub ordered: bool,
    /// A subscription may begin at the beginning, a time or a position.
    pub start: bool,
    /// A group may be moved.
    pub seek: bool,
    /// A request gets its reply.
    pub requests: bool,
}
