//! A configuration file that changes under a running server.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;
use sidespan_test_support::{Client, Launch, Sidecar, eventually};

use crate::{PATIENCE, SIDESPAN, publish, readiness};

fn config(more: &str) -> String {
    format!(
        "version: 1\nservice: shop\nbridges: {{ local: {{ kind: embedded, dir: ./data }} }}\ntopics: {{ orders: {{}}, events: \
         {{}} }}\nsubscriptions:\n  billing: {{ topic: orders, pull: {{}} }}\n{more}"
    )
}

async fn shown(sidecar: &Sidecar, name: &str) -> Value {
    Client::new().get(&sidecar.url(&format!("/v1/subscriptions/{name}"))).send().await.unwrap().json()
}

async fn running(sidecar: &Sidecar, name: &str) {
    let what = format!("{name} runs");
    eventually(PATIENCE, &what, async || shown(sidecar, name).await["state"] == "running").await;
}

/// Leases one message, which stays leased only as long as its subscription is not begun anew.
async fn lease(sidecar: &Sidecar) -> Value {
    let url = sidecar.url("/v1/subscriptions/billing/pull");
    let pulled = Client::new().post(&url, r#"{"wait": "10s"}"#).send().await.unwrap().json();
    pulled["messages"][0]["ack_id"].clone()
}

async fn ack(sidecar: &Sidecar, ack_id: &Value) -> u16 {
    let url = sidecar.url("/v1/subscriptions/billing/ack");
    let body = serde_json::json!({ "ack_ids": [ack_id] }).to_string();
    Client::new().post(&url, body).send().await.unwrap().status.as_u16()
}

#[tokio::test]
async fn what_has_changed_is_done_and_the_rest_is_not_disturbed() {
    let sidecar = Launch::new(SIDESPAN).config(&config("")).start().await;
    sidecar.until_ready().await;
    let file = sidecar.directory().join("sidespan.yaml");
    assert_eq!(publish(&sidecar, "orders", "x").await.status, 200);
    let leased = lease(&sidecar).await;

    let more = "  audit: { topic: events, pull: {} }\n";
    fs::write(&file, config(more)).unwrap();
    running(&sidecar, "audit").await;
    assert_eq!(ack(&sidecar, &leased).await, 200, "a lease of what did not change holds");

    fs::write(&file, config("").replace("events: {}", "events: {}, more: {}")).unwrap();
    eventually(PATIENCE, "it is gone", async || {
        shown(&sidecar, "audit").await["code"] == "UNKNOWN_SUBSCRIPTION"
    })
    .await;
    eventually(PATIENCE, "a topic is declared", async || publish(&sidecar, "more", "x").await.status == 200)
        .await;
}

/// As Kubernetes changes a mounted ConfigMap.
#[tokio::test]
async fn a_turned_symbolic_link_is_seen() {
    let launch = Launch::new(SIDESPAN);
    let root = launch.directory().to_owned();
    for (version, text) in [("one", config("")), ("two", config("  audit: { topic: events, pull: {} }\n"))] {
        fs::create_dir(root.join(version)).unwrap();
        fs::write(root.join(version).join("sidespan.yaml"), text).unwrap();
    }
    symlink("one", root.join("current")).unwrap();
    symlink("current/sidespan.yaml", root.join("sidespan.yaml")).unwrap();
    let sidecar = launch.arguments(&["serve", "--config", "sidespan.yaml"]).start().await;
    sidecar.until_ready().await;
    running(&sidecar, "billing").await;
    symlink("two", root.join("next")).unwrap();
    fs::rename(root.join("next"), root.join("current")).unwrap();
    running(&sidecar, "audit").await;
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_said_and_ignored() {
    let sidecar = Launch::new(SIDESPAN).config(&config("")).start().await;
    sidecar.until_ready().await;
    running(&sidecar, "billing").await;
    let file = sidecar.directory().join("sidespan.yaml");
    let told = async || readiness(&sidecar).await.1["file"].clone();
    fs::write(&file, config("  audit: { topic: nowhere, pull: {} }\n")).unwrap();
    eventually(PATIENCE, "it is said", async || {
        told().await["error"].as_str().is_some_and(|error| error.contains("subscriptions.audit.topic"))
    })
    .await;
    eventually(PATIENCE, "it is logged", async || sidecar.stderr().contains("cannot be used")).await;
    running(&sidecar, "billing").await;
    assert_eq!(readiness(&sidecar).await.0, 200, "what was in use still is");

    fs::write(&file, config("limits: { max_message: 2MiB }\n")).unwrap();
    eventually(PATIENCE, "a restart is asked for", async || told().await["needs_restart"][0] == "limits")
        .await;
    assert_eq!(told().await["error"], Value::Null);
    fs::write(&file, config("")).unwrap();
    eventually(PATIENCE, "nothing is left to say", async || told().await == Value::Null).await;
}
