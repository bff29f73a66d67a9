//! Subscriptions that are made, changed, paused, moved and ended at run time.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use sidespan_test_support::{Answer, Webhook, eventually};

use crate::server::{Call, Server};

const REGISTRY: &str = "registry: { bridge: local }\n";
const PATIENCE: Duration = Duration::from_secs(10);

fn change(server: &Server, method: Method, name: &str, body: &Value) -> Call {
    let path = format!("/v1/subscriptions/{name}");
    server.call(method, &path, Bytes::from(body.to_string())).header("content-type", "application/json")
}

fn verb(server: &Server, name: &str, verb: &str) -> Call {
    server.post(&format!("/v1/subscriptions/{name}/{verb}"), "")
}

async fn ready(server: &Server) {
    eventually(PATIENCE, "the registry is known", async || {
        change(server, Method::DELETE, "nobody", &json!({})).send().await.status == 404
    })
    .await;
}

async fn with_registry(sections: &str) -> Server {
    let server = Server::with(&format!("{REGISTRY}{sections}")).await;
    ready(&server).await;
    server
}

#[tokio::test]
async fn a_subscription_is_made_delivered_changed_and_ended() {
    let (one, other) = (Webhook::start(|_| Answer::ok()).await, Webhook::start(|_| Answer::ok()).await);
    let server = with_registry("").await;
    let spec = json!({ "topic": "declared", "start": "begin", "push": { "url": one.url("/") } });
    server.publish("declared", "first").await;
    let made = change(&server, Method::PUT, "made", &spec).send().await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!((&made.json()["origin"], &made.json()["spec"]), (&json!("registry"), &spec));
    eventually(PATIENCE, "a delivery", async || one.received().len() == 1).await;

    let again = change(&server, Method::PUT, "made", &spec).send().await;
    assert_eq!(
        (again.status.as_u16(), again.header("etag")),
        (200, made.header("etag")),
        "the same changes nothing"
    );

    let patch = json!({ "push": { "url": other.url("/") } });
    let patched =
        change(&server, Method::PATCH, "made", &patch).header("if-match", made.header("etag")).send().await;
    assert_eq!(patched.status, 200, "{}", patched.text());
    assert_ne!(patched.header("etag"), made.header("etag"));
    assert_eq!(patched.json()["spec"]["start"], "begin");
    server.publish("declared", "second").await;
    eventually(PATIENCE, "a delivery there", async || other.received().len() == 1).await;
    assert_eq!(one.received().len(), 1);

    change(&server, Method::PUT, "made", &spec)
        .header("if-match", made.header("etag"))
        .problem(412, "PRECONDITION_FAILED")
        .await;
    change(&server, Method::PUT, "made", &spec)
        .header("if-none-match", "*")
        .problem(412, "PRECONDITION_FAILED")
        .await;
    change(&server, Method::PUT, "fresh", &spec)
        .header("if-match", "*")
        .problem(412, "PRECONDITION_FAILED")
        .await;
    change(&server, Method::PUT, "made", &spec)
        .header("if-match", "\"x\"")
        .problem(412, "PRECONDITION_FAILED")
        .await;

    let ended = change(&server, Method::DELETE, "made", &json!({})).send().await;
    assert_eq!(ended.status, 204);
    eventually(PATIENCE, "it is gone", async || {
        server.get("/v1/subscriptions/made").send().await.status == 404
    })
    .await;
    change(&server, Method::DELETE, "made", &json!({})).problem(404, "UNKNOWN_SUBSCRIPTION").await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_its_key() {
    let server = with_registry("").await;
    let push = |url: &str| json!({ "topic": "declared", "push": { "url": url } });
    let cases = [
        (json!({}), 422, "INVALID_SUBSCRIPTION", "topic"),
        (json!({ "topic": "declared" }), 422, "INVALID_SUBSCRIPTION", "push"),
        (json!({ "topic": "declared", "pul": {} }), 422, "INVALID_SUBSCRIPTION", "`pull`"),
        (
            json!({ "topic": "declared", "pull": { "lease": "1h" } }),
            422,
            "INVALID_SUBSCRIPTION",
            "pull.lease",
        ),
        (push("http://127.0.0.1:1/?token=x"), 422, "INVALID_SUBSCRIPTION", "push.url"),
        (push("http://10.0.0.1/"), 403, "TARGET_DENIED", "push.allow"),
        (push("http://169.254.169.254/"), 403, "TARGET_DENIED", "push.allow"),
        (push("http://billing.example/"), 403, "TARGET_DENIED", "push.allow"),
        (
            json!({ "topic": "declared", "push": { "url": "http://localhost/", "secrets": ["whsec_c2VjcmV0"] } }),
            422,
            "INVALID_SUBSCRIPTION",
            "push.secrets.0",
        ),
        (
            json!({ "topic": "declared", "push": { "url": "http://localhost/", "secrets": [{ "env": "HOME" }] } }),
            422,
            "INVALID_SUBSCRIPTION",
            "registry.secrets",
        ),
    ];
    for (spec, status, code, key) in cases {
        let problem = change(&server, Method::PUT, "made", &spec).problem(status, code).await;
        assert!(problem["detail"].as_str().unwrap().contains(key), "{spec}: {problem}");
        assert!(!problem.to_string().contains("whsec_"), "{problem}");
    }
    let body = Bytes::from("[]");
    server.call(Method::PUT, "/v1/subscriptions/made", body).problem(400, "INVALID_REQUEST").await;
    change(&server, Method::PUT, "a.b", &json!({})).problem(400, "INVALID_REQUEST").await;
    let html =
        server.call(Method::PUT, "/v1/subscriptions/made", Bytes::new()).header("content-type", "text/html");
    html.problem(415, "UNSUPPORTED_MEDIA_TYPE").await;
    assert_eq!(server.get("/v1/subscriptions").expect(200).await["subscriptions"], json!([]));
}

#[tokio::test]
async fn without_a_registry_the_key_is_named() {
    let server = Server::start().await;
    for (method, path) in [
        (Method::PUT, "made"),
        (Method::PATCH, "made"),
        (Method::DELETE, "made"),
        (Method::POST, "made/pause"),
        (Method::POST, "made/resume"),
    ] {
        let problem = change(&server, method, path, &json!({})).problem(501, "NO_REGISTRY").await;
        assert!(problem["detail"].as_str().unwrap().contains("`registry`"), "{problem}");
    }
    let seek = json!({ "to": "begin" });
    change(&server, Method::POST, "made/seek", &seek).problem(501, "NO_REGISTRY").await;
}

#[tokio::test]
async fn those_of_the_file_are_read_only_and_can_be_paused_moved_and_resumed() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let server = with_registry(&super::subscription("billing", &webhook.url("/"))).await;
    let spec = json!({ "topic": "declared", "pull": {} });
    change(&server, Method::PUT, "billing", &spec).problem(409, "READ_ONLY").await;
    change(&server, Method::PATCH, "billing", &spec).problem(409, "READ_ONLY").await;
    change(&server, Method::DELETE, "billing", &spec).problem(409, "READ_ONLY").await;

    let described = async || server.get("/v1/subscriptions/billing").expect(200).await;
    eventually(PATIENCE, "it runs", async || described().await["state"] == "running").await;
    server.publish("declared", "before").await;
    eventually(PATIENCE, "a delivery", async || webhook.received().len() == 1).await;
    let paused = verb(&server, "billing", "pause").expect(200).await;
    assert_eq!((&paused["is_paused"], &paused["origin"]), (&json!(true), &json!("file")));
    eventually(PATIENCE, "it is out of its group", async || described().await["role"] == Value::Null).await;
    server.publish("declared", "meanwhile").await;
    let lag = server.get("/v1/subscriptions/billing/lag").expect(200).await;
    assert_eq!(lag["messages"], 1, "what waits while it is paused: {lag}");

    let resumed = verb(&server, "billing", "resume").expect(200).await;
    assert_eq!(resumed["is_paused"], false);
    eventually(PATIENCE, "what came meanwhile", async || webhook.received().len() == 2).await;
    eventually(PATIENCE, "nothing is left", async || {
        let lag = server.get("/v1/subscriptions/billing/lag").send().await;
        lag.status == 200 && lag.json()["messages"] == 0
    })
    .await;

    change(&server, Method::POST, "billing/seek", &json!({ "to": "begin" })).expect(200).await;
    eventually(PATIENCE, "both come again", async || webhook.received().len() == 4).await;
    change(&server, Method::POST, "billing/seek", &json!({ "to": "middle" }))
        .problem(400, "INVALID_REQUEST")
        .await;
    verb(&server, "nobody", "pause").problem(404, "UNKNOWN_SUBSCRIPTION").await;
}

