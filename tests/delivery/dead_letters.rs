//! What becomes of messages that nobody accepts.

use sidespan::delivery::{self, DeadLetterPlace};
use sidespan_bridge::{Header, Message, Topic};
use sidespan_test_support::{Answer, Webhook};

use crate::bench::{Bench, message, soon, subscription, until};

fn header(message: &Message, name: &str) -> String {
    let value = message.header(&format!("sidespan-dead-{name}"));
    value.map_or_else(String::new, |value| String::from_utf8(value.to_vec()).unwrap())
}

fn order() -> Message {
    Message {
        key: Some("k".into()),
        id: Some("o.1".into()),
        content_type: Some("text/x-order".into()),
        headers: vec![Header::new("a", "1"), Header::new("a", &b"\xff"[..])],
        ..message("order")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_message_is_stored_untouched_with_why_it_died() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::status(500).body(vec![b'e'; 100_000])).await;
    bench.publish([order()]).await;
    let running = bench.start(&subscription(&webhook.url("/")));
    let dead = bench.dead(1).await.remove(0);
    until(&running, "it is settled", |status| status.held == 0 && status.dead_lettered == 1).await;
    let original = order();
    assert_eq!((&dead.payload, &dead.key, &dead.id), (&original.payload, &original.key, &original.id));
    assert_eq!(dead.content_type, original.content_type);
    assert_eq!(dead.headers[..2], original.headers[..]);
    assert_eq!(header(&dead, "reason"), "exhausted");
    assert_eq!(header(&dead, "last-status"), "500");
    assert_eq!(header(&dead, "attempts"), "3");
    assert_eq!(header(&dead, "subscription"), "billing");
    assert!(header(&dead, "origin").starts_with("main/orders/0-"), "{}", header(&dead, "origin"));
    assert!(header(&dead, "body-excerpt").starts_with("eee") && header(&dead, "body-excerpt").len() < 4096);
    let time = |name| header(&dead, name).parse::<jiff::Timestamp>().unwrap();
    assert!(time("first-attempt") <= time("last-attempt"));
    assert_eq!(webhook.received().len(), 3);
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_is_a_dead_letter_at_once() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::status(422)).await;
    bench.publish([message("x")]).await;
    let running = bench.start(&subscription(&webhook.url("/")));
    let dead = bench.dead(1).await.remove(0);
    assert_eq!((header(&dead, "reason"), header(&dead, "attempts")), ("refused".into(), "1".into()));
    assert_eq!(dead.id.as_deref(), Some(webhook.received()[0].header("webhook-id")), "known by the same id");
    assert_eq!(webhook.received().len(), 1);
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_dead_letter_cannot_be_stored_is_kept() {
    let bench = Bench::open();
    let elsewhere = Bench::open();
    let webhook = Webhook::start(|_| Answer::status(400)).await;
    let wish = subscription(&webhook.url("/"));
    let place = DeadLetterPlace { bridge: elsewhere.bridge.clone(), topic: Topic::new("dead") };
    let running = delivery::start(wish.clone(), bench.bridge.clone(), Some(place));
    until(&running, "it runs", |status| status.state == delivery::State::Running).await;
    elsewhere.bridge.close(soon()).await;
    bench.publish([message("x")]).await;
    until(&running, "it says what is wrong", |status| status.dead_letters.is_some()).await;
    assert_eq!((running.status().held, running.status().dead_lettered), (1, 0));
    running.close(soon()).await;

    let running = bench.start(&wish);
    assert_eq!(bench.dead(1).await.len(), 1, "it came again and was stored elsewhere");
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_place_a_message_is_held_and_tried_again() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::status(400)).await;
    bench.publish([message("x")]).await;
    let running = delivery::start(subscription(&webhook.url("/")), bench.bridge.clone(), None);
    webhook.wait_until("it is tried more often than allowed", |received| received.len() > 6).await;
    assert_eq!((running.status().held, running.status().undeliverable), (1, 1));
    webhook.follow(|_| Answer::ok());
    until(&running, "it is delivered", |s| s.delivered == 1 && s.undeliverable == 0 && s.held == 0).await;
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_with_its_reasons_loses_them_one_after_the_other() {
    let most: usize = 16 << 10;
    let bench = Bench::open_with(serde_json::json!({"max_message": format!("{most}B")}));
    let webhook = Webhook::start(|_| Answer::status(400).body(vec![b'e'; 1_000])).await;
    // Room for: all; all but the excerpt; reason and origin; nothing.
    for room in [2_000, 600, 150, 0] {
        bench.publish([message("x".repeat(most - room))]).await;
    }
    let mut wish = subscription(&webhook.url("/"));
    wish.order = sidespan_bridge::Order::Topic;
    let running = bench.start(&wish);
    let dead = bench.dead(4).await;
    let told: Vec<_> = dead
        .iter()
        .map(|dead| {
            let whole = dead.payload.as_ref().is_some_and(|payload| !payload.is_empty());
            let has = |name| !header(dead, name).is_empty();
            (has("body-excerpt"), has("attempts"), whole, has("reason") && has("origin"))
        })
        .collect();
    let expected = [
        (true, true, true, true),
        (false, true, true, true),
        (false, false, true, true),
        (false, false, false, true),
    ];
    assert_eq!(told, expected);
    running.close(soon()).await;
}
