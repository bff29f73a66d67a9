//! From what was typed to what it means.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use sidespan_bridge::{Driver, Guarantee, Order, Pattern, Settings, SettingsError, Start, Topic, Window};
use url::Url;

use super::file::{
    BridgeFile, DeadLetterFile, DrainFile, GuaranteeFile, HeldFile, LimitsFile, LogFile, OrderFile, PushFile,
    RetryFile, StartFile, SubscriptionFile, TopicFile,
};
use super::load::suggestion;
use super::{
    Address, BridgeConfig, Config, ConfigError, ConfigErrors, Drain, File, Limits, Log, LogFormat, Name,
    Push, Retry, Size, Span, Subscription, TopicConfig, TopicName,
};

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7400);
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7401);

/// Resolves a file, collecting everything that is wrong with it.
pub(crate) fn resolve(file: File, drivers: &[&'static dyn Driver]) -> Result<Config, ConfigErrors> {
    let mut errors = Errors::default();
    match file.version {
        Some(1) => {}
        Some(other) => errors.add("version", format!("this Sidespan reads version 1, not {other}")),
        None => errors.add("version", "the key is missing: write `version: 1`"),
    }
    let service = match &file.service {
        Some(service) => errors.keep("service", Name::parse(service)),
        None => {
            errors
                .add("service", "the key is missing: it names this service at brokers, such as `orders-api`");
            None
        }
    };
    let listen = file.listen.as_deref().map_or(Some(Address::Tcp(DEFAULT_LISTEN)), |text| {
        let address = address(text);
        errors.keep("listen", address)
    });
    let admin = file.admin.unwrap_or(DEFAULT_ADMIN);
    if !file.insecure {
        let open = |address: &SocketAddr| !address.ip().is_loopback();
        let advice = "is reachable from other machines and nobody is asked who they are: listen on loopback, or \
                      set `insecure: true` if the network is guarded otherwise";
        if let Some(Address::Tcp(address)) = listen.as_ref()
            && open(address)
        {
            errors.add("listen", format!("{address} {advice}"));
        }
        if open(&admin) {
            errors.add("admin", format!("{admin} {advice}"));
        }
    }
    let limits = limits(&file.limits, &mut errors);
    let who = service.as_ref().map_or("unnamed", Name::as_str).to_owned();
    let bridges = bridges(file.bridges, &who, drivers, &mut errors);
    let default_bridge = default_bridge(file.default_bridge.as_deref(), &bridges, &mut errors);
    let names = Names { bridges: &bridges, default_bridge: default_bridge.as_ref() };
    let topics = topics(&file.topics, &names, &mut errors);
    let mut subscriptions = Vec::new();
    for (name, subscription) in file.subscriptions {
        let scope = Scope { names: &names, topics: &topics, service: &who };
        subscriptions.extend(scope.subscription(&name, subscription, &mut errors));
    }
    errors.into_result()?;
    let (Some(service), Some(listen)) = (service, listen) else {
        return Err(ConfigErrors(Vec::new()));
    };
    Ok(Config {
        service,
        development: false,
        listen,
        admin,
        health: file.health,
        allowed_hosts: file.allowed_hosts,
        allowed_origins: file.allowed_origins,
        log: log(&file.log),
        limits,
        drain: drain(&file.drain),
        bridges,
        default_bridge,
        topics,
        subscriptions,
    })
}

#[derive(Default)]
struct Errors(Vec<ConfigError>);

impl Errors {
    fn add(&mut self, key: impl Into<String>, reason: impl Into<String>) {
        self.0.push(ConfigError { origin: String::new(), key: key.into(), reason: reason.into() });
    }

    fn keep<T, E: ToString>(&mut self, key: impl Into<String>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(key, error.to_string())).ok()
    }

    fn into_result(self) -> Result<(), ConfigErrors> {
        if self.0.is_empty() { Ok(()) } else { Err(ConfigErrors(self.0)) }
    }
}

fn address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.is_empty() {
            Err("`unix:` must be followed by a path".into())
        } else {
            Ok(Address::Unix(path.into()))
        };
    }
    text.parse().map(Address::Tcp).map_err(|_| {
        format!(
            "{text:?} is no address: write an IP address and a port, such as 127.0.0.1:7400, or unix:/path"
        )
    })
}

fn log(file: &LogFile) -> Log {
    let default = if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json };
    Log { format: file.format.unwrap_or(default), level: file.level.clone().unwrap_or_else(|| "info".into()) }
}

fn span(span: Option<Span>, default: Duration) -> Duration {
    span.map_or(default, |span| span.0)
}

