//! Where subscriptions that are made at run time may lead, looked at whenever something is sent there.

use std::fs;

use serde_json::{Value, json};
use sidespan_test_support::{Answer, Client, Launch, Sidecar, Webhook, eventually};

use crate::{PATIENCE, SIDESPAN, store};

fn config(allow: &str) -> String {
    format!(
        "version: 1\nservice: shop\nbridges: {{ local: {{ kind: embedded, dir: ./data, open: true }} }}\n\
         registry: {{ bridge: local }}\npush: {{ allow: [{allow}] }}\n"
    )
}

#[tokio::test]
async fn a_target_that_is_not_listed_any_more_gets_nothing_until_it_is_again() {
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let sidecar = Launch::new(SIDESPAN).config(&config("loopback")).start().await;
    sidecar.until_ready().await;
    let url = webhook.url("/");
    assert_eq!(put(&sidecar, &url).await.0, 201);
    store(&sidecar, "events", "before").await;
    eventually(PATIENCE, "a delivery", async || webhook.received().len() == 1).await;

    let file = sidecar.directory().join("sidespan.yaml");
    fs::write(&file, config("'10.0.0.0/8'")).unwrap();
    eventually(PATIENCE, "it runs no more", async || {
        let shown = shown(&sidecar).await;
        shown["status"] == 409 && shown["detail"].as_str().is_some_and(|detail| detail.contains("push.allow"))
    })
    .await;
    store(&sidecar, "events", "meanwhile").await;
    assert_eq!(put(&sidecar, &url).await, (403, json!("TARGET_DENIED")));

    fs::write(&file, config("loopback")).unwrap();
    eventually(PATIENCE, "what came meanwhile", async || webhook.received().len() == 2).await;
    let texts: Vec<String> = webhook.received().iter().map(|one| one.text().to_owned()).collect();
    assert_eq!(texts, ["before", "meanwhile"]);
}

/// A listed target that points elsewhere does not lead there.
#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let elsewhere = Webhook::start(|_| Answer::ok()).await;
    let location = elsewhere.url("/stolen");
    let webhook = Webhook::start(move |_| Answer::status(307).header("location", &location)).await;
    let url = webhook.url("/");
    let port = url.trim_start_matches("http://").trim_end_matches('/');
    let sidecar = Launch::new(SIDESPAN).config(&config(&format!("'{port}'"))).start().await;
    sidecar.until_ready().await;
    assert_eq!(put(&sidecar, &elsewhere.url("/")).await, (403, json!("TARGET_DENIED")));
    assert_eq!(put(&sidecar, &url).await.0, 201);
    store(&sidecar, "events", "x").await;
    eventually(PATIENCE, "attempts", async || webhook.received().len() >= 2).await;
    let shown = shown(&sidecar).await;
    assert_eq!((&shown["held"], &shown["delivered"]), (&json!(1), &json!(0)), "{shown}");
    assert_eq!(elsewhere.received().len(), 0);
}

/// Makes the subscription, and returns the status and the code of a problem.
async fn put(sidecar: &Sidecar, target: &str) -> (u16, Value) {
    let retry = json!({ "backoff": { "base": "10ms", "cap": "100ms" } });
    let spec = json!({ "topic": "events", "start": "begin", "push": { "url": target }, "retry": retry });
    let put = Client::new().request(http::Method::PUT, &sidecar.url("/v1/subscriptions/made"));
    let put = put.header("content-type", "application/json").body(spec.to_string());
    let answer = put.send().await.unwrap();
    (answer.status.as_u16(), answer.json()["code"].clone())
}

async fn shown(sidecar: &Sidecar) -> Value {
    Client::new().get(&sidecar.url("/v1/subscriptions/made")).send().await.unwrap().json()
}
