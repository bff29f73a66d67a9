//! The settings of an AMQP bridge.

mod management;
mod url;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sidespan_bridge::{Secret, SecretError, Settings, SettingsError, Size, Span, Tls};

pub(crate) use self::management::Management;
pub(crate) use self::url::BrokerUrl;
use self::url::Urls;

/// One RabbitMQ, as the configuration names it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AmqpSettings {
    /// The bridge's name, for the log.
    #[serde(skip)]
    pub(crate) bridge: Option<Box<str>>,
    /// Where the broker is: `amqp://host:port/vhost`, or `amqps://` for TLS. Without a port 5672, or 5671,
    /// without a virtual host `/` (also written `%2f`). May name a user and a password, which are never
    /// shown. A list names the nodes of one cluster: they are tried in turn.
    pub(crate) url: Urls,
    /// Who connects. Default: the user in `url`, or `guest`.
    #[serde(default)]
    pub(crate) username: Option<Secret>,
    /// The password of `username`. Read anew for each connection. Default: the one in `url`, or `guest`.
    #[serde(default)]
    pub(crate) password: Option<Secret>,
    /// How to say who connects: by name and password (`plain`), or by `tls.certificate` alone (`external`).
    #[serde(default)]
    pub(crate) auth: Auth,
    /// The certificates of `amqps://`. Read anew for each connection. Default: the machine's authorities.
    #[serde(default)]
    pub(crate) tls: Option<Tls>,
    /// What may be made at the broker where something needs it: `exchanges` (durable, of type
    /// topic), `queues` that an address `/queue` names. The queue of a
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
    /// A broker that is silent for twice as long is taken to be gone. The broker does the same: when
    /// the active member of an ordered subscription freezes, or its network is cut, the next one takes
    /// over two to three times as long after, 20 to 30 seconds. One that crashes is replaced at once.
    #[serde(default = "heartbeat")]
    pub(crate) heartbeat: Span,
    /// The broker's own `consumer_timeout`: how long it lets a consumer hold a message.
    /// Shortly before, a subscription gives back what it holds and begins anew.
    #[serde(default = "consumer_timeout")]
    pub(crate) consumer_timeout: Span,
    /// The longest that a publish waits for the broker, whatever the caller asks. From 1s to 15m.
    #[serde(default = "max_deadline")]
    pub(crate) max_deadline: Span,
    /// How many requests may wait for their replies at a time. Past that they are refused.
    #[serde(default = "max_requests")]
    #[schemars(range(min = 1))]
    pub(crate) max_requests: u32,
    /// RabbitMQ's management API, by which topics are listed. Default: none, and they are not.
    #[serde(default)]
    pub(crate) management: Option<Management>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
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

/// How the broker learns who connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Auth {
    /// By the certificate that is shown, which needs RabbitMQ's plugin `rabbitmq_auth_mechanism_ssl`.
    External,
    /// By name and password.
    #[default]
    Plain,
}

