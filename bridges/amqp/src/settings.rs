//! The settings of an AMQP bridge.
//!
//! The URL may hold a user and a password. They are taken out while it is read, so that nothing
//! that prints the settings can show them.

use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::Deserialize;
use sidespan_bridge::{Secret, SecretError, Settings, SettingsError, Size, Span};

/// One RabbitMQ, as the configuration names it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AmqpSettings {
    /// Where the broker is: `amqp://host:port/vhost`. Without a port 5672, without a virtual host
    /// `/` (also written `%2f`). May name a user and a password, which are never shown.
    pub(crate) url: BrokerUrl,
    /// Who connects. Stands in for the user in `url`; `guest` if neither is given.
    #[serde(default)]
    pub(crate) username: Option<Secret>,
    /// The password of `username`. Read anew for each connection.
    #[serde(default)]
    pub(crate) password: Option<Secret>,
    /// What may be made at the broker where something needs it: `exchanges` (durable, of type
    /// topic), `queues` that an address `/queue` names. Nothing by default. The queue of a
    /// subscription is its group and is always made, and so is the one that keeps dead letters.
    #[serde(default)]
    pub(crate) create: Vec<Create>,
    /// The type of the queues that are made.
    #[serde(default)]
    pub(crate) queue_type: QueueType,
    /// The largest message that is handed over: payload, key and headers together. Must not be above the
    /// broker's own `max_message_size`, which closes the channel of whoever exceeds it.
    #[serde(default = "max_message")]
    pub(crate) max_message: Size,
    /// A broker that is silent for twice as long is taken to be gone (`10s`). The broker does the same: when
    /// the active member of an ordered subscription freezes, or its network is cut, the next one takes
    /// over two to three times as long after, 20 to 30 seconds. One that crashes is replaced at once.
    #[serde(default = "heartbeat")]
    pub(crate) heartbeat: Span,
    /// The broker's own `consumer_timeout`: how long it lets a consumer hold a message (`30m`).
    /// Shortly before, a subscription gives back what it holds and begins anew.
    #[serde(default = "consumer_timeout")]
    pub(crate) consumer_timeout: Span,
    /// The longest that a publish waits for the broker, whatever the caller asks (`30s`).
    #[serde(default = "max_deadline")]
    pub(crate) max_deadline: Span,
}

/// Something that may be made at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Create {
    /// Durable exchanges of type topic.
    Exchanges,
    /// Durable queues.
    Queues,
}

/// How the broker keeps a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum QueueType {
    /// On one node.
    Classic,
    /// Replicated, and safe on one node too.
    #[default]
    Quorum,
}

impl QueueType {
    /// Returns the value of `x-queue-type`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }
}

/// A broker's URL, taken apart. `Debug` and `Display` show neither user nor password.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(crate) struct BrokerUrl {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) vhost: String,
    user: Option<String>,
    password: Option<String>,
}

impl TryFrom<String> for BrokerUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const EXPECTED: &str = "expected `amqp://host:port/vhost`";
        let url = url::Url::parse(&text).map_err(|_| EXPECTED)?;
        match url.scheme() {
            "amqp" => {}
            "amqps" => return Err("TLS to RabbitMQ is not supported yet: use `amqp://`"),
            _ => return Err(EXPECTED),
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("the URL takes no parameters: use the bridge's own keys");
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(EXPECTED)?;
        let vhost = decode(url.path().strip_prefix('/').unwrap_or_default())?;
        let given = |text: &str| if text.is_empty() { Ok(None) } else { decode(text).map(Some) };
        Ok(Self {
            host: decode(host.trim_matches(['[', ']']))?,
            port: url.port().unwrap_or(PORT),
            vhost: if vhost.is_empty() { "/".to_owned() } else { vhost },
            user: given(url.username())?,
            password: url.password().map(decode).transpose()?,
        })
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} (virtual host {:?})", self.host, self.port, self.vhost)
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl AmqpSettings {
    /// Reads and checks the settings, without any I/O.
    pub(crate) fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let read: Self = settings.parse()?;
        if !(MIN_MESSAGE..=MAX_MESSAGE).contains(&read.max_message) {
            let (least, most, found) = (MIN_MESSAGE.0, MAX_MESSAGE.0, read.max_message.0);
            let reason = format!("expected {least} to {most} bytes, found {found}");
            return Err(SettingsError::new("max_message", reason));
        }
        within(read.heartbeat, "heartbeat", 1..=600, "expected `1s` to `10m`")?;
        within(read.consumer_timeout, "consumer_timeout", 10..=30 * 86_400, "expected `10s` to `30d`")?;
        within(read.max_deadline, "max_deadline", 1..=900, "expected `1s` to `15m`")?;
        Ok(read)
    }

    /// Tells whether something of this sort may be made.
    pub(crate) fn may_create(&self, what: Create) -> bool {
        self.create.contains(&what)
    }

    /// Returns user and password as they are now.
    pub(crate) fn credentials(&self) -> Result<(String, String), SecretError> {
        let reveal = |secret: &Option<Secret>, url: &Option<String>| match secret {
            Some(secret) => secret.reveal(),
            None => Ok(url.clone().unwrap_or_else(|| DEFAULT_USER.to_owned())),
        };
        Ok((reveal(&self.username, &self.url.user)?, reveal(&self.password, &self.url.password)?))
    }
}

