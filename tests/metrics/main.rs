//! Metrics: what is counted, how it is told, and that there is no end of it only in time.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod asking;
#[cfg(all(feature = "amqp", feature = "kafka", feature = "nats"))]
mod brokers;
mod collector;
mod delivering;
mod doors;
mod exposition;
mod fetching;
mod formats;
#[cfg(feature = "kafka")]
mod kafka;
mod otlp;
mod publishing;
mod reloading;

use std::time::Duration;

use sidespan_test_support::{Client, Launch, Response, Sidecar, eventually};

use exposition::Exposition;

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");

/// How long anything may take that should be done soon.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a `sidespan` over an embedded log with the topic `orders`.
async fn start(more: &str) -> Sidecar {
    let sidecar = Launch::new(SIDESPAN).config(&config(more)).start().await;
    sidecar.until_ready().await;
    sidecar
}

fn config(more: &str) -> String {
    format!(
        "version: 1\nservice: shop\nbridges: {{ local: {{ kind: embedded, dir: ./data }} }}\ntopics: {{ orders: {{}} }}\n{more}"
    )
}

/// Asks for metrics as a client does that takes this.
async fn ask(url: &str, accept: Option<&str>) -> Response {
    let request = Client::new().get(url);
    let request = match accept {
        Some(accept) => request.header("accept", accept),
        None => request,
    };
    request.send().await.unwrap()
}

/// Reads the metrics, in the form that Prometheus asks for.
async fn metrics(sidecar: &Sidecar) -> Exposition {
    let answer = ask(&sidecar.admin_url("/metrics"), Some(OPENMETRICS)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Exposition::parse(answer.text(), true)
}

/// Waits until a series has a value.
async fn until(sidecar: &Sidecar, series: &str, value: f64) {
    let what = format!("{series} is {value}");
    eventually(PATIENCE, &what, async || metrics(sidecar).await.get(series) == Some(value)).await;
}

async fn publish(sidecar: &Sidecar, topic: &str, headers: &[(&str, &str)]) -> Response {
    let url = sidecar.url(&format!("/v1/topics/{topic}/messages"));
    let mut request = Client::new().post(&url, "x").header("content-type", "text/plain");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.send().await.unwrap()
}

async fn store(sidecar: &Sidecar, topic: &str) {
    let answer = publish(sidecar, topic, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3";
