//! Draining and leaving.

use std::time::Duration;

use sidespan::delivery::State;
use sidespan_bridge::Order;
use sidespan_test_support::{Answer, Webhook};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, accepted, keyed, message, soon, subscription, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_runs_and_leaves_the_rest_to_the_broker() {
    for order in [Order::None, Order::Key] {
        let bench = Bench::open();
        let gate = CancellationToken::new();
        let hold = gate.clone();
        let webhook = Webhook::start(move |request| match request.text() {
            "failing" => Answer::status(500),
            _ => Answer::ok().once(&hold),
        })
        .await;
        let mut wish = subscription(&webhook.url("/"));
        (wish.order, wish.max_in_flight) = (order, 2);
        (wish.retry.base, wish.retry.cap) = (Duration::from_secs(600), Duration::from_secs(600));
        bench.publish([keyed("a", "failing"), keyed("b", 1), keyed("c", 2), keyed("d", 3)]).await;
        let running = bench.start(&wish);
        until(&running, "one waits, two run, one is queued", |status| {
            status.failed_attempts == 1 && status.in_flight == 2 && status.held == 4
        })
        .await;

        running.stop_intake();
        until(&running, "it says that it drains", |status| status.state == State::Draining).await;
        assert!(!running.finish(Instant::now()).await, "two attempts still run");
        bench.publish([keyed("e", "late")]).await;
        gate.cancel();
        assert!(running.finish(soon()).await);
        assert_eq!(running.status().delivered, 2);
        running.close(soon()).await;
        assert_eq!(bench.dead_count().await, 0);

        webhook.follow(|_| Answer::ok());
        let running = bench.start(&wish);
        until(&running, "the rest comes", |status| status.delivered == 3).await;
        running.close(soon()).await;
        let mut got = accepted(&webhook.received());
        got.sort();
        assert_eq!(got, ["1", "2", "3", "failing", "late"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_again_and_again_loses_nothing_and_keeps_the_order() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let mut wish = subscription(&webhook.url("/"));
    wish.order = Order::Key;
    bench.publish((0..2_000).map(|number| keyed(&format!("k{}", number % 10), number))).await;
    let mut seen: u64 = 0;
    while seen < 2_000 {
        let running = bench.start(&wish);
        until(&running, "some are delivered", |status| status.delivered >= 100.min(2_000 - seen)).await;
        running.close(soon()).await;
        let mut bodies = accepted(&webhook.received());
        bodies.sort();
        bodies.dedup();
        seen = bodies.len() as u64;
    }
    let mut last = std::collections::BTreeMap::new();
    let mut repeats = 0;
    for request in webhook.received() {
        let number: u32 = request.text().parse().unwrap();
        let seen: &mut std::collections::BTreeSet<u32> =
            last.entry(request.header("sidespan-key").to_owned()).or_default();
        if seen.contains(&number) {
            repeats += 1;
        } else {
            assert!(seen.last().is_none_or(|last| *last < number), "{number} went backwards");
            seen.insert(number);
        }
    }
    println!("{repeats} repeats");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_cannot_start_can_be_closed() {
    let bench = Bench::open_with(serde_json::json!({"create_topics": false}));
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let running = bench.start(&subscription(&webhook.url("/")));
    until(&running, "it says why", |status| match &status.state {
        State::Retrying(trouble) => trouble.error.starts_with("the dead-letter place: "),
        _ => false,
    })
    .await;
    running.stop_intake();
    assert!(running.finish(soon()).await);
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_dropped_ends() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    drop(bench.start(&subscription(&webhook.url("/"))));
    bench.publish([message("x")]).await;
    let running = bench.start(&subscription(&webhook.url("/")));
    until(&running, "the next one gets the message", |status| status.delivered == 1).await;
    running.close(soon()).await;
}
