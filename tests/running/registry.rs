//! What the registry keeps, over restarts, and beside what is not ours.

use serde_json::{Value, json};
use sidespan_bridge::{Driver, Revision, Settings};
use sidespan_bridge_embedded::Embedded;
use sidespan_test_support::{Answer, Client, Launch, Sidecar, Webhook, eventually};
use tokio::time::Instant;

use crate::{PATIENCE, SIDESPAN, readiness, store};

const CONFIG: &str = "
version: 1
service: shop
bridges: { local: { kind: embedded, dir: ./data, open: true } }
registry: { bridge: local }
subscriptions: { billing: { topic: orders, pull: {} } }
";

async fn put(sidecar: &Sidecar, name: &str, spec: &Value) -> u16 {
    let url = sidecar.url(&format!("/v1/subscriptions/{name}"));
    let put = Client::new().request(http::Method::PUT, &url).header("content-type", "application/json");
    put.body(spec.to_string()).send().await.unwrap().status.as_u16()
}

async fn shown(sidecar: &Sidecar, name: &str) -> Value {
    Client::new().get(&sidecar.url(&format!("/v1/subscriptions/{name}"))).send().await.unwrap().json()
}

#[tokio::test]
async fn what_was_made_and_paused_is_so_after_a_restart() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let mut sidecar = Launch::new(SIDESPAN).config(CONFIG).start().await;
    sidecar.until_ready().await;
    let spec = json!({ "topic": "events", "start": "begin", "push": { "url": webhook.url("/") } });
    assert_eq!(put(&sidecar, "made", &spec).await, 201);
    let pause = Client::new().post(&sidecar.url("/v1/subscriptions/billing/pause"), "").send().await.unwrap();
    assert_eq!(pause.status, 200, "{}", pause.text());

    sidecar.stop().await;
    sidecar.start_again().await;
    sidecar.until_ready().await;
    store(&sidecar, "events", "x").await;
    webhook.wait_until("a delivery by what was made", |received| received.len() == 1).await;
    let billing = shown(&sidecar, "billing").await;
    assert_eq!((&billing["is_paused"], &billing["state"]), (&json!(true), &json!("paused")), "{billing}");
    assert_eq!(shown(&sidecar, "made").await["spec"], spec);
}

#[tokio::test]
async fn a_record_that_is_not_ours_is_left_alone_and_told_of() {
    let launch = Launch::new(SIDESPAN).config(CONFIG);
    let dir = launch.directory().join("data").display().to_string();
    let bridge = Embedded.open(&Settings::new("shop", json!({ "dir": dir }))).unwrap();
    let registry = bridge.registry("sidespan-shop").unwrap();
    let deadline = Instant::now() + PATIENCE;
    for (key, value) in [("theirs", "not even JSON"), ("later", r#"{"version": 99, "spec": {}}"#)] {
        registry.put(key, Some(value.into()), Revision::NONE, deadline).await.unwrap();
    }
    bridge.close(deadline).await;
    drop((registry, bridge));

    let sidecar = launch.start().await;
    sidecar.until_ready().await;
    let skipped = readiness(&sidecar).await.1["registry"]["skipped"].clone();
    let keys: Vec<&str> =
        skipped.as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["later", "theirs"], "{skipped}");
    let spec = json!({ "topic": "events", "pull": {} });
    assert_eq!(put(&sidecar, "theirs", &spec).await, 409);
    assert_eq!(shown(&sidecar, "theirs").await["code"], "CONFLICT");
    assert_eq!(put(&sidecar, "ours", &spec).await, 201);
    eventually(PATIENCE, "the file's runs", async || shown(&sidecar, "billing").await["state"] == "running")
        .await;
}

/// As if the replica that was to move it had died.
#[tokio::test]
async fn a_group_that_nobody_moves_goes_on_by_itself() {
    let launch = Launch::new(SIDESPAN).config(CONFIG);
    let dir = launch.directory().join("data").display().to_string();
    let bridge = Embedded.open(&Settings::new("shop", json!({ "dir": dir }))).unwrap();
    let registry = bridge.registry("sidespan-shop").unwrap();
    let deadline = Instant::now() + PATIENCE;
    let moving = r#"{"version": 1, "moving_ms": 3000}"#;
    registry.put("billing", Some(moving.into()), Revision::NONE, deadline).await.unwrap();
    bridge.close(deadline).await;
    drop((registry, bridge));

    let sidecar = launch.start().await;
    sidecar.until_ready().await;
    let billing = shown(&sidecar, "billing").await;
    assert_eq!(billing["state"], "paused", "{billing}");
    let resume =
        Client::new().post(&sidecar.url("/v1/subscriptions/billing/pause"), "").send().await.unwrap();
    assert_eq!((resume.status.as_u16(), &resume.json()["code"]), (409, &json!("SEEKING")));
    eventually(PATIENCE, "it goes on", async || shown(&sidecar, "billing").await["state"] == "running").await;
    eventually(PATIENCE, "and may be changed", async || {
        let pause =
            Client::new().post(&sidecar.url("/v1/subscriptions/billing/pause"), "").send().await.unwrap();
        pause.status == 200
    })
    .await;
}

/// A broker that keeps nothing has nothing to go back to. Nobody leaves the group to find that out.
#[cfg(feature = "nats")]
#[tokio::test]
async fn where_no_group_can_be_moved_none_is_left() {
    let nats = sidespan_test_support::Nats::shared().await;
    let config = format!(
        "version: 1\nservice: shop\n\
         bridges: {{ local: {{ kind: embedded, dir: ./data }}, core: {{ kind: nats, servers: ['{}'], mode: core }} }}\n\
         registry: {{ bridge: local }}\n\
         topics: {{ told: {{ bridge: core, address: {} }} }}\n\
         subscriptions: {{ billing: {{ topic: told, dead_letter: false, pull: {{}} }} }}\n",
        nats.url(),
        sidespan_test_support::unique_name("told")
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    let seek = Client::new().post(&sidecar.url("/v1/subscriptions/billing/seek"), r#"{"to": "begin"}"#);
    let told = seek.header("content-type", "application/json").send().await.unwrap();
    assert_eq!((told.status.as_u16(), &told.json()["code"]), (501, &json!("UNSUPPORTED")), "{}", told.text());
    let billing = shown(&sidecar, "billing").await;
    assert_eq!(billing["state"], "running", "{billing}");
    assert!(billing["revision"].is_null(), "no replica was told to leave: {billing}");
}
