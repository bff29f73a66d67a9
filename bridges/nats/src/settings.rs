//! The settings of a NATS bridge.
//!
//! Everything here is checked without I/O. Secrets and certificates are read when a connection is made, and
//! again for the next one.

mod stream;

use std::time::Duration;

use async_nats::ServerAddr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sidespan_bridge::{Secret, Settings, SettingsError, Size, Span, Tls};

use crate::link::login::Login;

pub(crate) use stream::{CreateStreams, Retention, StreamSettings};

/// One NATS cluster, as the configuration names it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NatsSettings {
    /// The bridge's name, for the log.
    #[serde(skip)]
    pub(crate) bridge: Option<Box<str>>,
    /// Where the cluster is found at first: `nats://host:port`, or `tls://host:port`, one or more, tried in
    /// turn. Its other servers are learned from these.
    #[schemars(length(min = 1))]
    pub(crate) servers: Vec<String>,
    /// What the bridge speaks: `jetstream` stores messages; `core` hands them to whoever listens now,
    /// at most once. One never stands in for the other.
    #[serde(default)]
    pub(crate) mode: Mode,
    /// TLS to the servers, and nothing without it. Default: as `servers` say (`tls://`).
    #[serde(default)]
    pub(crate) tls: Option<Tls>,
    /// The servers begin with TLS (`handshake_first`), instead of a greeting that anybody can read.
    #[serde(default)]
    pub(crate) tls_first: bool,
    /// The name to log in with, beside `password`. One way to log in may be given. Default: none.
    #[serde(default)]
    username: Option<String>,
    /// The password to log in with. Default: none.
    #[serde(default)]
    password: Option<Secret>,
    /// The token to log in with. Default: none.
    #[serde(default)]
    token: Option<Secret>,
    /// The seed of the user's NKey to log in with (`SU...`). Default: none.
    #[serde(default)]
    nkey: Option<Secret>,
    /// The credentials to log in with: a JWT and a seed, as `nsc` writes them into a file. Default: none.
    #[serde(default)]
    credentials: Option<Secret>,
    /// Streams that the bridge makes sure of. One that exists with less is adapted (more subjects, a
    /// longer age); one that differs otherwise is refused.
    #[serde(default)]
    pub(crate) streams: Vec<StreamSettings>,
    /// Allows a stream to be created for a topic that none captures, and says how: one stream for each
    /// topic, named after it. Default: none ever is.
    #[serde(default)]
    pub(crate) create_streams: Option<CreateStreams>,
    /// How many servers keep a copy of what replicas of Sidespan agree on (`registry`).
    #[serde(default = "stream::one")]
    #[schemars(range(min = 1, max = 5))]
    pub(crate) registry_replicas: u8,
    /// The largest message that is handed over: payload, key and headers together. The server's own
    /// limit (`max_payload`) counts too.
    #[serde(default = "max_message")]
    pub(crate) max_message: Size,
    /// How long a message that nobody answered for stays counted as on its way: the longest deadline
    /// that a publish may have. From 1s to 15m.
    #[serde(default = "max_deadline")]
    pub(crate) max_deadline: Span,
    /// How long the broker waits for a member that has gone before it gives a message to another. A
    /// member that lives renews what it holds. From 1s to 1h.
    #[serde(default = "ack_wait")]
    pub(crate) ack_wait: Span,
    /// How long the active member of an ordered subscription may be silent before another one takes
    /// over. From 1s to 1h.
    #[serde(default = "priority_timeout")]
    pub(crate) priority_timeout: Span,
}

/// What a bridge speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Without a store.
    Core,
    /// With one.
    #[default]
    Jetstream,
}

