//! How the log is written, as a person types it.

use schemars::JsonSchema;
use serde::Deserialize;

/// The log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogFile {
    /// How a line is written. Default: `text` on a terminal, else `json`.
    pub format: Option<LogFormat>,
    /// What is said: `error`, `warn`, `info`, `debug`, `trace` or `off`, and more or less of some parts, as in
    /// `info,sidespan::delivery=debug`. A change is used without a restart. Default `info`.
    pub level: Option<String>,
    /// The share of requests that get a line each, from 0 to 1; those that fail (5xx) all do where it is more than 0.
    /// Default 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub access: Option<f64>,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