#[tokio::test]
async fn a_paused_subscription_hands_nothing_out() {
    let server = with_registry("subscriptions:\n  jobs: { topic: declared, pull: {} }\n").await;
    verb(&server, "jobs", "pause").expect(200).await;
    let pull = json!({ "wait": "1s" });
    eventually(PATIENCE, "it is paused", async || {
        change(&server, Method::POST, "jobs/pull", &pull).send().await.json()["code"] == "PAUSED"
    })
    .await;
    verb(&server, "jobs", "resume").expect(200).await;
    eventually(PATIENCE, "it hands out", async || {
        change(&server, Method::POST, "jobs/pull", &pull).send().await.status == 200
    })
    .await;
}

#[tokio::test]
async fn no_more_are_made_than_the_configuration_allows() {
    let server = Server::with("registry: { bridge: local, max_subscriptions: 3 }\n").await;
    ready(&server).await;
    for number in 0..3 {
        let spec = json!({ "topic": "declared", "pull": {} });
        change(&server, Method::PUT, &format!("made-{number}"), &spec).expect(201).await;
    }
    for number in 3..200 {
        let spec = json!({ "topic": "declared", "pull": {} });
        let name = format!("made-{number}");
        let problem = change(&server, Method::PUT, &name, &spec).problem(429, "LIMITED").await;
        assert!(problem["detail"].as_str().unwrap().contains("registry.max_subscriptions"), "{problem}");
    }
    let spec = json!({ "topic": "declared", "pull": {}, "order": "key" });
    change(&server, Method::PUT, "made-0", &spec).expect(200).await;
    change(&server, Method::DELETE, "made-1", &json!({})).send().await;
    change(&server, Method::PUT, "made-3", &spec).expect(201).await;
}

#[tokio::test]
async fn two_of_one_group_are_refused() {
    let server = with_registry("").await;
    let spec = json!({ "topic": "declared", "group": "mine", "pull": {} });
    change(&server, Method::PUT, "one", &spec).expect(201).await;
    let problem = change(&server, Method::PUT, "other", &spec).problem(422, "INVALID_SUBSCRIPTION").await;
    assert!(problem["detail"].as_str().unwrap().starts_with("group: the subscription one"), "{problem}");
}

/// Of many who change the same version at once one succeeds.
#[tokio::test]
async fn of_changes_at_the_same_time_one_succeeds() {
    let server = with_registry("").await;
    let spec = |max: usize| json!({ "topic": "declared", "pull": {}, "max_in_flight": max });
    let made = change(&server, Method::PUT, "made", &spec(1)).send().await;
    let changes = (2..12).map(|max| {
        change(&server, Method::PUT, "made", &spec(max)).header("if-match", made.header("etag")).send()
    });
    let statuses: Vec<u16> =
        futures_util::future::join_all(changes).await.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 9, "{statuses:?}");
}
