//! What Sidespan tells of itself to those who watch it, and where.

use std::time::Duration;

use http::{HeaderName, Uri};
use sidespan_bridge::{Secret, Tls};

pub use super::file::OtlpProtocol;

/// What is told to those who watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// Serve `/metrics`.
    pub metrics: bool,
    /// The share of traces that are recorded, of those that begin here; from 0 to 1.
    pub ratio: f64,
    /// The collector; without it nothing is sent, and no trace recorded.
    pub otlp: Option<Otlp>,
}

/// An OpenTelemetry collector.
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    /// Its address.
    pub endpoint: Uri,
    /// What is spoken.
    pub protocol: OtlpProtocol,
    /// Headers that are sent along.
    pub headers: Vec<(HeaderName, Secret)>,
    /// TLS to an `https` address.
    pub tls: Tls,
    /// How long a call may take.
    pub timeout: Duration,
    /// How often metrics are sent.
    pub interval: Duration,
    /// Metrics are sent.
    pub metrics: bool,
    /// Traces are sent.
    pub traces: bool,
}