impl NatsSettings {
    /// Reads and checks the settings, without any I/O.
    pub(crate) fn read(settings: &Settings) -> Result<Self, SettingsError> {
        let read = Self { bridge: settings.bridge.clone(), ..settings.parse()? };
        read.addresses()?;
        read.check_security()?;
        if read.mode == Mode::Core {
            if !read.streams.is_empty() {
                return Err(SettingsError::new("streams", "nothing is stored with `mode: core`"));
            }
            if read.create_streams.is_some() {
                return Err(SettingsError::new("create_streams", "nothing is stored with `mode: core`"));
            }
        }
        for (index, stream) in read.streams.iter().enumerate() {
            stream.check(&format!("streams[{index}]"))?;
            if read.streams.iter().take(index).any(|other| other.name == stream.name) {
                let reason = format!("there are two streams named {:?}", stream.name);
                return Err(SettingsError::new(format!("streams[{index}].name"), reason));
            }
        }
        if let Some(create) = &read.create_streams {
            create.check("create_streams")?;
        }
        if !(1..=5).contains(&read.registry_replicas) {
            let reason = format!("expected 1 to 5, found {}", read.registry_replicas);
            return Err(SettingsError::new("registry_replicas", reason));
        }
        if !(MIN_MESSAGE..=MAX_MESSAGE).contains(&read.max_message) {
            let (least, most, found) = (MIN_MESSAGE.0, MAX_MESSAGE.0, read.max_message.0);
            let reason = format!("expected {least} to {most} bytes, found {found}");
            return Err(SettingsError::new("max_message", reason));
        }
        within("max_deadline", read.max_deadline, MIN_DEADLINE, MAX_DEADLINE, "`1s` to `15m`")?;
        within("ack_wait", read.ack_wait, MIN_LEASE, MAX_LEASE, "`1s` to `1h`")?;
        within("priority_timeout", read.priority_timeout, MIN_LEASE, MAX_LEASE, "`1s` to `1h`")?;
        Ok(read)
    }

    fn check_security(&self) -> Result<(), SettingsError> {
        if self.password.is_some() != self.username.is_some() {
            let (there, missing) =
                if self.username.is_some() { ("username", "password") } else { ("password", "username") };
            return Err(SettingsError::new(missing, format!("expected beside `{there}`")));
        }
        let ways = [
            ("username", self.username.is_some()),
            ("token", self.token.is_some()),
            ("nkey", self.nkey.is_some()),
            ("credentials", self.credentials.is_some()),
        ];
        let mut given = ways.into_iter().filter(|(_, given)| *given).map(|(key, _)| key);
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            let reason = format!("expected no `{second}` beside `{first}`: there is one way to log in");
            return Err(SettingsError::new(second, reason));
        }
        if let Some(tls) = &self.tls {
            tls.check("tls")?;
        }
        if self.tls_first && !self.uses_tls() {
            return Err(SettingsError::new("tls_first", "expected beside `tls`"));
        }
        Ok(())
    }

    /// Tells whether the servers are reached by TLS alone.
    pub(crate) fn uses_tls(&self) -> bool {
        self.tls.is_some() || self.servers.iter().any(|server| server.starts_with("tls://"))
    }

    /// Returns how to log in.
    pub(crate) fn login(&self) -> Login {
        match (&self.username, &self.password, &self.token, &self.nkey, &self.credentials) {
            (Some(username), Some(password), ..) => {
                Login::Password { username: username.clone(), password: password.clone() }
            }
            (_, _, Some(token), ..) => Login::Token(token.clone()),
            (_, _, _, Some(seed), _) => Login::Nkey(seed.clone()),
            (.., Some(credentials)) => Login::Credentials(credentials.clone()),
            _ => Login::Nobody,
        }
    }

    /// Tells whether what is published is stored.
    pub(crate) fn stores(&self) -> bool {
        self.mode == Mode::Jetstream
    }

    /// Returns the addresses to connect to.
    pub(crate) fn addresses(&self) -> Result<Vec<ServerAddr>, SettingsError> {
        if self.servers.is_empty() {
            return Err(SettingsError::new("servers", "expected at least one `nats://host:port`"));
        }
        self.servers.iter().enumerate().map(|(index, text)| address(index, text)).collect()
    }
}

fn address(index: usize, text: &str) -> Result<ServerAddr, SettingsError> {
    let wrong = |reason: &str| SettingsError::new(format!("servers[{index}]"), reason);
    // What is wrong is not shown: it may hold a password.
    let address: ServerAddr =
        text.parse().map_err(|_| wrong("expected `nats://host:port`, which this is not"))?;
    if !["nats", "tls"].contains(&address.scheme()) {
        return Err(wrong("expected `nats://host:port` or `tls://host:port`: WebSocket is not spoken"));
    }
    if address.has_user_pass() || address.username().is_some() {
        return Err(wrong("put the name and the password into `username` and `password`"));
    }
    if address.host().is_empty() || text.contains(',') {
        return Err(wrong("expected `nats://host:port`, one address an entry"));
    }
    Ok(address)
}

fn within(key: &str, value: Span, least: Span, most: Span, expected: &str) -> Result<(), SettingsError> {
    if value < least || value > most {
        return Err(SettingsError::new(key, format!("expected {expected}")));
    }
    Ok(())
}

