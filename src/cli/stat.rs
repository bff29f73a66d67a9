//! `sidespan stat`: rate, success and latency of each topic and subscription, as they are now.

mod scrape;

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::sleep;

use self::scrape::{Scrape, Window};
use super::failure::{Failure, Outcome};
use super::operating::{Operated, Operating};
use super::output::{self, Format, Output, visible};
use super::patience;
use crate::telemetry::names::{
    BRIDGE, DELIVERY_ATTEMPTS, DESTINATION, ERROR_TYPE, LAG, OLDEST_UNSETTLED, OPERATION, OPERATION_DURATION,
    OUTCOME, PROCESS_DURATION, SENT_MESSAGES, SERVER_ADDRESS, STATE, SUBSCRIPTION, SUBSCRIPTION_STATE,
};

/// Show how fast and how well messages are published and delivered.
#[derive(Debug, Args)]
#[command(after_help = "\
It reads the server's metrics twice, and shows what came in between: messages that brokers stored, and attempts
at endpoints. LAG and OLDEST are those of the broker, where it can tell.

Examples:
  sidespan stat
  sidespan stat --window 30s
  sidespan stat -o json | jq '.subscriptions[] | select(.success < 1)'")]
pub(super) struct Stat {
    #[command(flatten)]
    operating: Operating,
    /// How long to count.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = patience)]
    window: Duration,
    #[command(flatten)]
    output: Output,
}

impl Stat {
    /// Counts for a while, and prints what came.
    pub(super) async fn run(self) -> Outcome {
        let Self { operating, window, output: Output { format } } = self;
        let server = operating.find();
        let before = scrape(&server).await?;
        sleep(window).await;
        let window = Window::between(&before, scrape(&server).await?, window);
        let (topics, subscriptions) = (topics(&window), subscriptions(&window));
        match format {
            Format::Json => {
                output::print(&json!({"topics": topics, "subscriptions": subscriptions}).to_string())
            }
            Format::Text => {
                output::print(&visible(&table(&TOPICS, &topics)))?;
                output::print("")?;
                output::print(&visible(&table(&SUBSCRIPTIONS, &subscriptions)))
            }
        }
    }
}

async fn scrape(Operated { server, token, .. }: &Operated) -> Result<Scrape, Failure> {
    let request = Request::get("/metrics").body(Full::<Bytes>::default());
    let request = request.map_err(|error| Failure::Failed(format!("this cannot be asked: {error}")))?;
    let body = server.send(request, token, PATIENCE).await?.body().await?;
    let scrape = Scrape::read(&String::from_utf8_lossy(&body));
    if scrape.is_empty() {
        return Err(Failure::Failed(format!("{server} has no metrics: set `telemetry.metrics: true` there")));
    }
    Ok(scrape)
}

/// Returns an object for each topic that has been published to.
fn topics(window: &Window) -> Vec<Value> {
    let rows = window.labels(SENT_MESSAGES.name, &[DESTINATION, BRIDGE]).into_iter().map(|labels| {
        let of: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let stored = window.rate(SENT_MESSAGES.name, &[&of[..], &[(ERROR_TYPE, "")]].concat());
        let all = window.rate(SENT_MESSAGES.name, &of);
        let sends = [&of[..], &[(OPERATION, "send")]].concat();
        json!({
            "topic": labels[0].1,
            "bridge": labels[1].1,
            "rate": stored,
            "success": ratio(stored, all),
            "p50": window.quantile(OPERATION_DURATION.name, &sends, 0.5),
            "p99": window.quantile(OPERATION_DURATION.name, &sends, 0.99),
        })
    });
    rows.collect()
}

