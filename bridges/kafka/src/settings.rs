//! The settings of a Kafka bridge, and the librdkafka configurations that they become.
//!
//! What the bridge's promises rest on is set last and can't be overridden: `properties` may tune
//! everything else, and a key that would break a promise is refused by name.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use schemars::JsonSchema;
use serde::Deserialize;
use sidespan_bridge::{Settings, SettingsError, Size, Span, Tls};

use crate::properties;
use crate::sasl::{Identity, Mechanism, Sasl};

/// One Kafka cluster, as the configuration names it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KafkaSettings {
    /// Where the cluster is found at first: `host:port`, one or more.
    #[schemars(length(min = 1))]
    pub(crate) brokers: Vec<String>,
    /// TLS to the brokers. `{}`: with the machine's authorities. Absent: none.
    #[serde(default)]
    pub(crate) tls: Option<Tls>,
    /// Who we are to the brokers. Absent: nobody, or whom the certificate of `tls` names.
    #[serde(default)]
    pub(crate) sasl: Option<Sasl>,
    /// Allows topics to be created where something needs one, and says how. Absent: never.
    #[serde(default)]
    pub(crate) create_topics: Option<CreateTopics>,
    /// How batches are compressed on their way to the broker.
    #[serde(default)]
    pub(crate) compression: Compression,
    /// How long a message waits for others to share a request with (`5ms`). None by default: more
    /// than one message goes into a request only while the one before is under way.
    #[serde(default = "linger")]
    pub(crate) linger: Span,
    /// The largest message that is handed over: payload, key and headers together.
    #[serde(default = "max_message")]
    pub(crate) max_message: Size,
    /// How long the client goes on trying to store a message that was handed over (`30s`): the
    /// longest deadline that a publish may have.
    #[serde(default = "max_deadline")]
    pub(crate) max_deadline: Span,
    /// Other librdkafka settings, by their own names.
    #[serde(default)]
    pub(crate) properties: BTreeMap<String, Property>,
}

/// How topics are created.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateTopics {
    /// How many partitions.
    #[schemars(range(min = 1))]
    pub(crate) partitions: u16,
    /// How many copies of each.
    #[schemars(range(min = 1))]
    pub(crate) replication_factor: u16,
}

/// A codec that every broker knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    /// Deflate.
    Gzip,
    /// LZ4.
    Lz4,
    /// As it is.
    #[default]
    None,
    /// Snappy.
    Snappy,
    /// Zstandard.
    Zstd,
}

/// The value of a librdkafka setting.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected text, a number, or true or false")]
pub(crate) enum Property {
    /// True or false.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// Anything else.
    Text(String),
}

