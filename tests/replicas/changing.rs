//! Subscriptions that are changed at run time, on any replica, and are changed on all.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use sidespan_test_support::{Client, Kafka, Nats, Response, Scene, eventually};
use tokio::time::Instant;

use crate::cluster::{Cluster, PATIENCE, SECRET, section};

/// Within which a change is everywhere.
const EVERYWHERE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_on_one_jetstream_replica_is_soon_so_on_all() {
    changed_on_all(&Scene::nats(Nats::shared().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_on_one_kafka_replica_is_soon_so_on_all() {
    let kafka = Kafka::shared().await;
    let scene = Scene::kafka(kafka).await;
    // As whoever runs a cluster where services make no topics has to.
    let settings = [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "86400000")];
    kafka.create_topic_with(&format!("{0}.sidespan-{0}", scene.service()), 1, &settings).await;
    changed_on_all(&scene).await;
}

async fn changed_on_all(scene: &Scene) {
    let sections = |peers: &[String], _| format!("{}\nregistry: {{ bridge: main }}", section(peers, SECRET));
    let cluster = Cluster::with(scene, sections).await;
    let spec = json!({ "topic": "orders", "start": "begin", "dead_letter": "dead-orders", "pull": {} });

    let made = change(&cluster, 0, Method::PUT, "made", &spec, None).await;
    assert_eq!(made.status, 201, "{}", made.text());
    soon_on_all(&cluster, "it runs", |one| one["state"] == "running").await;

    // Two who mean the same version, on two replicas.
    let tag = made.header("etag").to_owned();
    let patches = [(1, "10s"), (2, "20s")].map(|(by, lease)| {
        let (cluster, tag) = (&cluster, &tag);
        async move {
            change(cluster, by, Method::PATCH, "made", &json!({ "pull": { "lease": lease } }), Some(tag))
                .await
        }
    });
    let mut statuses: Vec<u16> =
        join_all(patches).await.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "one succeeds");
    let shown = show(&cluster, 0).await;
    soon_on_all(&cluster, "they agree", |one| {
        one["spec"] == shown["spec"] && one["revision"] == shown["revision"]
    })
    .await;

    let paused = change(&cluster, 1, Method::POST, "made/pause", &json!({}), None).await;
    assert_eq!(paused.status, 200, "{}", paused.text());
    soon_on_all(&cluster, "all are out of the group", |one| {
        one["state"] == "paused" && one["role"].is_null()
    })
    .await;
    cluster.publish(2, 3).await;
    let resumed = change(&cluster, 2, Method::POST, "made/resume", &json!({}), None).await;
    assert_eq!(resumed.status, 200, "{}", resumed.text());
    soon_on_all(&cluster, "all are back", |one| one["state"] == "running").await;
    fetch(&cluster, 0, 3).await;

    let moved = change(&cluster, 1, Method::POST, "made/seek", &json!({ "to": "begin" }), None).await;
    assert_eq!(moved.status, 200, "{}", moved.text());
    soon_on_all(&cluster, "all are back", |one| one["state"] == "running").await;
    fetch(&cluster, 2, 3).await;

    let ended = change(&cluster, 2, Method::DELETE, "made", &json!({}), None).await;
    assert_eq!(ended.status, 204, "{}", ended.text());
    soon_on_all(&cluster, "it is gone", |one| one["code"] == "UNKNOWN_SUBSCRIPTION").await;
}

async fn change(
    cluster: &Cluster,
    by: usize,
    method: Method,
    path: &str,
    body: &Value,
    tag: Option<&str>,
) -> Response {
    let url = cluster.replicas[by].url(&format!("/v1/subscriptions/{path}"));
    let mut request = Client::new().request(method, &url).header("content-type", "application/json");
    if let Some(tag) = tag {
        request = request.header("if-match", tag);
    }
    request.body(body.to_string()).deadline(PATIENCE).send().await.expect("an answer")
}

async fn show(cluster: &Cluster, by: usize) -> Value {
    let url = cluster.replicas[by].url("/v1/subscriptions/made");
    Client::new().get(&url).send().await.expect("an answer").json()
}

/// Expects something of every replica before a change has to be everywhere.
async fn soon_on_all(cluster: &Cluster, what: &str, is_so: impl Fn(&Value) -> bool) {
    let began = Instant::now();
    for by in 0..cluster.replicas.len() {
        eventually(PATIENCE, what, async || is_so(&show(cluster, by).await)).await;
    }
    let took = began.elapsed();
    assert!(took < EVERYWHERE, "{what}: took {took:?}");
}

/// Fetches and settles so many messages by one replica.
async fn fetch(cluster: &Cluster, by: usize, count: usize) {
    let mut fetched = 0;
    eventually(PATIENCE, "the messages come", async || {
        let pull = json!({ "wait": "2s" });
        let pulled = change(cluster, by, Method::POST, "made/pull", &pull, None).await.json();
        let messages = pulled["messages"].as_array().cloned().unwrap_or_default();
        if !messages.is_empty() {
            let ids: Vec<&Value> = messages.iter().map(|message| &message["ack_id"]).collect();
            let settled =
                change(cluster, by, Method::POST, "made/ack", &json!({ "ack_ids": ids }), None).await;
            assert_eq!(settled.status, 200, "{}", settled.text());
        }
        fetched += messages.len();
        fetched >= count
    })
    .await;
}
