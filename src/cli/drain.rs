//! `sidespan drain`: phase one of stopping, for a `preStop` hook.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::Full;
use serde_json::Value;

use super::client::Server;
use super::failure::{Failure, Outcome};
use super::output::{self, Format, Output};
use super::patience;
use super::token::Token;

/// Finish deliveries and start no new ones, before the server is stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Publishing goes on until the server gets SIGTERM. Returns once what was in flight is finished, or its
deadline (`drain.deliveries`) has passed; what is left stays with the broker and comes again.

Example, in a pod:
  lifecycle: {preStop: {exec: {command: [sidespan, drain]}}}")]
pub(super) struct Drain {
    /// Where Sidespan listens for operators.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7401")]
    admin: Server,
    /// How long to wait for it.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = patience)]
    timeout: Duration,
    #[command(flatten)]
    token: Token,
    #[command(flatten)]
    output: Output,
}

impl Drain {
    /// Asks for it, and waits until it is done.
    pub(super) async fn run(self) -> Outcome {
        let request = Request::post("/drain").body(Full::new(Bytes::new()));
        let request = request.map_err(|error| Failure::Failed(format!("this cannot be asked: {error}")))?;
        let body = self.admin.send(request, &self.token, self.timeout).await?.body().await?;
        let left: Value = serde_json::from_slice(&body).unwrap_or_default();
        match (self.output.format, left.get("attempts").and_then(Value::as_u64)) {
            (Format::Json, _) => output::print(&left.to_string()),
            (Format::Text, Some(0) | None) => output::print("drained"),
            (Format::Text, Some(left)) => output::print(&format!(
                "drained, but for {left} attempts that were still running at the deadline"
            )),
        }
    }
}