impl KafkaSettings {
    /// Reads and checks the settings, without any I/O.
    pub(crate) fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let read: Self = settings.parse()?;
        if read.brokers.is_empty() {
            return Err(SettingsError::new("brokers", "expected at least one `host:port`"));
        }
        for (index, broker) in read.brokers.iter().enumerate() {
            let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            if broker.contains(',') || port.is_none_or(|port| port.parse::<u16>().is_err()) {
                let reason = format!("expected `host:port`, found {broker:?}");
                return Err(SettingsError::new(format!("brokers[{index}]"), reason));
            }
        }
        if let Some(tls) = &read.tls {
            tls.check("tls")?;
        }
        if let Some(sasl) = &read.sasl {
            sasl.identity()?;
            if sasl.mechanism == Mechanism::Oauthbearer && read.create_topics.is_some() {
                let reason = "not with `sasl.mechanism: oauthbearer`: the client library gives tokens only to \
                              clients that publish or consume; create topics by other means";
                return Err(SettingsError::new("create_topics", reason));
            }
        }
        if let Some(topics) = read.create_topics {
            if topics.partitions == 0 {
                return Err(SettingsError::new("create_topics.partitions", "expected at least 1, found 0"));
            }
            if topics.replication_factor == 0 {
                let key = "create_topics.replication_factor";
                return Err(SettingsError::new(key, "expected at least 1, found 0"));
            }
        }
        if read.linger > MAX_LINGER {
            return Err(SettingsError::new("linger", "expected at most `1s`"));
        }
        if !(MIN_MESSAGE..=MAX_MESSAGE).contains(&read.max_message) {
            let (least, most, found) = (MIN_MESSAGE.0, MAX_MESSAGE.0, read.max_message.0);
            let reason = format!("expected {least} to {most} bytes, found {found}");
            return Err(SettingsError::new("max_message", reason));
        }
        if read.max_deadline < MIN_DEADLINE || read.max_deadline > MAX_DEADLINE {
            return Err(SettingsError::new("max_deadline", "expected `1s` to `15m`"));
        }
        for name in read.properties.keys() {
            if let Some(reason) = properties::refusal(name) {
                return Err(SettingsError::new(format!("properties.{name}"), reason));
            }
        }
        for (name, value) in &read.properties {
            let mut alone = ClientConfig::new();
            alone.set(name, value.to_string());
            if let Err(error) = alone.create_native_config() {
                let reason = match error {
                    rdkafka::error::KafkaError::ClientConfig(_, reason, _, _) => reason,
                    error => error.to_string(),
                };
                return Err(SettingsError::new(format!("properties.{name}"), reason));
            }
        }
        Ok(read)
    }

    /// Returns who we are to the brokers, if they are told.
    pub(crate) fn identity(&self) -> Option<(Mechanism, Identity)> {
        // Checked when it was read.
        self.sasl.as_ref().and_then(|sasl| Some((sasl.mechanism, sasl.identity().ok()?)))
    }

    /// Returns the configuration of the one producer.
    pub(crate) fn producer(&self, service: &str) -> ClientConfig {
        let mut config = self.tuned(service, &PRODUCER_DEFAULTS);
        config.set("linger.ms", self.linger.0.as_millis().to_string());
        config.set("compression.type", self.compression.name());
        config.set("message.max.bytes", self.max_message.0.to_string());
        config.set("message.timeout.ms", self.max_deadline.0.as_millis().to_string());
        set_all(&mut config, &PRODUCER_PROMISES);
        config
    }

    /// Returns the configuration of the consumer of one group.
    pub(crate) fn consumer(&self, service: &str, group: &str) -> ClientConfig {
        let mut config = self.tuned(service, &CONSUMER_DEFAULTS);
        config.set("group.id", group);
        set_all(&mut config, &CONSUMER_PROMISES);
        config
    }

    /// Returns the configuration of a client that only asks, or administers.
    pub(crate) fn asker(&self, service: &str) -> ClientConfig {
        self.tuned(service, &[])
    }

    fn tuned(&self, service: &str, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info);
        set_all(&mut config, &COMMON_DEFAULTS);
        set_all(&mut config, defaults);
        for (name, value) in &self.properties {
            config.set(name, value.to_string());
        }
        config.set("bootstrap.servers", self.brokers.join(","));
        config.set("client.id", service);
        set_all(&mut config, &COMMON_PROMISES);
        config
    }
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::None => "none",
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
        }
    }
}

impl std::fmt::Display for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

fn set_all(config: &mut ClientConfig, pairs: &[(&str, &str)]) {
    for (name, value) in pairs {
        config.set(*name, *value);
    }
}

fn linger() -> Span {
    Span(Duration::ZERO)
}

fn max_message() -> Size {
    Size(1 << 20)
}

fn max_deadline() -> Span {
    Span(Duration::from_secs(30))
}

const MIN_MESSAGE: Size = Size(1000);
const MAX_MESSAGE: Size = Size(1_000_000_000);
const MAX_LINGER: Span = Span(Duration::from_secs(1));
const MIN_DEADLINE: Span = Span(Duration::from_secs(1));
const MAX_DEADLINE: Span = Span(Duration::from_secs(900));

/// A broker that comes back is found within a second, a new topic or partition within five. A connection
/// on which nothing is answered is given up after ten, and not after the client's own minute.
const COMMON_DEFAULTS: [(&str, &str); 8] = [
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
    ("socket.nagle.disable", "true"),
    ("socket.timeout.ms", "10000"),
    ("log.connection.close", "false"),
    ("enable.metrics.push", "false"),
    ("topic.metadata.refresh.interval.ms", "5000"),
];

const COMMON_PROMISES: [(&str, &str); 2] =
    [("allow.auto.create.topics", "false"), ("topic.metadata.propagation.max.ms", "500")];

const PRODUCER_DEFAULTS: [(&str, &str); 2] =
    [("queue.buffering.max.messages", "100000"), ("queue.buffering.max.kbytes", "131072")];

const PRODUCER_PROMISES: [(&str, &str); 4] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("partitioner", "murmur2_random"),
    ("statistics.interval.ms", "0"),
];

/// With split queues the bound on fetch buffers counts for each partition. A partition whose buffer
/// is full joins the next fetch, which waits for the others: so buffers are not too small, and
/// fetches don't wait long.
const CONSUMER_DEFAULTS: [(&str, &str); 6] = [
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "3000"),
    ("queued.max.messages.kbytes", "8192"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.error.backoff.ms", "100"),
];

