//! A run that cannot go on fails, instead of waiting for what never comes.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use sidespan_test_support::{Answer, Load, Random, Webhook};
use tokio::time::timeout;

#[tokio::test]
async fn a_run_fails_as_soon_as_a_publisher_does() {
    let refuses = Webhook::start(|_| Answer::status(400)).await;
    let takes = Webhook::start(|_| Answer::ok()).await;
    let mut load = Load::start("refused", &mut Random::seeded(1)).await;
    // Most keys go on for long.
    load.publish_on(&[refuses.url("/"), takes.url("/")]);
    let run = tokio::spawn(async move { load.until_delivered(1).await });
    let failed = timeout(Duration::from_secs(10), run).await.expect("it fails at once");
    let why = failed.expect_err("it fails").into_panic();
    let why = why.downcast_ref::<String>().expect("words");
    assert!(why.contains("refused: a publisher gave up") && why.contains("was refused: 400"), "{why}");
}

#[tokio::test]
async fn a_run_fails_as_soon_as_a_consumer_does() {
    let mut load = Load::start("fetched", &mut Random::seeded(1)).await;
    load.consume(async { panic!("pull: 500") });
    let run = tokio::spawn(async move { load.until_delivered(1).await });
    let failed = timeout(Duration::from_secs(10), run).await.expect("it fails at once");
    let why = failed.expect_err("it fails").into_panic();
    assert_eq!(why.downcast_ref::<String>().expect("words"), "fetched: a consumer gave up: pull: 500");
}