fn max_message() -> Size {
    Size(1 << 20)
}

fn max_deadline() -> Span {
    Span(Duration::from_secs(30))
}

fn ack_wait() -> Span {
    Span(Duration::from_secs(10))
}

fn priority_timeout() -> Span {
    Span(Duration::from_secs(6))
}

const MIN_MESSAGE: Size = Size(1000);
/// The server takes no more in one message.
const MAX_MESSAGE: Size = Size(64 << 20);
const MIN_DEADLINE: Span = Span(Duration::from_secs(1));
const MAX_DEADLINE: Span = Span(Duration::from_secs(900));
const MIN_LEASE: Span = Span(Duration::from_secs(1));
const MAX_LEASE: Span = Span(Duration::from_secs(3600));

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(keys: Value) -> Result<NatsSettings, SettingsError> {
        NatsSettings::read(&Settings::new("orders-api", keys))
    }

    #[test]
    fn servers_are_all_that_is_needed() {
        let settings = read(json!({"servers": ["nats://127.0.0.1:4222"]})).unwrap();
        assert_eq!(settings.mode, Mode::Jetstream);
        assert_eq!(settings.addresses().unwrap()[0].port(), 4222);
    }

    #[test]
    fn wrong_values_are_named_by_key() {
        let here = json!(["nats://n:4222"]);
        let cases = [
            (json!({}), "servers"),
            (json!({"servers": []}), "servers"),
            (json!({"servers": ["wss://n:4222"]}), "servers[0]"),
            (json!({"servers": here, "tls_first": true}), "tls_first"),
            (json!({"servers": here, "tls": {"key": "k"}}), "tls.certificate"),
            (json!({"servers": here, "tls": {"hostname": "n"}}), "tls.hostname"),
            (json!({"servers": ["nats://a:4222,nats://b:4222"]}), "servers[0]"),
            (json!({"servers": here, "mode": "both"}), "mode"),
            (json!({"servers": here, "username": "u"}), "password"),
            (json!({"servers": here, "password": "p"}), "username"),
            (json!({"servers": here, "max_message": 9}), "max_message"),
            (json!({"servers": here, "max_deadline": "0s"}), "max_deadline"),
            (json!({"servers": here, "ack_wait": "10ms"}), "ack_wait"),
            (json!({"servers": here, "priority_timeout": "2h"}), "priority_timeout"),
            (json!({"servers": here, "mode": "core", "create_streams": {}}), "create_streams"),
            (json!({"servers": here, "streams": [{"name": "a.b", "subjects": ["a"]}]}), "streams[0].name"),
            (json!({"servers": here, "streams": [{"name": "a", "subjects": []}]}), "streams[0].subjects"),
            (
                json!({"servers": here, "streams": [{"name": "a", "subjects": ["a*"]}]}),
                "streams[0].subjects[0]",
            ),
            (json!({"servers": here, "create_streams": {"replicas": 9}}), "create_streams.replicas"),
        ];
        for (keys, key) in cases {
            let error = read(keys.clone()).unwrap_err();
            assert!(error.to_string().contains(key), "{keys}: {error}");
        }
    }

    #[test]
    fn two_ways_to_log_in_are_refused_by_both_their_keys() {
        let ways = [json!({"username": "u", "password": "hunter2"}), json!({"token": "hunter2"})];
        let more = [json!({"nkey": "hunter2"}), json!({"credentials": "hunter2"})];
        let keys = ["username", "token", "nkey", "credentials"];
        let all: Vec<Value> = ways.into_iter().chain(more).collect();
        for (first, one) in all.iter().enumerate() {
            for (second, other) in all.iter().enumerate().skip(first + 1) {
                let mut both = json!({"servers": ["nats://n:4222"]});
                for way in [one, other] {
                    both.as_object_mut().unwrap().extend(way.as_object().unwrap().clone());
                }
                let error = read(both).unwrap_err().to_string();
                assert!(error.contains(keys[first]) && error.contains(keys[second]), "{error}");
                assert!(!error.contains("hunter2"), "{error}");
            }
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_shown() {
        for address in ["nats://me:hunter2@n:4222", "nats://me:hunter2@n:port"] {
            let error = read(json!({"servers": [address]})).unwrap_err().to_string();
            assert!(error.starts_with("servers[0]") && !error.contains("hunter2"), "{error}");
        }
    }
}
