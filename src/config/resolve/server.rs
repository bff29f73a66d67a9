//! The server itself: listeners, log, limits, deadlines.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Errors;
use crate::config::file::{DrainFile, LimitsFile, LogFile};
use sidespan_bridge::{Requests, Size, Span};

use crate::config::{Address, Drain, File, Level, Limits, Log, LogFormat, bounded};

/// The three listeners.
pub(super) struct Listeners {
    pub(super) listen: Address,
    pub(super) admin: SocketAddr,
    pub(super) health: Option<SocketAddr>,
}

/// Reads the listeners; one off loopback must be wanted.
pub(super) fn listeners(file: &File, errors: &mut Errors) -> Option<Listeners> {
    let listen = match file.listen.as_deref() {
        Some(text) => errors.keep("listen", address(text)),
        None => Some(Address::Tcp(DEFAULT_LISTEN)),
    };
    let admin = match file.admin.as_deref() {
        Some(text) => errors.keep("admin", socket(text)),
        None => Some(DEFAULT_ADMIN),
    };
    let health = file.health.as_deref().and_then(|text| errors.keep("health", socket(text)));
    let tcp = match &listen {
        Some(Address::Tcp(address)) => Some(*address),
        Some(Address::Unix(_)) | None => None,
    };
    for (key, address) in [("listen", tcp), ("admin", admin)] {
        let guarded = file.insecure || file.auth.is_some();
        let Some(address) = address.filter(|address| !guarded && !address.ip().is_loopback()) else {
            continue;
        };
        let reason = format!(
            "{address} is reachable from other machines and nobody is asked who they are: list the callers \
             under `auth.tokens`, listen on loopback, or set `insecure: true` if the network is guarded \
             otherwise"
        );
        errors.add(key, reason);
    }
    let named = [("listen", tcp), ("admin", admin), ("health", health)];
    for (index, (key, address)) in named.iter().enumerate() {
        let same = |other: &&(&str, Option<SocketAddr>)| {
            address.is_some_and(|a| a.port() != 0 && other.1 == Some(a))
        };
        if let Some((other, _)) = named.iter().take(index).find(same) {
            errors.add(*key, format!("`{other}` listens on the same address: give each its own port"));
        }
    }
    Some(Listeners { listen: listen?, admin: admin?, health })
}

/// Reads the log's settings.
pub(super) fn log(file: &LogFile, errors: &mut Errors) -> Log {
    let default = if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json };
    let level = file.level.as_deref().map(Level::parse);
    let level = level.and_then(|level| errors.keep("log.level", level)).unwrap_or_default();
    let access = file.access.unwrap_or_default();
    if !(0.0..=1.0).contains(&access) {
        errors.add("log.access", "is a share of the requests: write it from 0 to 1, such as 0.01");
    }
    Log { format: file.format.unwrap_or(default), level, access }
}

/// Reads the bounds of the doors and the publish path.
pub(super) fn limits(file: &LimitsFile, errors: &mut Errors) -> Limits {
    let limits = Limits {
        max_message: size(file.max_message, 1 << 20),
        max_head: size(file.max_head, 64 << 10),
        max_batch: size(file.max_batch, 64 << 20),
        max_batch_messages: file.max_batch_messages.unwrap_or(10_000),
        max_in_flight: file.max_in_flight.unwrap_or(16_384),
        max_in_flight_bytes: size(file.max_in_flight_bytes, 64 << 20),
        max_requests: file.max_requests.unwrap_or(Requests::MOST),
        timeout: span("limits.timeout", file.timeout, Duration::from_secs(10), errors),
        max_timeout: span("limits.max_timeout", file.max_timeout, Duration::from_secs(30), errors),
        read_timeout: span("limits.read_timeout", file.read_timeout, Duration::from_secs(10), errors),
        idle_timeout: span("limits.idle_timeout", file.idle_timeout, Duration::from_secs(75), errors),
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
    if !(1..=Requests::MOST).contains(&limits.max_requests) {
        errors.add("limits.max_requests", format!("must be 1 to {}", Requests::MOST));
    }
    let spans = [
        ("timeout", limits.timeout),
        ("read_timeout", limits.read_timeout),
        ("idle_timeout", limits.idle_timeout),
    ];
    for (key, _) in spans.iter().filter(|(_, value)| value.is_zero()) {
        errors.add(format!("limits.{key}"), "must be more than nothing");
    }
    if limits.max_head < 8 << 10 {
        errors.add("limits.max_head", "must be at least 8KiB, which is how much is read at a time");
    }
    if limits.max_in_flight_bytes < limits.max_message {
        let reason = "must be at least `limits.max_message`, or large messages never pass";
        errors.add("limits.max_in_flight_bytes", reason);
    }
    if limits.timeout > limits.max_timeout {
        errors.add("limits.timeout", "must be at most `limits.max_timeout`");
    }
    limits
}

/// Reads the deadlines of stopping.
pub(super) fn drain(file: &DrainFile, errors: &mut Errors) -> Drain {
    Drain {
        deliveries: span("drain.deliveries", file.deliveries, Duration::from_secs(20), errors),
        shutdown: span("drain.shutdown", file.shutdown, Duration::from_secs(5), errors),
    }
}

/// Returns a duration, or its default.
pub(super) fn span(key: &str, span: Option<Span>, default: Duration, errors: &mut Errors) -> Duration {
    span.and_then(|span| errors.keep(key, bounded(span))).unwrap_or(default)
}

/// Returns a size, or its default.
pub(super) fn size(size: Option<Size>, default: usize) -> usize {
    size.map_or(default, |size| usize::try_from(size.0).unwrap_or(usize::MAX))
}

fn address(text: &str) -> Result<Address, String> {
    match text.strip_prefix("unix:") {
        Some("") => Err("`unix:` must be followed by a path".into()),
        Some(path) => Ok(Address::Unix(path.into())),
        None => socket(text).map(Address::Tcp).map_err(|error| format!("{error}, or unix:/path")),
    }
}

/// `localhost` is taken as 127.0.0.1; other names would need a look-up, and may mean several.
pub(in crate::config) fn socket(text: &str) -> Result<SocketAddr, String> {
    let literal = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    literal.as_deref().unwrap_or(text).parse().map_err(|_| {
        format!("{text:?} is no address: write an IP address and a port, such as 127.0.0.1:7400")
    })
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7400);
/// Where operators are listened to by default.
pub(in crate::config) const DEFAULT_ADMIN: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7401);
