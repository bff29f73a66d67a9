//! Traces: what a collector is told of messages on every broker, and what happens when it is not there.
//!
//! The collector is a real one as far as OTLP goes: the service of OpenTelemetry's own definitions, on a socket.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its figures are for the person who reads them"
)]

mod batches;
mod collector;
mod context;
mod dead;
mod fetching;
#[cfg(all(feature = "kafka", feature = "nats"))]
mod journey;
mod receiver;
mod replies;
mod scenes;
mod socket;
mod transport;

use std::time::Duration;

use serde_json::Value;
use sidespan_test_support::{Client, Launch, Scene, Sidecar};

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");
/// How long anything may take that should be done soon.
const PATIENCE: Duration = Duration::from_secs(30);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// A span of somebody who publishes; its trace is recorded.
const RECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// The same, not recorded.
const UNRECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const CALLER: &str = "b7ad6b7169203331";

/// Starts a server that delivers a scene's orders to a webhook, with a section `telemetry`.
async fn start(scene: &Scene, webhook: &str, telemetry: &str) -> Sidecar {
    let config = format!("{}\n{telemetry}\n", scene.config(webhook, webhook, 20));
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    sidecar
}

/// Starts a server with a topic `orders` on the embedded log, and no subscription.
async fn embedded(telemetry: &str) -> Sidecar {
    begin(telemetry).await
}

/// The same, with a subscription `jobs` whose messages are fetched.
async fn fetched(telemetry: &str) -> Sidecar {
    begin(&format!("subscriptions: {{ jobs: {{ topic: orders, start: begin, pull: {{}} }} }}\n{telemetry}"))
        .await
}

async fn begin(sections: &str) -> Sidecar {
    let config = format!(
        "version: 1\nservice: shop\nbridges: {{ main: {{ kind: embedded, dir: ./data }} }}\n\
         topics: {{ orders: {{}} }}\n{sections}\n"
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    sidecar
}

/// Publishes an order with these headers, and returns its receipt.
async fn publish(sidecar: &Sidecar, headers: &[(&str, &str)]) -> Value {
    let request = Client::new().post(&sidecar.url("/v1/topics/orders/messages"), "an order");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    let answer = request.header("content-type", "text/plain").send().await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Returns the first messages of a topic, as a stream has them.
async fn messages(sidecar: &Sidecar, topic: &str, count: usize) -> Vec<Value> {
    let url = sidecar.url(&format!("/v1/topics/{topic}/stream?start=begin"));
    let mut stream = Client::new().get(&url).deadline(PATIENCE).open().await.unwrap();
    let (mut text, mut found) = (String::new(), Vec::new());
    while found.len() < count {
        let piece = tokio::time::timeout(PATIENCE, stream.next()).await.expect("messages in time");
        text.push_str(&String::from_utf8_lossy(&piece.expect("a stream that goes on").unwrap()));
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let data = whole.lines().filter_map(|line| line.strip_prefix("data:"));
        found = data.filter_map(|data| serde_json::from_str(data.trim()).ok()).collect();
    }
    found
}

/// Returns the values of a header of a message object.
fn header(message: &Value, name: &str) -> Vec<String> {
    let headers = message["headers"].as_array().cloned().unwrap_or_default();
    let values = headers.iter().filter(|header| header[0] == name).map(|header| header[1].as_str());
    values.map(|value| value.unwrap().to_owned()).collect()
}

/// Returns the parts of a `traceparent`: its trace, its span and its flags.
#[track_caller]
fn parts(traceparent: &str) -> [String; 3] {
    let parts: Vec<&str> = traceparent.split('-').collect();
    assert!(parts.len() == 4 && parts[0] == "00", "{traceparent:?}");
    [parts[1].to_owned(), parts[2].to_owned(), parts[3].to_owned()]
}
