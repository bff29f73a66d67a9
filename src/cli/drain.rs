//! `sidespan drain`: phase one of stopping, for a `preStop` hook.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::client::Server;
use super::failure::{Failure, Outcome};
use super::operating::{Operated, Operating};
use super::output::{self, Format, Output};
use super::patience;
use super::token::Token;

/// Finish deliveries and start no new ones, before the server is stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Publishing goes on until the server gets SIGTERM. Returns once what was in flight is finished, or its
deadline (`drain.deliveries`) has passed: then with exit code 1, and what is left comes again. Where
the configuration says where the server is, a server that is gone has nothing left: exit code 0.

Example, in a pod, where SIDESPAN_CONFIG is set:
  lifecycle: {preStop: {exec: {command: [sidespan, drain]}}}")]
pub(super) struct Drain {
    #[command(flatten)]
    operating: Operating,
    /// How long to wait for it.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = patience)]
    timeout: Duration,
    /// How long to take at least: the service beside it may publish for so long, where both are told to
    /// end at once, and load balancers have the time to learn of it.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = patience)]
    at_least: Duration,
    #[command(flatten)]
    output: Output,
}

impl Drain {
    /// Asks for it, and waits until it is done.
    pub(super) async fn run(self) -> Outcome {
        let Self { operating, timeout, at_least, output: Output { format } } = self;
        let begun = Instant::now();
        let Operated { server, token, is_configured } = operating.find();
        if is_configured && server.is_gone().await {
            return say_gone(&server, format);
        }
        let left = ask(&server, &token, timeout).await;
        // Also where that failed: the service beside it is none the wiser.
        sleep_until(begun + at_least).await;
        say_left(&left?, format)
    }
}

/// Returns what the server says that is left.
async fn ask(server: &Server, token: &Token, timeout: Duration) -> Result<Value, Failure> {
    let request = Request::post("/drain").body(Full::new(Bytes::new()));
    let request = request.map_err(|error| Failure::Failed(format!("this cannot be asked: {error}")))?;
    let body = server.send(request, token, timeout).await?.body().await?;
    Ok(serde_json::from_slice(&body).unwrap_or_default())
}

fn say_left(left: &Value, format: Format) -> Outcome {
    let attempts = left.get("attempts").and_then(Value::as_u64).unwrap_or_default();
    if format == Format::Json {
        output::print(&left.to_string())?;
    }
    match (attempts, format) {
        (0, Format::Json) => Ok(()),
        (0, Format::Text) => output::print("drained"),
        (_, Format::Json) => Err(Failure::Found),
        (left, Format::Text) => Err(Failure::Failed(format!(
            "drained, but for {left} attempts that were still running at the deadline and come again"
        ))),
    }
}

fn say_gone(server: &Server, format: Format) -> Outcome {
    match format {
        Format::Json => output::print(&json!({"gone": true, "attempts": 0}).to_string()),
        Format::Text => output::print(&format!("nobody listens at {server}: there is nothing to drain")),
    }
}