/// Returns an object for each subscription.
fn subscriptions(window: &Window) -> Vec<Value> {
    let rows = window.labels(SUBSCRIPTION_STATE.name, &[SUBSCRIPTION]).into_iter().map(|labels| {
        let of = [(SUBSCRIPTION, labels[0].1.as_str())];
        let accepted = window.rate(DELIVERY_ATTEMPTS.name, &[of[0], (OUTCOME, "accepted")]);
        let all = window.rate(DELIVERY_ATTEMPTS.name, &of);
        json!({
            "subscription": labels[0].1,
            "topic": window.values(PROCESS_DURATION.name, &of, DESTINATION).join(","),
            "endpoint": window.values(PROCESS_DURATION.name, &of, SERVER_ADDRESS).join(","),
            "state": window.set(SUBSCRIPTION_STATE.name, &of, STATE),
            "rate": accepted,
            "success": ratio(accepted, all),
            "p50": window.quantile(PROCESS_DURATION.name, &of, 0.5),
            "p99": window.quantile(PROCESS_DURATION.name, &of, 0.99),
            "lag": window.now(LAG.name, &of),
            "oldest_seconds": window.now(OLDEST_UNSETTLED.name, &of),
        })
    });
    rows.collect()
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// A column: its head, and how a row's value is written there.
type Column = (&'static str, fn(&Value) -> String);

const TOPICS: [Column; 6] = [
    ("TOPIC", |row| text(&row["topic"])),
    ("BRIDGE", |row| text(&row["bridge"])),
    ("STORED", |row| rate(&row["rate"])),
    ("SUCCESS", |row| share(&row["success"])),
    ("P50", |row| seconds(&row["p50"])),
    ("P99", |row| seconds(&row["p99"])),
];

const SUBSCRIPTIONS: [Column; 10] = [
    ("SUBSCRIPTION", |row| text(&row["subscription"])),
    ("TOPIC", |row| text(&row["topic"])),
    ("ENDPOINT", |row| text(&row["endpoint"])),
    ("STATE", |row| text(&row["state"])),
    ("ACCEPTED", |row| rate(&row["rate"])),
    ("SUCCESS", |row| share(&row["success"])),
    ("P50", |row| seconds(&row["p50"])),
    ("P99", |row| seconds(&row["p99"])),
    ("LAG", |row| count(&row["lag"])),
    ("OLDEST", |row| seconds(&row["oldest_seconds"])),
];

/// Writes rows below the heads of their columns.
fn table(columns: &[Column], rows: &[Value]) -> String {
    let heads = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let mut lines: Vec<Vec<String>> = vec![heads];
    lines.extend(rows.iter().map(|row| columns.iter().map(|(_, write)| write(row)).collect()));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let written = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    written.collect::<Vec<_>>().join("\n")
}

fn text(value: &Value) -> String {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(NONE).to_owned()
}

fn rate(value: &Value) -> String {
    value.as_f64().map_or_else(|| NONE.to_owned(), |rate| format!("{rate:.1}/s"))
}

fn share(value: &Value) -> String {
    value.as_f64().map_or_else(|| NONE.to_owned(), |share| format!("{:.2}%", share * 100.0))
}

fn count(value: &Value) -> String {
    value.as_f64().map_or_else(|| NONE.to_owned(), |count| format!("{count:.0}"))
}

fn seconds(value: &Value) -> String {
    match value.as_f64() {
        None => NONE.to_owned(),
        Some(time) if time < 0.001 => format!("{:.0}us", time * 1e6),
        Some(time) if time < 1.0 => format!("{:.1}ms", time * 1e3),
        Some(time) if time < 120.0 => format!("{time:.1}s"),
        Some(time) => format!("{:.0}m", time / 60.0),
    }
}

/// Stands where nothing is known.
const NONE: &str = "-";

/// How long the server may take to say what it has counted.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "\
# TYPE messaging_client_sent_messages_total counter
messaging_client_sent_messages_total{messaging_destination_name=\"orders\",sidespan_bridge=\"main\"} 100
messaging_client_sent_messages_total{messaging_destination_name=\"orders\",sidespan_bridge=\"main\",error_type=\"timeout\"} 0
";
    const AFTER: &str = "\
messaging_client_sent_messages_total{messaging_destination_name=\"orders\",sidespan_bridge=\"main\"} 190
messaging_client_sent_messages_total{messaging_destination_name=\"orders\",sidespan_bridge=\"main\",error_type=\"timeout\"} 10
messaging_client_operation_duration_seconds_bucket{messaging_operation_name=\"send\",messaging_destination_name=\"orders\",sidespan_bridge=\"main\",le=\"0.01\"} 50
messaging_client_operation_duration_seconds_bucket{messaging_operation_name=\"send\",messaging_destination_name=\"orders\",sidespan_bridge=\"main\",le=\"0.02\"} 100
messaging_client_operation_duration_seconds_bucket{messaging_operation_name=\"send\",messaging_destination_name=\"orders\",sidespan_bridge=\"main\",le=\"+Inf\"} 100
sidespan_subscription_state{sidespan_subscription=\"billing\",state=\"running\"} 1
sidespan_subscription_state{sidespan_subscription=\"billing\",state=\"paused\"} 0
sidespan_subscription_lag_messages{sidespan_subscription=\"billing\"} 42
";

    #[test]
    fn what_came_between_two_scrapes_is_a_table() {
        let ten = Duration::from_secs(10);
        let window = Window::between(&Scrape::read(BEFORE), Scrape::read(AFTER), ten);
        let table = table(&TOPICS, &topics(&window));
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["orders", "main", "9.0/s", "90.00%", "10.0ms", "19.8ms"]);
        let rows = subscriptions(&window);
        assert_eq!(rows[0]["state"], "running");
        assert_eq!(rows[0]["lag"], 42.0);
        assert_eq!(rows[0]["success"], Value::Null, "nothing was attempted");
    }
}
