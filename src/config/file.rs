//! The configuration as a person types it.

mod log;
mod telemetry;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sidespan_bridge::{Secret, Size, Span};

pub(super) use self::log::LogFile;
pub use self::log::LogFormat;
pub use telemetry::OtlpProtocol;
pub(super) use telemetry::{OtlpFile, TelemetryFile};

/// Configuration of Sidespan.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Version of this format. Required.
    #[schemars(range(min = 1, max = 1))]
    pub version: Option<u32>,
    /// Sidespan's identity: prefix of group names, client id at brokers. Required.
    pub service: Option<String>,
    /// Where services speak to Sidespan: `host:port`, or `unix:/path`. Default `127.0.0.1:7400`.
    pub listen: Option<String>,
    /// Where operators speak to Sidespan: `host:port`. Default `127.0.0.1:7401`.
    pub admin: Option<String>,
    /// Where the kubelet and Prometheus look, without payloads: `host:port`. Default: off.
    pub health: Option<String>,
    /// Who may call. Default: nobody is asked, and whoever reaches a listener may use it.
    pub auth: Option<AuthFile>,
    /// Allows a listener off loopback without `auth`.
    #[serde(default)]
    pub insecure: bool,
    /// `Host` values that are served besides the listener's own.
    #[serde(default)]
    pub allowed_hosts: Vec<String>,
    /// `Origin` values that are served; a page in a browser is refused otherwise.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    /// The log.
    #[serde(default)]
    pub log: LogFile,
    /// What Sidespan tells of itself to those who watch it.
    #[serde(default)]
    pub telemetry: TelemetryFile,
    /// Bounds of the doors and the publish path.
    #[serde(default)]
    pub limits: LimitsFile,
    /// Deadlines of the two phases of stopping.
    #[serde(default)]
    pub drain: DrainFile,
    /// The other replicas of this service, which consumers reach through this one too. Default: none is known.
    pub replicas: Option<ReplicasFile>,
    /// The brokers, by name.
    #[serde(default)]
    pub bridges: BTreeMap<String, BridgeFile>,
    /// The bridge for topics, subscriptions and undeclared topics that name none. Default: the only one there is.
    pub default_bridge: Option<String>,
    /// Topics by the name that callers use.
    #[serde(default)]
    pub topics: BTreeMap<String, TopicFile>,
    /// Subscriptions by name.
    #[serde(default)]
    pub subscriptions: BTreeMap<String, SubscriptionFile>,
    /// Where subscriptions that are made at run time are kept, and what is paused. Default: none can be
    /// made.
    pub registry: Option<RegistryFile>,
    /// What holds for subscriptions that are made at run time, and push.
    #[serde(default)]
    pub push: PushRulesFile,
}

/// Who may call.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthFile {
    /// One for each caller.
    pub tokens: Vec<TokenFile>,
}

/// A caller: it sends `Authorization: Bearer <secret>`, and may do what its patterns say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenFile {
    /// The caller's name.
    pub name: String,
    /// At least 24 letters, digits and signs of ASCII. A file is read again when it changes.
    pub secret: Secret,
    /// Topics that it may publish to: names or patterns (`orders.*`, `orders.>`, `>`).
    #[serde(default)]
    pub publish: Vec<String>,
    /// Topics and subscriptions that it may read: names or patterns.
    #[serde(default)]
    pub subscribe: Vec<String>,
    /// Whether it may change the server itself: drain it, say.
    #[serde(default)]
    pub manage: bool,
}

/// Bounds of the doors and the publish path.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsFile {
    /// Largest payload of one message. Default 1MiB.
    pub max_message: Option<Size>,
    /// Largest head of a request: its line and its headers, of which there may be 100. At least 8KiB.
    /// Default 64KiB.
    pub max_head: Option<Size>,
    /// Largest batch request, after decompression. Default 64MiB.
    pub max_batch: Option<Size>,
    /// Most messages in a batch. Default 10000.
    pub max_batch_messages: Option<usize>,
    /// Messages that may be unanswered at one broker. Default 16384.
    pub max_in_flight: Option<usize>,
    /// Bytes that may be unanswered at one broker. Default 64MiB.
    pub max_in_flight_bytes: Option<Size>,
    /// Requests that may await their replies, at most 10000. Default 10000.
    pub max_requests: Option<usize>,
    /// How long a publish may take if the caller doesn't say. Default 10s.
    pub timeout: Option<Span>,
    /// The longest that a caller may ask for. Default 30s.
    pub max_timeout: Option<Span>,
    /// How long a pause in a request's body may take. Default 10s.
    pub read_timeout: Option<Span>,
    /// How long a connection may be idle, or take to send the head of a request. Default 75s.
    pub idle_timeout: Option<Span>,
    /// Open connections on the door for services. At the bound the one that was idle longest is closed
    /// for the next. Default 8192.
    pub max_connections: Option<usize>,
    /// Open streams on the door for services. Default 2048.
    pub max_streams: Option<usize>,
}

