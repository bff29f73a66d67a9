//! What Sidespan tells of itself: how much, and to whom.

use std::time::Duration;

use http::{HeaderName, Uri};

use super::Errors;
use super::server::span;
use crate::config::file::{OtlpFile, TelemetryFile};
use crate::config::{Otlp, Telemetry};

/// Reads the section.
pub(super) fn resolve(file: &TelemetryFile, errors: &mut Errors) -> Telemetry {
    let ratio = file.traces.ratio.unwrap_or(RATIO);
    if !(0.0..=1.0).contains(&ratio) {
        errors.add("telemetry.traces.ratio", "must be from 0 to 1, such as 0.01 for one trace in a hundred");
    }
    Telemetry {
        metrics: file.metrics.unwrap_or(true),
        ratio,
        otlp: file.otlp.as_ref().and_then(|otlp| collector(otlp, errors)),
    }
}

fn collector(file: &OtlpFile, errors: &mut Errors) -> Option<Otlp> {
    let endpoint = errors.keep("telemetry.otlp.endpoint", address(&file.endpoint));
    let is_https = endpoint.as_ref().is_some_and(|uri| uri.scheme_str() == Some("https"));
    if let Some(tls) = &file.tls {
        if !is_https {
            errors.add("telemetry.otlp.tls", "is for an `https://` endpoint: write that, or leave this out");
        }
        if let Err(error) = tls.check("telemetry.otlp.tls") {
            errors.add(error.key, error.reason);
        }
    }
    let mut headers = Vec::with_capacity(file.headers.len());
    for (name, secret) in &file.headers {
        match HeaderName::try_from(name) {
            Ok(name) => headers.push((name, secret.clone())),
            Err(_) => errors.add(format!("telemetry.otlp.headers.{name}"), "is no header's name"),
        }
    }
    let timeout = span("telemetry.otlp.timeout", file.timeout, Duration::from_secs(10), errors);
    let interval = span("telemetry.otlp.interval", file.interval, Duration::from_secs(60), errors);
    for (key, value) in [("timeout", timeout), ("interval", interval)] {
        if value.is_zero() {
            errors.add(format!("telemetry.otlp.{key}"), "must be more than nothing");
        }
    }
    Some(Otlp {
        endpoint: endpoint?,
        protocol: file.protocol,
        headers,
        tls: file.tls.clone().unwrap_or_default(),
        timeout,
        interval,
        metrics: file.metrics,
        traces: file.traces.unwrap_or(true),
    })
}

fn address(text: &str) -> Result<Uri, &'static str> {
    const EXPECTED: &str = "is no address: write it as http://127.0.0.1:4317, or https://";
    let uri: Uri = text.parse().map_err(|_| EXPECTED)?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.query().is_none() => Ok(uri),
        Some(_) | None => Err(EXPECTED),
    }
}

/// The share of traces that are recorded.
const RATIO: f64 = 0.01;