fn size(size: Option<Size>, default: usize) -> usize {
    size.map_or(default, |size| size.0)
}

fn limits(file: &LimitsFile, errors: &mut Errors) -> Limits {
    let limits = Limits {
        max_message: size(file.max_message, 1 << 20),
        max_batch: size(file.max_batch, 64 << 20),
        max_batch_messages: file.max_batch_messages.unwrap_or(10_000),
        max_in_flight: file.max_in_flight.unwrap_or(16_384),
        max_in_flight_bytes: size(file.max_in_flight_bytes, 64 << 20),
        timeout: span(file.timeout, Duration::from_secs(10)),
        max_timeout: span(file.max_timeout, Duration::from_secs(30)),
        read_timeout: span(file.read_timeout, Duration::from_secs(10)),
        idle_timeout: span(file.idle_timeout, Duration::from_secs(75)),
        max_connections: file.max_connections.unwrap_or(8192),
        max_streams: file.max_streams.unwrap_or(2048),
    };
    let counts = [
        ("max_message", limits.max_message),
        ("max_batch", limits.max_batch),
        ("max_batch_messages", limits.max_batch_messages),
        ("max_in_flight", limits.max_in_flight),
        ("max_connections", limits.max_connections),
    ];
    for (key, _) in counts.iter().filter(|(_, value)| *value == 0) {
        errors.add(format!("limits.{key}"), "must be at least 1");
    }
    if limits.max_in_flight_bytes < limits.max_message {
        errors.add(
            "limits.max_in_flight_bytes",
            "must be at least `limits.max_message`, or large messages never pass",
        );
    }
    if limits.timeout > limits.max_timeout {
        errors.add("limits.timeout", "must be at most `limits.max_timeout`");
    }
    limits
}

fn drain(file: &DrainFile) -> Drain {
    Drain {
        deliveries: span(file.deliveries, Duration::from_secs(20)),
        shutdown: span(file.shutdown, Duration::from_secs(5)),
    }
}

fn bridges(
    files: BTreeMap<String, BridgeFile>,
    service: &str,
    drivers: &[&'static dyn Driver],
    errors: &mut Errors,
) -> BTreeMap<Name, BridgeConfig> {
    let mut bridges = BTreeMap::new();
    if files.is_empty() {
        errors.add(
            "bridges",
            "there is no bridge: name at least one broker, such as `main: {kind: embedded, dir: ./data}`",
        );
    }
    for (name, file) in files {
        let key = format!("bridges.{name}");
        let parsed = errors.keep(&key, Name::parse(&name));
        let Some(driver) = drivers.iter().copied().find(|driver| driver.name() == file.kind) else {
            let kinds = drivers.iter().map(|driver| driver.name());
            errors.add(
                format!("{key}.kind"),
                format!("unknown kind {:?}{}", file.kind, suggestion(&file.kind, kinds)),
            );
            continue;
        };
        let settings = Settings::new(service, Value::Object(file.keys));
        if let Err(error) = driver.check(&settings) {
            let (below, reason) = settings_error(&error);
            errors.add(format!("{key}{below}"), reason);
        }
        if let Some(parsed) = parsed {
            bridges.insert(parsed, BridgeConfig { driver, settings, open: file.open });
        }
    }
    bridges
}

/// Serde says `unknown field `x`, expected one of `a`, `b``: say which is nearest.
fn settings_error(error: &SettingsError) -> (String, String) {
    let below = if error.key.is_empty() { String::new() } else { format!(".{}", error.key) };
    let mut quoted = error.reason.split('`').skip(1).step_by(2);
    match quoted.next().filter(|_| error.reason.starts_with("unknown field")) {
        Some(field) => {
            let key = if below.ends_with(&format!(".{field}")) { below } else { format!("{below}.{field}") };
            (key, format!("unknown key{}", suggestion(field, quoted)))
        }
        None => (below, error.reason.clone()),
    }
}

fn default_bridge(
    named: Option<&str>,
    bridges: &BTreeMap<Name, BridgeConfig>,
    errors: &mut Errors,
) -> Option<Name> {
    match named {
        Some(named) => {
            let found = bridges.keys().find(|name| name.as_str() == named).cloned();
            if found.is_none() {
                errors.add("default_bridge", unknown_bridge(named, bridges));
            }
            found
        }
        None if bridges.len() == 1 => bridges.keys().next().cloned(),
        None => {
            if bridges.values().any(|bridge| bridge.open) {
                errors.add(
                    "default_bridge",
                    "the key is missing: with several bridges, say which one is the default",
                );
            }
            None
        }
    }
}

fn unknown_bridge(named: &str, bridges: &BTreeMap<Name, BridgeConfig>) -> String {
    format!("there is no bridge named {named:?}{}", suggestion(named, bridges.keys().map(Name::as_str)))
}

struct Names<'a> {
    bridges: &'a BTreeMap<Name, BridgeConfig>,
    default_bridge: Option<&'a Name>,
}

