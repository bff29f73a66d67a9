//! What Sidespan is told to do, valid by construction.
//!
//! [`mod@file`] is what a person types; [`Config`] is what it means: names are resolved, defaults
//! filled in, contradictions refused. Nothing beyond this module sees raw input.

mod allow;
mod development;
mod environment;
mod explain;
mod file;
mod load;
mod log;
mod names;
mod operators;
mod reference;
mod renewal;
mod resolve;
mod schema;
mod telemetry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sidespan_bridge::{Driver, Order, Pattern, Secret, Settings, Span, Start, Subscribe, Topic, Window};
use url::Url;

pub use self::log::{Level, LevelError, Log};
pub use allow::{Allow, Reach};
pub use development::Subscriptions;
pub use file::{File, LogFormat, StartFile};
pub use names::{Name, NameError, TopicName};
pub use operators::Operators;
pub use reference::reference;
pub use resolve::SpecError;
pub use schema::schema;
pub use telemetry::{Otlp, OtlpProtocol, Telemetry};

/// Everything the server needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Sidespan's identity: prefix of group names, client id at brokers.
    pub service: Name,
    /// Development mode: nothing was configured.
    pub development: bool,
    /// The door for services.
    pub listen: Address,
    /// The door for operators.
    pub admin: SocketAddr,
    /// The door for the kubelet and Prometheus.
    pub health: Option<SocketAddr>,
    /// Who may call; without it nobody is asked.
    pub auth: Option<Auth>,
    /// `Host` values that are served besides the listener's own.
    pub allowed_hosts: Vec<String>,
    /// `Origin` values that are served; none by default.
    pub allowed_origins: Vec<String>,
    /// Log format and level.
    pub log: Log,
    /// What is told to those who watch.
    pub telemetry: Telemetry,
    /// Every bound of the doors and the publish path.
    pub limits: Limits,
    /// How long the two phases of stopping may take.
    pub drain: Drain,
    /// The other replicas of this service.
    pub replicas: Option<Replicas>,
    /// The brokers, by name.
    pub bridges: BTreeMap<Name, BridgeConfig>,
    /// Where undeclared topic names are looked for, if that bridge is open.
    pub default_bridge: Option<Name>,
    /// The declared topics.
    pub topics: BTreeMap<TopicName, TopicConfig>,
    /// The subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// Where subscriptions that are made at run time are kept.
    pub registry: Option<RegistryConfig>,
    /// Where those may push messages to.
    pub push_allow: Allow,
}

/// Where the REST and gRPC doors listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Who may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// At least one; no two have the same name.
    pub tokens: Vec<Token>,
}

/// A caller that shows a secret, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The caller's name.
    pub name: Name,
    /// What it shows.
    pub secret: Secret,
    /// Topics that it may publish to.
    pub publish: Vec<Pattern>,
    /// Topics and subscriptions that it may read.
    pub subscribe: Vec<Pattern>,
    /// Whether it may change the server itself.
    pub manage: bool,
}

/// Every bound of the doors and the publish path. Names are those of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest payload of one message, in bytes.
    pub max_message: usize,
    /// Largest head of a request, in bytes.
    pub max_head: usize,
    /// Largest batch request, in bytes, after decompression.
    pub max_batch: usize,
    /// Most messages in a batch.
    pub max_batch_messages: usize,
    /// Messages that may be unanswered at one broker.
    pub max_in_flight: usize,
    /// Bytes that may be unanswered at one broker, and bodies that are being read.
    pub max_in_flight_bytes: usize,
    /// Requests that may await their replies.
    pub max_requests: usize,
    /// How long a publish may take if the caller doesn't say.
    pub timeout: Duration,
    /// The longest that a caller may ask for.
    pub max_timeout: Duration,
    /// How long a pause within a request's body may take.
    pub read_timeout: Duration,
    /// How long a connection may be idle, or take to send the head of a request.
    pub idle_timeout: Duration,
    /// Open connections on the door for services.
    pub max_connections: usize,
    /// Open streams on the door for services.
    pub max_streams: usize,
}

/// Deadlines of the two phases of stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Phase one: what is in flight to consumers is finished.
    pub deliveries: Duration,
    /// Phase two: publishes are answered, settlements committed, groups left.
    pub shutdown: Duration,
}

/// The other replicas of this service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// Where they are found: `host:port`, and every address of the host is one.
    pub peers: Vec<String>,
    /// Where they reach this one; by default where it listens.
    pub advertise: Option<SocketAddr>,
    /// What they share. The first signs, all are recognised.
    pub secrets: Vec<Secret>,
}