impl AmqpSettings {
    /// Reads and checks the settings, without any I/O.
    pub(crate) fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let read = Self { bridge: settings.bridge.clone(), ..settings.parse()? };
        if !(MIN_MESSAGE..=MAX_MESSAGE).contains(&read.max_message) {
            let (least, most, found) = (MIN_MESSAGE.0, MAX_MESSAGE.0, read.max_message.0);
            let reason = format!("expected {least} to {most} bytes, found {found}");
            return Err(SettingsError::new("max_message", reason));
        }
        within(read.heartbeat, "heartbeat", 1..=600, "expected `1s` to `10m`")?;
        within(read.consumer_timeout, "consumer_timeout", 10..=30 * 86_400, "expected `10s` to `30d`")?;
        within(read.max_deadline, "max_deadline", 1..=900, "expected `1s` to `15m`")?;
        if read.max_requests == 0 {
            return Err(SettingsError::new("max_requests", "expected at least 1, found 0"));
        }
        if let Some(management) = &read.management {
            management.check()?;
        }
        read.check_security()?;
        Ok(read)
    }

    fn check_security(&self) -> Result<(), SettingsError> {
        if let Some(tls) = &self.tls {
            tls.check("tls")?;
            if self.url.all().iter().any(|url| !url.encrypted) {
                return Err(SettingsError::new("url", "expected `amqps://` beside `tls`"));
            }
        }
        let shows = self.tls.as_ref().is_some_and(Tls::has_identity);
        match self.auth {
            Auth::External if !shows => {
                Err(SettingsError::new("auth", "`external` needs `tls.certificate` and `tls.key`"))
            }
            Auth::External if self.username.is_some() || self.password.is_some() => {
                let reason =
                    "`external` takes the name from `tls.certificate`: leave `username` and `password` out";
                Err(SettingsError::new("auth", reason))
            }
            Auth::External | Auth::Plain => Ok(()),
        }
    }

    /// Tells whether something of this sort may be made.
    pub(crate) fn may_create(&self, what: Create) -> bool {
        self.create.contains(&what)
    }

    /// Returns user and password as they are now.
    pub(crate) fn credentials(&self, url: &BrokerUrl) -> Result<(String, String), SecretError> {
        let reveal = |secret: &Option<Secret>, url: &Option<String>| match secret {
            Some(secret) => secret.reveal(),
            None => Ok(url.clone().unwrap_or_else(|| DEFAULT_USER.to_owned())),
        };
        Ok((reveal(&self.username, &url.user)?, reveal(&self.password, &url.password)?))
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

fn max_requests() -> u32 {
    10_000
}

/// What RabbitMQ calls its first user, and that user's password.
const DEFAULT_USER: &str = "guest";
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

    fn credentials(keys: Value) -> (String, String) {
        let read = read(keys).unwrap();
        read.credentials(&read.url.all()[0]).unwrap()
    }

    #[test]
    fn keys_of_their_own_stand_in_for_the_url() {
        let own = |name: &str, password: &str| (name.to_owned(), password.to_owned());
        assert_eq!(credentials(json!({"url": "amqp://rabbit"})), own("guest", "guest"));
        assert_eq!(credentials(json!({"url": "amqp://a:b@rabbit"})), own("a", "b"));
        let keys = json!({"url": "amqp://a:b@rabbit", "username": "c", "password": "d"});
        assert_eq!(credentials(keys), own("c", "d"));
    }

    #[test]
    fn several_urls_are_nodes_of_one_cluster() {
        let urls = json!({"url": ["amqp://one/shop", "amqps://two/shop"]});
        assert_eq!(read(urls).unwrap().url.all().len(), 2);
        for urls in [json!([]), json!(["amqp://one/shop", "amqp://two/other"]), json!(["rabbit"]), json!(7)] {
            assert_eq!(read(json!({"url": urls})).unwrap_err().key, "url");
        }
    }

    #[test]
    fn no_secret_is_ever_shown() {
        let read = read(json!({"url": "amqp://user:hidden@rabbit", "password": "hidden too"})).unwrap();
        let shown = format!("{read:?} {}", read.url.all()[0]);
        assert!(!shown.contains("hidden") && !shown.contains("user:"), "{shown}");
        for url in ["http://user:hidden@rabbit", "amqp://user:hidden@", "amqps://user:hidden@rabbit?a"] {
            for url in [json!(url), json!([url])] {
                let error = AmqpSettings::read(&Settings::new("s", json!({"url": url}))).unwrap_err();
                assert!(!error.to_string().contains("hidden"), "{error}");
                assert_eq!(error.key.split('[').next(), Some("url"));
            }
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
            (json!({"url": "amqp://r", "tls": {}}), "url"),
            (json!({"url": "amqps://r", "tls": {"key": "k"}}), "tls.certificate"),
            (json!({"url": "amqps://r", "auth": "external"}), "auth"),
            (
                json!({"url": "amqps://r", "auth": "external", "username": "u",
                    "tls": {"certificate": "c", "key": "k"}}),
                "auth",
            ),
        ];
        for (keys, key) in cases {
            assert_eq!(read(keys).unwrap_err().key, key);
        }
    }
}
