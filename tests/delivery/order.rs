//! Which messages must not overtake which.

use std::collections::BTreeMap;

use sidespan_bridge::Order;
use sidespan_test_support::{Answer, Random, Webhook};
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, accepted, keyed, message, soon, subscription, until};

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_key_go_in_order_through_failures() {
    let bench = Bench::open();
    let mut random = Random::from_env();
    let webhook = Webhook::start(move |_| match random.below(10) {
        0 => Answer::status(500),
        1 => Answer::status(503),
        2 => Answer::cut(),
        _ => Answer::ok(),
    })
    .await;
    bench.publish((0..1_000).map(|number| keyed(&format!("k{}", number % 20), number))).await;
    let mut wish = subscription(&webhook.url("/"));
    wish.order = Order::Key;
    wish.retry.max_attempts = 1_000;
    let running = bench.start(&wish);
    until(&running, "all are delivered", |status| status.delivered == 1_000).await;
    running.close(soon()).await;

    let mut last: BTreeMap<String, u32> = BTreeMap::new();
    for request in webhook.received() {
        let number = request.text().parse().unwrap();
        let before = last.insert(request.header("sidespan-key").to_owned(), number);
        assert!(before.is_none_or(|before| before <= number), "{number} came after {before:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_key_holds_only_itself() {
    let bench = Bench::open();
    let gate = CancellationToken::new();
    let hold = gate.clone();
    let webhook = Webhook::start(move |request| match request.header("sidespan-key") {
        "slow" => Answer::ok().once(&hold),
        _ => Answer::ok(),
    })
    .await;
    let mut wish = subscription(&webhook.url("/"));
    (wish.order, wish.max_in_flight) = (Order::Key, 2);
    bench.publish((0..5).map(|number| keyed("slow", number))).await;
    bench.publish((0..200).map(|number| keyed("quick", number))).await;
    bench.publish([message("without a key")]).await;
    let running = bench.start(&wish);
    until(&running, "all others are delivered", |status| status.delivered == 201).await;
    assert_eq!(running.status().in_flight, 1, "one of a key at a time");
    gate.cancel();
    until(&running, "all are delivered", |status| status.delivered == 206).await;
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_in_strict_order_goes_one_at_a_time() {
    let bench = Bench::open();
    let webhook = Webhook::start(|request| match request.number % 7 {
        0 => Answer::status(500),
        _ => Answer::ok(),
    })
    .await;
    bench.publish((0..100).map(message)).await;
    let mut wish = subscription(&webhook.url("/"));
    wish.order = Order::Topic;
    wish.retry.max_attempts = 1_000;
    let running = bench.start(&wish);
    until(&running, "all are delivered", |status| status.delivered == 100).await;
    running.close(soon()).await;
    assert_eq!(webhook.peak(), 1);
    let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(accepted(&webhook.received()), expected);
}