impl Names<'_> {
    fn bridge(&self, key: &str, named: Option<&str>, errors: &mut Errors) -> Option<Name> {
        match (named, self.default_bridge) {
            (Some(named), _) => {
                let found = self.bridges.keys().find(|name| name.as_str() == named).cloned();
                if found.is_none() {
                    errors.add(key, unknown_bridge(named, self.bridges));
                }
                found
            }
            (None, Some(default)) => Some(default.clone()),
            (None, None) => {
                if !self.bridges.is_empty() {
                    errors.add(key, "the key is missing, and there is no `default_bridge`");
                }
                None
            }
        }
    }
}

fn topics(
    files: &BTreeMap<String, TopicFile>,
    names: &Names<'_>,
    errors: &mut Errors,
) -> BTreeMap<TopicName, TopicConfig> {
    let mut topics = BTreeMap::new();
    for (name, file) in files {
        let key = format!("topics.{name}");
        let parsed = errors.keep(&key, TopicName::parse(name));
        let bridge = names.bridge(&format!("{key}.bridge"), file.bridge.as_deref(), errors);
        let address = Topic::new(file.address.as_deref().unwrap_or(name));
        if let (Some(parsed), Some(bridge)) = (parsed, bridge) {
            topics.insert(parsed, TopicConfig { bridge, address });
        }
    }
    topics
}

struct Scope<'a> {
    names: &'a Names<'a>,
    topics: &'a BTreeMap<TopicName, TopicConfig>,
    service: &'a str,
}

impl Scope<'_> {
    fn subscription(&self, name: &str, file: SubscriptionFile, errors: &mut Errors) -> Option<Subscription> {
        let key = format!("subscriptions.{name}");
        let parsed = errors.keep(&key, Name::parse(name));
        let source = self.source(&key, &file, errors);
        let start = file.start.as_ref().map_or(Ok(Start::End), start);
        let start = errors.keep(format!("{key}.start"), start);
        let max_in_flight = file.max_in_flight.unwrap_or(64);
        let max_held = held(&file.max_held);
        if max_in_flight == 0 {
            errors.add(format!("{key}.max_in_flight"), "must be at least 1");
        }
        if max_held.messages < max_in_flight {
            errors.add(format!("{key}.max_held.messages"), "must be at least `max_in_flight`");
        }
        let group = file.group.unwrap_or_else(|| format!("{}.{name}", self.service));
        let push = push(&format!("{key}.push"), file.push, errors);
        let retry = retry(&format!("{key}.retry"), &file.retry, errors);
        let (bridge, pattern) = source?;
        let dead_letter = self.dead_letter(&key, name, &bridge, &pattern, file.dead_letter.as_ref(), errors);
        Some(Subscription {
            name: parsed?,
            bridge,
            topic: file.topic,
            pattern,
            group: group.into(),
            start: start?,
            order: match file.order {
                OrderFile::Key => Order::Key,
                OrderFile::None => Order::None,
                OrderFile::Topic => Order::Topic,
            },
            guarantee: match file.guarantee {
                GuaranteeFile::AtLeastOnce => Guarantee::AtLeastOnce,
                GuaranteeFile::AtMostOnce => Guarantee::AtMostOnce,
            },
            max_in_flight,
            max_held,
            push: push?,
            retry,
            dead_letter,
        })
    }

    /// Finds what a subscription reads: a declared topic, or a pattern on an open bridge.
    fn source(&self, key: &str, file: &SubscriptionFile, errors: &mut Errors) -> Option<(Name, Pattern)> {
        let key = format!("{key}.topic");
        if let Some(topic) = self.topics.get(file.topic.as_str()) {
            if file.bridge.as_deref().is_some_and(|bridge| bridge != topic.bridge.as_str()) {
                errors.add(key, format!("the topic {:?} is declared on bridge {}", file.topic, topic.bridge));
                return None;
            }
            return Some((topic.bridge.clone(), Pattern::exactly(&topic.address)));
        }
        let bridge = self.names.bridge(&key, file.bridge.as_deref(), errors)?;
        let open = self.names.bridges.get(&bridge).is_some_and(|bridge| bridge.open);
        if !open && file.bridge.is_none() {
            let near = suggestion(&file.topic, self.topics.keys().map(TopicName::as_str));
            let reason = format!(
                "there is no topic named {:?}{near}; declare it under `topics`, name its `bridge`, or set `open: true` on bridge {bridge}",
                file.topic
            );
            errors.add(key, reason);
            return None;
        }
        let pattern = errors.keep(key, Pattern::parse(&file.topic))?;
        Some((bridge, pattern))
    }

    fn dead_letter(
        &self,
        key: &str,
        name: &str,
        bridge: &Name,
        pattern: &Pattern,
        file: Option<&DeadLetterFile>,
        errors: &mut Errors,
    ) -> Option<TopicConfig> {
        let key = format!("{key}.dead_letter");
        let place = match file {
            Some(DeadLetterFile::Switch(false)) => return None,
            Some(DeadLetterFile::Switch(true)) | None => {
                self.place(&format!("dead.{}.{name}", self.service), bridge)
            }
            Some(DeadLetterFile::Topic(topic)) => self.place(topic, bridge),
        };
        if place.bridge == *bridge && pattern.matches(&place.address) {
            let reason = format!(
                "{} is within the subscription's own pattern: dead letters would come back",
                place.address
            );
            errors.add(key, reason);
        }
        Some(place)
    }

    fn place(&self, name: &str, bridge: &Name) -> TopicConfig {
        let address = || TopicConfig { bridge: bridge.clone(), address: Topic::new(name) };
        self.topics.get(name).cloned().unwrap_or_else(address)
    }
}