fn within(
    span: Span,
    key: &str,
    seconds: std::ops::RangeInclusive<u64>,
    expected: &str,
) -> Result<(), SettingsError> {
    let whole = span.0.subsec_nanos() == 0;
    if whole && seconds.contains(&span.0.as_secs()) {
        return Ok(());
    }
    Err(SettingsError::new(key, format!("{expected}, in whole seconds")))
}

fn decode(text: &str) -> Result<String, &'static str> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| "a part of the URL is not UTF-8 once it is percent-decoded")
}

fn max_message() -> Size {
    Size(1 << 20)
}

fn heartbeat() -> Span {
    Span(Duration::from_secs(10))
}

fn consumer_timeout() -> Span {
    Span(Duration::from_secs(30 * 60))
}

fn max_deadline() -> Span {
    Span(Duration::from_secs(30))
}

/// What RabbitMQ calls its first user, and that user's password.
const DEFAULT_USER: &str = "guest";
const PORT: u16 = 5672;
const MIN_MESSAGE: Size = Size(1 << 10);
/// RabbitMQ 3's default limit; RabbitMQ 4 has 16 MiB.
const MAX_MESSAGE: Size = Size(128 << 20);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(keys: Value) -> Result<AmqpSettings, SettingsError> {
        AmqpSettings::read(&Settings::new("s", keys))
    }

    #[test]
    fn a_url_is_taken_apart() {
        let read = read(json!({"url": "amqp://us%40er:pa%2fss@[::1]:5673/%2fshop"})).unwrap();
        assert_eq!((read.url.host.as_str(), read.url.port, read.url.vhost.as_str()), ("::1", 5673, "/shop"));
        assert_eq!(read.credentials().unwrap(), ("us@er".to_owned(), "pa/ss".to_owned()));
    }

    #[test]
    fn what_a_url_leaves_out_is_the_brokers_default() {
        for url in ["amqp://rabbit", "amqp://rabbit/", "amqp://rabbit/%2f"] {
            let read = read(json!({"url": url})).unwrap();
            assert_eq!((read.url.port, read.url.vhost.as_str()), (5672, "/"), "{url}");
            assert_eq!(read.credentials().unwrap(), ("guest".to_owned(), "guest".to_owned()));
        }
    }

    #[test]
    fn keys_of_their_own_stand_in_for_the_url() {
        let read = read(json!({"url": "amqp://a:b@rabbit", "username": "c", "password": "d"})).unwrap();
        assert_eq!(read.credentials().unwrap(), ("c".to_owned(), "d".to_owned()));
    }

    #[test]
    fn no_secret_is_ever_shown() {
        let read = read(json!({"url": "amqp://user:hidden@rabbit", "password": "hidden too"})).unwrap();
        let shown = format!("{read:?} {}", read.url);
        assert!(!shown.contains("hidden") && !shown.contains("user:"), "{shown}");
        for url in ["http://user:hidden@rabbit", "amqp://user:hidden@", "amqps://user:hidden@rabbit"] {
            let error = AmqpSettings::read(&Settings::new("s", json!({"url": url}))).unwrap_err();
            assert!(!error.to_string().contains("hidden"), "{error}");
            assert_eq!(error.key, "url");
        }
    }

    #[test]
    fn a_wrong_setting_names_its_key() {
        let cases = [
            (json!({"url": "amqp://r?heartbeat=1"}), "url"),
            (json!({"url": "amqp://r", "create": ["topics"]}), "create[0]"),
            (json!({"url": "amqp://r", "queue_type": "stream"}), "queue_type"),
            (json!({"url": "amqp://r", "heartbeat": "500ms"}), "heartbeat"),
            (json!({"url": "amqp://r", "max_message": 7}), "max_message"),
            (json!({"url": "amqp://r", "consumer_timeout": "1s"}), "consumer_timeout"),
            (json!({"url": "amqp://r", "prefetch": 7}), "prefetch"),
        ];
        for (keys, key) in cases {
            assert_eq!(read(keys).unwrap_err().key, key);
        }
    }
}