/// Where subscriptions that are made at run time are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// The bridge that keeps them.
    pub bridge: Name,
    /// The registry's name there.
    pub name: String,
    /// How many subscriptions it may have.
    pub max_subscriptions: usize,
    /// The signing secrets that those may refer to.
    pub secrets: Vec<Secret>,
}

/// One broker.
#[derive(Clone)]
pub struct BridgeConfig {
    /// The kind of broker.
    pub driver: &'static dyn Driver,
    /// Its section, without the keys that are the server's.
    pub settings: Settings,
    /// Whether undeclared topic names are taken as addresses.
    pub open: bool,
}

impl fmt::Debug for BridgeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BridgeConfig").field("kind", &self.driver.name()).finish_non_exhaustive()
    }
}

/// A declared topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// The bridge that has it.
    pub bridge: Name,
    /// Its address there.
    pub address: Topic,
    /// How CloudEvents are written to it.
    pub cloudevents: CloudEventsMode,
}

/// One subscription: what is read, how, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its name, unique in the configuration.
    pub name: Name,
    /// The bridge it reads from.
    pub bridge: Name,
    /// The topic as it was configured: a declared name, or an address.
    pub topic: String,
    /// What it reads there.
    pub pattern: Pattern,
    /// Its group at the broker.
    pub group: Box<str>,
    /// Where a new group begins.
    pub start: Start,
    /// Which messages must not overtake which.
    pub order: Order,
    /// When messages are acknowledged.
    pub guarantee: sidespan_bridge::Guarantee,
    /// Attempts that may run at a time.
    pub max_in_flight: usize,
    /// What may be unsettled at a time, waiting included.
    pub max_held: Window,
    /// Where messages go.
    pub target: Target,
    /// What happens when they are not accepted.
    pub retry: Retry,
    /// Where messages go that nobody accepts; `None` holds them and goes on trying.
    pub dead_letter: Option<TopicConfig>,
}

impl Subscription {
    /// Returns what is asked of the bridge.
    pub fn wish(&self) -> Subscribe {
        Subscribe {
            pattern: self.pattern.clone(),
            group: Some(self.group.clone()),
            start: self.start.clone(),
            order: self.order,
            window: self.max_held,
        }
    }
}

/// Where messages of a subscription go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// They are kept until a consumer fetches them.
    Pull(Pull),
    /// They are posted to a webhook.
    Push(Push),
}

impl Target {
    /// Returns the webhook, if it is one.
    pub fn push(&self) -> Option<&Push> {
        match self {
            Self::Push(push) => Some(push),
            Self::Pull(_) => None,
        }
    }
}

/// How consumers fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// How long a message is its consumer's, unless that is extended.
    pub lease: Duration,
}

impl Pull {
    /// The longest that a lease may last, or be extended by at a time.
    pub const LONGEST: Duration = Duration::from_secs(600);
    /// The shortest lease.
    pub const SHORTEST: Duration = Duration::from_secs(1);
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Where messages are posted.
    pub url: Url,
    /// How long one attempt may take: connection, headers and body.
    pub timeout: Duration,
    /// Signing secrets; each signs, so that they can be rotated.
    pub secrets: Vec<Secret>,
    /// Message headers that are sent under their own name.
    pub headers: Vec<http::HeaderName>,
    /// Which HTTP is spoken.
    pub protocol: PushProtocol,
    /// How CloudEvents are written.
    pub cloudevents: CloudEventsMode,
    /// Which addresses it may have.
    pub reach: Reach,
    /// The answer to a message that awaits a reply is that reply, up to so many bytes.
    pub reply: Option<usize>,
}

impl Push {
    /// Returns the URL as it may be shown: its query may hold a token.
    pub fn shown(&self) -> Url {
        let mut url = self.url.clone();
        url.set_query(None);
        url
    }
}

pub use file::{CloudEventsMode, PushProtocol};

/// What happens when a webhook does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts after which a failing message is a dead letter.
    pub max_attempts: u32,
    /// The first wait, doubled each time, with full jitter.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// Statuses that mean that the endpoint is unavailable, besides the defaults.
    pub unavailable: Vec<u16>,
    /// Statuses that mean that the message failed, besides the defaults.
    pub failed: Vec<u16>,
    /// Statuses that mean that the message is refused, besides the defaults.
    pub refused: Vec<u16>,
}

/// Takes a duration that can be waited for: far times cannot be added to the clock.
///
/// # Errors
///
/// It is longer than a day.
pub fn bounded(span: Span) -> Result<Duration, &'static str> {
    if span.0 <= LONGEST { Ok(span.0) } else { Err("must be at most 24h") }
}

const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Everything that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file or variable; empty where several came together.
    pub origin: String,
    /// The path of the key; empty for the whole.
    pub key: String,
    /// What is wrong, what was expected, what to do.
    pub reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.origin, &self.key] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.reason)
    }
}