/// Deadlines of the two phases of stopping.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainFile {
    /// Finishing what is in flight to consumers. Default 20s.
    pub deliveries: Option<Span>,
    /// Answering publishes, committing, leaving groups. Default 5s.
    pub shutdown: Option<Span>,
}

/// The other replicas of this service: a pull or a verdict that reaches this one goes on to the one that has
/// the message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicasFile {
    /// Where replicas are found, `host:port` of their `listen`, such as `sidespan-headless:7400`: every
    /// address of a name is one. This one may be among them.
    pub peers: Vec<String>,
    /// Where the others reach this one: an IP address and a port. Default: `listen`.
    pub advertise: Option<String>,
    /// What all replicas share, and nobody else knows: 32 letters or more, read at the start. The first
    /// signs; all are recognised, so that they can be rotated.
    pub secrets: Vec<Secret>,
}

/// Where subscriptions that are made at run time are kept: all replicas see it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryFile {
    /// The bridge that keeps them.
    pub bridge: String,
    /// How many there may be. Default 1000.
    pub max_subscriptions: Option<usize>,
    /// The signing secrets that they may refer to, each as `{env: NAME}` or `{file: PATH}`.
    #[serde(default)]
    pub secrets: Vec<Secret>,
}

/// What holds for subscriptions that are made at run time, and push.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PushRulesFile {
    /// Where they may push messages to: hosts (`billing`, `billing:8080`), networks (`10.0.0.0/8`), beginnings of
    /// URLs (`http://billing:8080/hooks/`), or `loopback`. Default: `loopback`.
    pub allow: Option<Vec<String>>,
}

/// A broker. Keys besides these are the kind's own.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct BridgeFile {
    /// The kind of broker.
    pub kind: String,
    /// Takes undeclared topic names as addresses; only the default bridge can.
    #[serde(default)]
    pub open: bool,
    /// The kind's own keys.
    #[serde(flatten)]
    pub keys: Map<String, Value>,
}

/// A topic.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicFile {
    /// The bridge that has it. Default: the default bridge.
    pub bridge: Option<String>,
    /// Its address there. Default: its name.
    pub address: Option<String>,
    /// How CloudEvents are written to it; they are read in every form. Default `binary`.
    #[serde(default)]
    pub cloudevents: CloudEventsMode,
}

/// A subscription.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionFile {
    /// A declared topic, or an address or pattern (`orders.*`, `orders.>`) on an open bridge.
    pub topic: String,
    /// The bridge, for an address or pattern. Default: the default bridge.
    pub bridge: Option<String>,
    /// The group at the broker. Default `<service>.<subscription>`.
    pub group: Option<String>,
    /// Where a new group begins. Default `end`.
    pub start: Option<StartFile>,
    /// Which messages must not overtake which. Default `none`.
    #[serde(default)]
    pub order: OrderFile,
    /// When messages are acknowledged. Default `at-least-once`.
    #[serde(default)]
    pub guarantee: GuaranteeFile,
    /// Attempts that may run at a time. Default 64; with `pull`, as many messages as may be held.
    pub max_in_flight: Option<usize>,
    /// What may be unsettled at a time, waiting included.
    #[serde(default)]
    pub max_held: HeldFile,
    /// The webhook that messages are posted to. A subscription has either this or `pull`. Default: none.
    pub push: Option<PushFile>,
    /// Lets consumers fetch the messages: by pull, WebSocket or gRPC. Default: not.
    pub pull: Option<PullFile>,
    /// What happens when messages are not accepted.
    #[serde(default)]
    pub retry: RetryFile,
    /// Where messages go that nobody accepts: a topic, or `false` to hold them and go on trying.
    /// Default `dead.<service>.<subscription>`.
    pub dead_letter: Option<DeadLetterFile>,
}

