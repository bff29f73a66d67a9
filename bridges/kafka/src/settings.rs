//! The settings of a Kafka bridge.
//!
//! `properties` may tune all that the bridge's promises don't rest on ([`client`]); a key that would
//! break a promise is refused by name.

mod client;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sidespan_bridge::{Settings, SettingsError, Size, Span, Tls};

use crate::catalogue::check_name;
use crate::properties;
use crate::sasl::{Identity, Mechanism, Sasl};

/// One Kafka cluster, as the configuration names it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KafkaSettings {
    /// The bridge's name, for the log.
    #[serde(skip)]
    pub(crate) bridge: Option<Box<str>>,
    /// Where the cluster is found at first: `host:port`, one or more.
    #[schemars(length(min = 1))]
    pub(crate) brokers: Vec<String>,
    /// TLS to the brokers. `{}`: with the machine's authorities. Default: none.
    #[serde(default)]
    pub(crate) tls: Option<Tls>,
    /// Who we are to the brokers. Default: nobody, or whom the certificate of `tls` names.
    #[serde(default)]
    pub(crate) sasl: Option<Sasl>,
    /// Allows topics to be created where something needs one, and says how. Default: none ever is.
    #[serde(default)]
    pub(crate) create_topics: Option<CreateTopics>,
    /// What the name of a registry's topic begins with, before the registry's own name. Default: the service and
    /// a dot.
    #[serde(default)]
    pub(crate) registry_prefix: Option<Box<str>>,
    /// How batches are compressed on their way to the broker.
    #[serde(default)]
    pub(crate) compression: Compression,
    /// How long a message waits for others to share a request with. Without, more than one
    /// message goes into a request only while the one before is under way. At most 1s.
    #[serde(default = "linger")]
    pub(crate) linger: Span,
    /// The largest message that is handed over: payload, key and headers together.
    #[serde(default = "max_message")]
    pub(crate) max_message: Size,
    /// How long the client goes on trying to store a message that was handed over: the longest
    /// deadline that a publish may have. From 1s to 15m.
    #[serde(default = "max_deadline")]
    pub(crate) max_deadline: Span,
    /// The topic to which the replies to this service's requests come. It is made with the
    /// first request where `create_topics` allows that, and keeps what comes for ten minutes; else make it with
    /// a retention as short. All replicas share it, and each reads one partition of it. Default `<service>.replies`.
    #[serde(default)]
    pub(crate) reply_topic: Option<String>,
    /// How many requests may wait for their replies at a time. Past that they are refused.
    #[serde(default = "max_requests")]
    #[schemars(range(min = 1))]
    pub(crate) max_requests: u32,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
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
        let read = Self { bridge: settings.bridge.clone(), ..settings.parse()? };
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
        if let Some(topic) = &read.reply_topic {
            check_name(topic).map_err(|error| SettingsError::new("reply_topic", error.to_string()))?;
        }
        if read.max_requests == 0 {
            return Err(SettingsError::new("max_requests", "expected at least 1, found 0"));
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

fn linger() -> Span {
    Span(Duration::ZERO)
}

fn max_message() -> Size {
    Size(1 << 20)
}

fn max_deadline() -> Span {
    Span(Duration::from_secs(30))
}

fn max_requests() -> u32 {
    10_000
}

const MIN_MESSAGE: Size = Size(1000);
const MAX_MESSAGE: Size = Size(1_000_000_000);
const MAX_LINGER: Span = Span(Duration::from_secs(1));
const MIN_DEADLINE: Span = Span(Duration::from_secs(1));
const MAX_DEADLINE: Span = Span(Duration::from_secs(900));

#[cfg(test)]
mod tests;
