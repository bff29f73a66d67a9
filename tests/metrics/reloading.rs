//! What comes and goes while it runs.

use std::fs;

use sidespan_test_support::{Answer, Client, Webhook, eventually};

use crate::{PATIENCE, config, metrics, start, store, until};

#[tokio::test]
async fn a_subscription_that_is_gone_is_gone_from_the_metrics_and_a_file_that_is_refused_is_seen() {
    let both =
        "subscriptions: { billing: { topic: orders, pull: {} }, audit: { topic: orders, pull: {} } }\n";
    let sidecar = start(both).await;
    let file = sidecar.directory().join("sidespan.yaml");
    let seen = metrics(&sidecar).await;
    assert_eq!(seen.all("sidespan_subscription_held_messages").count(), 2);
    let hash = seen.all("sidespan_config_info").next().unwrap().0.to_owned();
    assert_eq!(hash.len(), "sidespan_config_info{hash=\"\"}".len() + 12, "{hash}");
    assert_eq!(seen.one("sidespan_config_last_reload_successful", &[]), 1.0);

    fs::write(&file, "version: 2").unwrap();
    until(&sidecar, "sidespan_config_last_reload_successful", 0.0).await;
    let seen = metrics(&sidecar).await;
    assert_eq!(seen.get(&hash), Some(1.0), "the one before is in use");

    fs::write(&file, config("subscriptions: { billing: { topic: orders, pull: {} } }\n")).unwrap();
    until(&sidecar, "sidespan_config_last_reload_successful", 1.0).await;
    eventually(PATIENCE, "audit is gone", async || {
        metrics(&sidecar).await.all("sidespan_subscription_held_messages").count() == 1
    })
    .await;
    let seen = metrics(&sidecar).await;
    assert_eq!(seen.get(&hash), None);
    assert_eq!(seen.all("sidespan_config_info").count(), 1);
    let text: Vec<_> = seen.all("sidespan_subscription_state").map(|(series, _)| series.to_owned()).collect();
    assert!(text.iter().all(|series| series.contains("billing")), "{text:?}");
}

#[tokio::test]
async fn a_subscription_that_is_changed_or_paused_goes_on_counting() {
    let webhook = Webhook::start(|_| Answer::status(204)).await;
    let other = Webhook::start(|_| Answer::status(204)).await;
    let pushed = |webhook: &Webhook, retry: &str| {
        let url = webhook.url("/");
        config(&format!(
            "{REGISTRY}subscriptions: {{ billing: {{ topic: orders, start: begin, push: {{ url: \"{url}\" }}{retry} }} }}\n"
        ))
    };
    let sidecar = start(REGISTRY).await;
    let file = sidecar.directory().join("sidespan.yaml");
    let accepted = "sidespan_delivery_attempts_total{outcome=\"accepted\",sidespan_subscription=\"billing\"}";
    let hash =
        async || metrics(&sidecar).await.all("sidespan_config_info").next().map(|(hash, _)| hash.to_owned());
    let change = async |text: String| {
        let before = hash().await;
        fs::write(&file, text).unwrap();
        eventually(PATIENCE, "the file is taken", async || hash().await != before).await;
    };
    let consumed =
        async || metrics(&sidecar).await.one("messaging_client_consumed_messages_total", &["billing"]);
    let timed =
        async || metrics(&sidecar).await.one("messaging_process_duration_seconds_count", &["billing"]);

    change(pushed(&webhook, "")).await;
    store(&sidecar, "orders").await;
    until(&sidecar, accepted, 1.0).await;
    change(pushed(&webhook, ", retry: { max_attempts: 3 }")).await;
    store(&sidecar, "orders").await;
    until(&sidecar, accepted, 2.0).await;
    assert_eq!((consumed().await, timed().await), (2.0, 2.0));

    let call = async |verb: &str| {
        let url = sidecar.url(&format!("/v1/subscriptions/billing/{verb}"));
        let answer = Client::new().post(&url, "").send().await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    call("pause").await;
    until(&sidecar, "sidespan_subscription_state{sidespan_subscription=\"billing\",state=\"paused\"}", 1.0)
        .await;
    assert_eq!(metrics(&sidecar).await.get(accepted), Some(2.0), "what is paused has not forgotten");
    call("resume").await;
    store(&sidecar, "orders").await;
    until(&sidecar, accepted, 3.0).await;
    assert_eq!((consumed().await, timed().await), (3.0, 3.0));

    change(pushed(&other, "")).await;
    store(&sidecar, "orders").await;
    until(&sidecar, accepted, 4.0).await;
    assert_eq!((consumed().await, timed().await), (4.0, 1.0), "another endpoint has counts of its own");
}

/// Where it is kept that a subscription is paused.
const REGISTRY: &str = "registry: { bridge: local }\n";