/// Where a new group begins.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartFile {
    /// The oldest stored message.
    Begin,
    /// What is published from now on.
    End,
    /// A position that a receipt or a message gave.
    Position(String),
    /// A time, RFC 3339.
    Time(String),
}

/// Which messages must not overtake which.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderFile {
    /// Messages of one key.
    Key,
    /// None.
    #[default]
    None,
    /// All of a partition or queue.
    Topic,
}

/// When messages are acknowledged.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GuaranteeFile {
    /// After the message was accepted.
    #[default]
    AtLeastOnce,
    /// Before the webhook is called; not with `pull`.
    AtMostOnce,
}

/// What may be unsettled at a time.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeldFile {
    /// How many messages, at least `max_in_flight`. Default 4096.
    pub messages: Option<usize>,
    /// How many bytes of them. Default 16MiB.
    pub bytes: Option<Size>,
}

/// How consumers fetch.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PullFile {
    /// How long a message is its consumer's, unless that is extended. From 1s to 10m. Default 30s.
    pub lease: Option<Span>,
}

/// A webhook.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PushFile {
    /// `http://` or `https://`.
    pub url: String,
    /// How long one attempt may take: connection, headers and body. Default 10s.
    pub timeout: Option<Span>,
    /// Signing secrets (`whsec_...`); each signs, so that they can be rotated.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// Message headers that are sent under their own name.
    #[serde(default)]
    pub headers: Vec<String>,
    /// What is spoken: HTTP to a webhook, or gRPC to a receiver. Default `http1`.
    #[serde(default)]
    pub protocol: PushProtocol,
    /// How CloudEvents are written. Default `binary`.
    #[serde(default)]
    pub cloudevents: CloudEventsMode,
    /// The answer to a message that awaits a reply is that reply: status, headers and body. Default false.
    #[serde(default)]
    pub reply: bool,
}

/// What is spoken to the endpoint that messages are pushed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PushProtocol {
    /// gRPC: the endpoint is a service `sidespan.v1.Receiver`.
    Grpc,
    /// HTTP/2 without an upgrade, and without TLS by prior knowledge.
    H2,
    /// HTTP/1.1.
    #[default]
    Http1,
}

/// How CloudEvents are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CloudEventsMode {
    /// To a webhook: each request is a batch of one event, `application/cloudevents-batch+json`, for endpoints that
    /// take nothing else.
    Batched,
    /// Attributes as headers, data as the body.
    #[default]
    Binary,
    /// Attributes and data in one body of protobuf, `application/cloudevents+protobuf`.
    Protobuf,
    /// Attributes and data in one JSON body, `application/cloudevents+json`.
    Structured,
}

/// What happens when a webhook does not accept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryFile {
    /// Attempts after which a failing message is a dead letter. Default 20, or as many as there is time for
    /// where the broker lets a message be held only so long: with RabbitMQ's own 30 minutes 16.
    pub max_attempts: Option<u32>,
    /// Waits between attempts.
    #[serde(default)]
    pub backoff: BackoffFile,
    /// Moves statuses between the three kinds of failure.
    #[serde(default)]
    pub on: RetryOnFile,
}

/// Waits between attempts, with full jitter.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackoffFile {
    /// The first wait, doubled each time. Default 200ms.
    pub base: Option<Span>,
    /// The longest wait. Default 5m.
    pub cap: Option<Span>,
}

/// Statuses, from 300 to 599, that mean something else than by default.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryOnFile {
    /// The endpoint is unavailable: retried without end, counts no attempt.
    #[serde(default)]
    pub unavailable: Vec<u16>,
    /// The message failed: counts an attempt.
    #[serde(default)]
    pub failed: Vec<u16>,
    /// The message is refused: a dead letter at once.
    #[serde(default)]
    pub refused: Vec<u16>,
}

/// Where messages go that nobody accepts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected the name of a topic, or false")]
pub enum DeadLetterFile {
    /// `false`: nowhere.
    Switch(bool),
    /// A declared topic, or an address on the subscription's bridge.
    Topic(String),
}
