//! The dashboards, and whether what they and the rules ask for is there.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use sidespan_test_support::{Answer, Client, Launch, Webhook, eventually};

use crate::prometheus::{check_metrics, promtool};
use crate::{PATIENCE, SIDESPAN, chart};

const DASHBOARDS: [&str; 3] = ["fleet", "sidecar", "subscription"];

#[tokio::test]
async fn prometheus_can_read_what_dashboards_ask() {
    let mut rules = Vec::new();
    for name in DASHBOARDS {
        for (number, expression) in expressions(name).into_iter().enumerate() {
            let asked = expression.replace("$__rate_interval", "5m");
            rules.push(json!({ "record": format!("{name}:{number}"), "expr": asked }));
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let groups = json!({ "groups": [{ "name": "dashboards", "rules": rules }] });
    fs::write(directory.path().join("rules.json"), groups.to_string()).unwrap();
    let checked = promtool(directory.path(), &["check", "rules", "rules.json"]).await;
    assert!(checked.success, "{}{}", checked.output, checked.errors);
}

/// Whoever looks at a panel for the first time is told what it shows, and in which unit.
#[test]
fn each_panel_says_what_it_shows() {
    for name in DASHBOARDS {
        for panel in panels(name) {
            let title = panel["title"].as_str().unwrap();
            assert!(panel["description"].as_str().is_some_and(|it| it.len() > 10), "{name}: {title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{name}: {title}");
        }
    }
}

#[tokio::test]
async fn what_dashboards_and_rules_name_is_there_and_well_formed() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let config = format!(
        "version: 1\nservice: shop\nbridges: {{ local: {{ kind: embedded, dir: data }} }}\ntopics: {{ orders: {{}} }}\n\
         subscriptions: {{ billing: {{ topic: orders, push: {{ url: '{}' }} }}, audit: {{ topic: orders, pull: {{}} }} }}\n",
        webhook.url("/")
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    let publish = sidecar.url("/v1/topics/orders/messages");
    assert_eq!(Client::new().post(&publish, "x").send().await.unwrap().status, 200);
    webhook.wait_until("a delivery", |received| received.len() == 1).await;
    let mut scraped = String::new();
    // Lag is asked for in the background.
    eventually(PATIENCE, "lag is known", async || {
        let answer = Client::new().get(&sidecar.admin_url("/metrics")).send().await.unwrap();
        scraped = answer.text().to_owned();
        scraped.contains("\nsidespan_subscription_lag_messages{")
    })
    .await;
    assert_eq!(check_metrics(&scraped), "", "promtool check metrics");

    let known: BTreeSet<&str> =
        scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut asked = fs::read_to_string(chart("alerts.yaml")).unwrap();
    asked.extend(DASHBOARDS.into_iter().flat_map(expressions).map(|expression| format!("\n{expression}")));
    let unknown: BTreeSet<&str> = asked
        .split(|it: char| !it.is_ascii_alphanumeric() && it != '_')
        .filter(|word| ["sidespan_", "messaging_", "process_"].iter().any(|start| word.starts_with(start)))
        .filter(|word| !LABELS.contains(word))
        .filter(|word| {
            let family = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end));
            !known.contains(word) && !family.is_some_and(|family| known.contains(family))
        })
        .collect();
    assert!(unknown.is_empty(), "nobody measures {unknown:?}");
}

/// What stands in expressions and is no metric.
const LABELS: [&str; 5] = [
    "messaging_destination_name",
    "messaging_operation_name",
    "sidespan_bridge",
    "sidespan_subscription",
    "messaging_consumer_group_name",
];

fn panels(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(chart(&format!("dashboards/{name}.json"))).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.filter(|panel| panel["type"] != "row").cloned().collect()
}

fn expressions(name: &str) -> Vec<String> {
    let panels = panels(name);
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}