fn start(file: &StartFile) -> Result<Start, String> {
    Ok(match file {
        StartFile::Begin => Start::Begin,
        StartFile::End => Start::End,
        StartFile::Position(text) => {
            let positions: Result<Vec<_>, _> = text.split(',').map(|part| part.trim().parse()).collect();
            Start::Position(
                positions.map_err(|error: sidespan_bridge::PositionError| format!("{text:?}: {error}"))?,
            )
        }
        StartFile::Time(text) => {
            let time: jiff::Timestamp = text.parse().map_err(|_| {
                format!("{text:?} is no time: write it as RFC 3339 says, such as 2026-01-31T12:00:00Z")
            })?;
            Start::Time(SystemTime::from(time))
        }
    })
}

fn held(file: &HeldFile) -> Window {
    let default = Window::default();
    Window { messages: file.messages.unwrap_or(default.messages), bytes: size(file.bytes, default.bytes) }
}

fn push(key: &str, file: PushFile, errors: &mut Errors) -> Option<Push> {
    let url = errors.keep(format!("{key}.url"), webhook_url(&file.url));
    let mut headers = Vec::new();
    for name in file.headers {
        let parsed = errors
            .keep(format!("{key}.headers"), name.parse().map_err(|_| format!("{name:?} is no header name")));
        headers.extend(parsed);
    }
    Some(Push {
        url: url?,
        timeout: span(file.timeout, Duration::from_secs(10)),
        secrets: file.secrets,
        headers,
        protocol: file.protocol,
        cloudevents: file.cloudevents,
    })
}

fn webhook_url(text: &str) -> Result<Url, String> {
    let advice = "write it as http://host:port/path or https://host/path";
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL ({error}): {advice}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("{text:?} is no webhook: {advice}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a name or password within a URL ends up in logs: leave it out".into());
    }
    Ok(url)
}

fn retry(key: &str, file: &RetryFile, errors: &mut Errors) -> Retry {
    let retry = Retry {
        max_attempts: file.max_attempts.unwrap_or(20),
        base: span(file.backoff.base, Duration::from_millis(200)),
        cap: span(file.backoff.cap, Duration::from_secs(300)),
        unavailable: file.on.unavailable.clone(),
        failed: file.on.failed.clone(),
        refused: file.on.refused.clone(),
    };
    if retry.max_attempts == 0 {
        errors.add(format!("{key}.max_attempts"), "must be at least 1");
    }
    if retry.base.is_zero() || retry.base > retry.cap {
        errors.add(format!("{key}.backoff.base"), "must be more than nothing and at most `cap`");
    }
    let lists = [&retry.unavailable, &retry.failed, &retry.refused];
    for status in lists.iter().flat_map(|list| list.iter()) {
        if !(300..=599).contains(status) {
            errors.add(format!("{key}.on"), format!("{status} is no status of a failure: use 300 to 599"));
        }
        if lists.iter().filter(|list| list.contains(status)).count() > 1 {
            errors.add(format!("{key}.on"), format!("{status} stands in several lists"));
        }
    }
    retry
}
