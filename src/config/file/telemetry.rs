//! What Sidespan tells of itself to those who watch it, as a person types it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use sidespan_bridge::{Secret, Span, Tls};

/// What Sidespan tells of itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TelemetryFile {
    /// Serves `/metrics` on `admin` and `health`. Default true.
    pub metrics: Option<bool>,
    /// Traces, which go out by `otlp`.
    #[serde(default)]
    pub traces: TracesFile,
    /// The collector that traces, and metrics where asked for, are sent to. Default: none is sent.
    pub otlp: Option<OtlpFile>,
}

/// Traces.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TracesFile {
    /// The share of those traces that are recorded which begin here, from 0 to 1; who began one elsewhere has
    /// decided that. Default 0.01.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub ratio: Option<f64>,
}

/// An OpenTelemetry collector.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtlpFile {
    /// Its address, `http://` or `https://`, such as `http://127.0.0.1:4317`. With `protocol: http` the path of the
    /// signal (`/v1/traces`) is added. Required.
    pub endpoint: String,
    /// What is spoken. Default `grpc`.
    #[serde(default)]
    pub protocol: OtlpProtocol,
    /// Headers that are sent along, such as an API key. Default: none.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// TLS to an `https://` address. Default: with the machine's authorities.
    pub tls: Option<Tls>,
    /// How long a call may take. Default 10s.
    pub timeout: Option<Span>,
    /// How often metrics are sent. Default 60s.
    pub interval: Option<Span>,
    /// Sends metrics. Default false.
    #[serde(default)]
    pub metrics: bool,
    /// Sends traces. Default true.
    pub traces: Option<bool>,
}

/// What is spoken to a collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtlpProtocol {
    /// OTLP over gRPC.
    #[default]
    Grpc,
    /// OTLP over HTTP, as protobuf.
    Http,
}