const CONSUMER_PROMISES: [(&str, &str); 6] = [
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("statistics.interval.ms", "0"),
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(keys: Value) -> Result<KafkaSettings, SettingsError> {
        KafkaSettings::read(&Settings::new("orders-api", keys))
    }

    #[test]
    fn brokers_are_all_that_is_needed() {
        let settings = read(json!({"brokers": ["127.0.0.1:9092"]})).unwrap();
        settings.producer("s").create_native_config().unwrap();
        settings.consumer("s", "g").create_native_config().unwrap();
        settings.asker("s").create_native_config().unwrap();
    }

    #[test]
    fn what_a_promise_rests_on_is_refused_with_a_reason() {
        for name in ["acks", "enable.auto.commit", "partitioner", "group.id", "plugin.library.paths"] {
            let error = read(json!({"brokers": ["k:1"], "properties": {name: "x"}})).unwrap_err();
            assert_eq!(error.key, format!("properties.{name}"));
            assert!(error.reason.len() > 20, "{}", error.reason);
        }
    }

    #[test]
    fn a_property_that_librdkafka_does_not_know_is_named() {
        let error = read(json!({"brokers": ["k:1"], "properties": {"no.such": 1}})).unwrap_err();
        assert_eq!(error.key, "properties.no.such");
        let error =
            read(json!({"brokers": ["k:1"], "properties": {"session.timeout.ms": "soon"}})).unwrap_err();
        assert_eq!(error.key, "properties.session.timeout.ms");
    }

    #[test]
    fn wrong_values_are_named_by_key() {
        let cases = [
            (json!({}), "brokers"),
            (json!({"brokers": []}), "brokers"),
            (json!({"brokers": ["kafka"]}), "brokers[0]"),
            (json!({"brokers": ["k:1"], "linger": "5"}), "linger"),
            (json!({"brokers": ["k:1"], "linger": "1h"}), "linger"),
            (json!({"brokers": ["k:1"], "max_deadline": "0s"}), "max_deadline"),
            (json!({"brokers": ["k:1"], "max_message": "1 parsec"}), "max_message"),
            (json!({"brokers": ["k:1"], "max_message": 999}), "max_message"),
            (json!({"brokers": ["k:1"], "compression": "rar"}), "compression"),
            (
                json!({"brokers": ["k:1"], "create_topics": {"partitions": 0, "replication_factor": 1}}),
                "create_topics.partitions",
            ),
        ];
        for (keys, key) in cases {
            let error = read(keys.clone()).unwrap_err();
            assert!(error.to_string().contains(key), "{keys}: {error}");
        }
    }

    #[test]
    fn what_is_needed_to_get_in_is_all_there_and_nothing_else() {
        let user = |more: Value| {
            let mut sasl = json!({"mechanism": "scram-sha-256", "username": "u", "password": "hunter2"});
            sasl.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"brokers": ["k:1"], "sasl": sasl})
        };
        let client = |more: Value| {
            let mut sasl = json!({
                "mechanism": "oauthbearer", "token_endpoint": "https://i/t", "client_id": "c", "client_secret": "hunter2",
            });
            sasl.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"brokers": ["k:1"], "sasl": sasl})
        };
        read(user(json!({}))).unwrap();
        read(client(json!({"scope": "s"}))).unwrap();
        let mut creating = client(json!({}));
        creating["create_topics"] = json!({"partitions": 1, "replication_factor": 1});
        let cases = [
            (json!({"brokers": ["k:1"], "tls": {"certificate": {"file": "/c"}}}), "tls.key"),
            (user(json!({"password": null})), "sasl.password"),
            (user(json!({"scope": "s"})), "sasl.scope"),
            (user(json!({"mechanism": "gssapi"})), "sasl.mechanism"),
            (client(json!({"username": "u"})), "sasl.username"),
            (client(json!({"client_secret": null})), "sasl.client_secret"),
            (client(json!({"token_endpoint": "ftp://i/t"})), "sasl.token_endpoint"),
            (creating, "create_topics"),
        ];
        for (keys, key) in cases {
            let error = read(keys.clone()).unwrap_err();
            assert_eq!(error.key, key, "{keys}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for (name, instead) in
            [("security.protocol", "`tls`"), ("ssl.ca.location", "`tls`"), ("sasl.password", "`sasl`")]
        {
            let error = read(json!({"brokers": ["k:1"], "properties": {name: "x"}})).unwrap_err();
            assert!(error.reason.contains(instead), "{error}");
        }
    }

    #[test]
    fn properties_tune_what_is_not_promised() {
        let settings = read(json!({
            "brokers": ["k:1"], "linger": "5ms", "compression": "zstd", "max_message": "2MiB",
            "properties": {"session.timeout.ms": 6000, "socket.keepalive.enable": false},
        }));
        let settings = settings.unwrap();
        assert_eq!(settings.producer("s").get("message.max.bytes"), Some("2097152"));
        let config = settings.consumer("s", "g");
        assert_eq!(config.get("session.timeout.ms"), Some("6000"));
        assert_eq!(config.get("socket.keepalive.enable"), Some("false"));
    }
}
