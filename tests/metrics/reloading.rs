//! What comes and goes while it runs.

use std::fs;

use crate::{config, metrics, start, until};

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
    sidespan_test_support::eventually(crate::PATIENCE, "audit is gone", async || {
        metrics(&sidecar).await.all("sidespan_subscription_held_messages").count() == 1
    })
    .await;
    let seen = metrics(&sidecar).await;
    assert_eq!(seen.get(&hash), None);
    assert_eq!(seen.all("sidespan_config_info").count(), 1);
    let text: Vec<_> = seen.all("sidespan_subscription_state").map(|(series, _)| series.to_owned()).collect();
    assert!(text.iter().all(|series| series.contains("billing")), "{text:?}");
}
