//! Webhooks, and what happens when they do not accept.

use std::time::Duration;

use http::HeaderName;
use url::Url;

use super::super::Errors;
use super::super::server::span;
use crate::config::file::{PushFile, RetryFile};
use crate::config::{CloudEventsMode, Push, PushProtocol, Reach, Retry};

/// Reads a webhook.
pub(super) fn push(key: &str, file: PushFile, largest_reply: usize, errors: &mut Errors) -> Option<Push> {
    let url = errors.keep(format!("{key}.url"), webhook_url(&file.url));
    let timeout = span(&format!("{key}.timeout"), file.timeout, Duration::from_secs(10), errors);
    if timeout.is_zero() {
        errors.add(format!("{key}.timeout"), "must be more than nothing");
    }
    if file.protocol == PushProtocol::Grpc {
        let says = [
            ("secrets", !file.secrets.is_empty()),
            ("headers", !file.headers.is_empty()),
            ("cloudevents", file.cloudevents == CloudEventsMode::Batched),
        ];
        for (name, _) in says.into_iter().filter(|(_, said)| *said) {
            let reason = "belongs to a webhook: a gRPC receiver gets each message as it is, so leave it out";
            errors.add(format!("{key}.{name}"), reason);
        }
        if url.as_ref().is_some_and(|url| url.path() != "/" || url.query().is_some()) {
            let reason = "a gRPC receiver has no path of its own: write it as http://host:port";
            errors.add(format!("{key}.url"), reason);
        }
    }
    let mut headers = Vec::new();
    for name in file.headers {
        let parsed = message_header(&name);
        headers.extend(errors.keep(format!("{key}.headers"), parsed));
    }
    Some(Push {
        url: url?,
        timeout,
        secrets: file.secrets,
        headers,
        protocol: file.protocol,
        cloudevents: file.cloudevents,
        reach: Reach::default(),
        reply: file.reply.then_some(largest_reply),
    })
}

/// Reads what happens when a webhook does not accept.
pub(super) fn retry(key: &str, file: &RetryFile, errors: &mut Errors) -> Retry {
    let retry = Retry {
        max_attempts: file.max_attempts.unwrap_or(20),
        base: span(&format!("{key}.backoff.base"), file.backoff.base, Duration::from_millis(200), errors),
        cap: span(&format!("{key}.backoff.cap"), file.backoff.cap, Duration::from_secs(300), errors),
        unavailable: file.on.unavailable.clone(),
        failed: file.on.failed.clone(),
        refused: file.on.refused.clone(),
    };
    if retry.max_attempts == 0 {
        errors.add(format!("{key}.max_attempts"), "must be at least 1");
    }
    if retry.base.is_zero() || retry.base > retry.cap {
        let reason = "must be more than nothing and at most `cap`, which is 5m unless it is set";
        errors.add(format!("{key}.backoff.base"), reason);
    }
    let lists = [("unavailable", &retry.unavailable), ("failed", &retry.failed), ("refused", &retry.refused)];
    for (index, (name, list)) in lists.iter().enumerate() {
        let key = format!("{key}.on.{name}");
        for status in *list {
            if !(300..=599).contains(status) {
                errors.add(&key, format!("{status} is no status of a failure: use 300 to 599"));
            }
            if let Some((other, _)) = lists.iter().take(index).find(|(_, list)| list.contains(status)) {
                errors.add(&key, format!("{status} stands in `{other}` as well"));
            }
        }
    }
    retry
}

/// Fits the attempts into the time that the broker lets a message be held: a message that it takes back begins
/// again with its first attempt, and would never be a dead letter.
pub(super) fn fit(retry: &mut Retry, file: &RetryFile, hold: Duration) -> Result<(), String> {
    let most = fitting(retry.base, retry.cap, hold);
    if file.max_attempts.is_some_and(|asked| asked > most) {
        return Err(format!(
            "the waits of more than {most} attempts may take longer than the broker lets a message be held, which \
             is {}: lower this or `backoff.cap`, or have more allowed (`consumer_timeout` of RabbitMQ and of the \
             bridge)",
            humantime::format_duration(hold)
        ));
    }
    retry.max_attempts = retry.max_attempts.min(most);
    Ok(())
}

/// Counts the attempts between which the waits, at their longest, fit into a time.
fn fitting(base: Duration, cap: Duration, time: Duration) -> u32 {
    if base.is_zero() || base > cap {
        return u32::MAX;
    }
    let (mut attempts, mut wait, mut left) = (1, base, time);
    while wait < cap && wait <= left {
        attempts += 1;
        left -= wait;
        wait = wait.saturating_mul(2);
    }
    // All waits from here on are the longest.
    let more = if wait < cap { 0 } else { left.as_nanos() / cap.as_nanos() };
    u32::try_from(more).unwrap_or(u32::MAX).saturating_add(attempts)
}

/// Reads the name of a header that a message may set.
fn message_header(text: &str) -> Result<HeaderName, String> {
    let name: HeaderName = text.parse().map_err(|_| format!("{text:?} is no header name"))?;
    let own = OWN_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix));
    if own || OF_THE_REQUEST.contains(&name.as_str()) {
        return Err(format!("{text:?} is not a message's to set: Sidespan or the connection does"));
    }
    Ok(name)
}

/// The text itself is not repeated in errors: it may hold a password.
fn webhook_url(text: &str) -> Result<Url, String> {
    let advice = "write it as http://host:port/path or https://host/path";
    let url = Url::parse(text).map_err(|error| format!("this is no URL ({error}): {advice}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("this is no webhook: {advice}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a name or password within a URL ends up in logs: leave it out".into());
    }
    Ok(url)
}

/// What the request itself needs, and what belongs to one connection (RFC 9110, 7.6.1).
const OF_THE_REQUEST: [&str; 12] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
const OWN_PREFIXES: [&str; 3] = ["ce-", "sidespan-", "webhook-"];
