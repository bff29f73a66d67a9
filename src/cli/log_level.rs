//! `sidespan log-level`: what a server says in its log, and how to change that while it runs.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use super::failure::{Failure, Outcome};
use super::operating::{Operated, Operating};
use super::output::{self, Format, Output};
use super::patience;
use crate::config::{Level, LevelError};

/// Tell the level of the log, or change it while the server runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --for a change holds until the configured level changes, or the server starts again.

Examples:
  sidespan log-level
  sidespan log-level debug --for 10m
  sidespan log-level info,sidespan::delivery=debug")]
pub(super) struct LogLevel {
    /// What to say from now on: off, error, warn, info, debug or trace, and others for parts.
    #[arg(value_name = "LEVEL", value_parser = level)]
    level: Option<Level>,
    /// How long; then the configured level holds again.
    #[arg(long = "for", value_name = "DURATION", value_parser = patience, requires = "level")]
    time: Option<Duration>,
    #[command(flatten)]
    operating: Operating,
    #[command(flatten)]
    output: Output,
}

impl LogLevel {
    /// Asks, and shows what holds.
    pub(super) async fn run(self) -> Outcome {
        let request = match &self.level {
            None => Request::get("/log").body(Full::default()),
            Some(level) => {
                let mut wanted = json!({"level": level.as_str()});
                if let Some(time) = self.time {
                    wanted["for"] = format!("{}ms", time.as_millis()).into();
                }
                Request::put("/log").body(Full::new(Bytes::from(wanted.to_string())))
            }
        };
        let request = request.map_err(|error| Failure::Failed(format!("this cannot be asked: {error}")))?;
        let Operated { server, token, .. } = self.operating.find();
        let body = server.send(request, &token, PATIENCE).await?.body().await?;
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |key: &str| said.get(key).and_then(Value::as_str);
        match (self.output.format, text("level"), text("configured"), text("until")) {
            (Format::Json, ..) => output::print(&said.to_string()),
            (Format::Text, Some(level), Some(configured), Some(until)) => {
                output::print(&format!("{level} until {until}, then {configured}"))
            }
            (Format::Text, Some(level), Some(configured), None) if level != configured => {
                output::print(&format!("{level}, in the place of {configured}"))
            }
            (Format::Text, level, ..) => output::print(level.unwrap_or_default()),
        }
    }
}

fn level(text: &str) -> Result<Level, LevelError> {
    Level::parse(text)
}

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
