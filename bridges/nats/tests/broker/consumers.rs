//! Consumers that others made, or delete.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use sidespan_bridge::{Fault, Order, Settlement, Subscribe, Verdict, Window};
use sidespan_test_support::{Nats, unique_name};
use tokio::time::timeout;

use super::{
    Operator, accept, all_of, body, close, next, next_after_losses, open, open_with, publish, refusal, text,
};

/// A consumer that is deleted under a subscription is made again behind what was settled.
#[tokio::test]
async fn a_consumer_that_is_deleted_is_made_again_and_nothing_is_lost() {
    let nats = Nats::shared().await;
    for order in [Order::None, Order::Key] {
        let (operator, topic) = (Operator::of(nats).await, unique_name("deleted"));
        operator.make(&topic, json!({})).await;
        let bridge = open(nats);
        let to = Subscribe { order, ..all_of(&topic) };
        let mut inbox = bridge.subscribe(to).await.unwrap();
        publish(&*bridge, &topic, (0..10).map(text).collect()).await;
        let mut held = Vec::new();
        for _ in 0..10 {
            held.push(next(&mut inbox).await);
        }
        for delivery in held.drain(..5) {
            accept(delivery).await;
        }

        operator.ask(&format!("CONSUMER.DELETE.{topic}.{topic}"), json!(null)).await;
        publish(&*bridge, &topic, vec![text("behind")]).await;

        let (mut seen, mut lost) = (BTreeSet::new(), 0);
        while !["5", "6", "7", "8", "9", "behind"].iter().all(|body| seen.contains(*body)) {
            let (delivery, losses) = next_after_losses(&mut inbox).await;
            lost += losses;
            seen.insert(body(&delivery));
            accept(delivery).await;
        }
        assert_eq!(lost, 1, "{order:?}: the loss is said once");
        for delivery in held {
            assert_eq!(delivery.ack.settle(Verdict::Accept).await, Settlement::Stale, "{order:?}");
        }
        close(inbox).await;
    }
}

/// A member that asks for nothing, as its window is full, is told so too.
#[tokio::test]
async fn a_consumer_that_is_deleted_is_missed_while_the_window_is_full() {
    let nats = Nats::shared().await;
    let (operator, topic) = (Operator::of(nats).await, unique_name("deleted"));
    operator.make(&topic, json!({})).await;
    let bridge = open_with(nats, json!({"priority_timeout": "60s"}));
    let window = Window { messages: 2, ..Window::default() };
    let to = Subscribe { order: Order::Key, window, ..all_of(&topic) };
    let mut inbox = bridge.subscribe(to).await.unwrap();
    publish(&*bridge, &topic, vec![text("one"), text("two")]).await;
    let held = [next(&mut inbox).await, next(&mut inbox).await];
    // Less than a third of the time for which it may be silent.
    let soon = Duration::from_secs(10);
    operator.ask(&format!("CONSUMER.DELETE.{topic}.{topic}"), json!(null)).await;
    timeout(soon, held[1].lost.cancelled()).await.expect("the loss is said");
    let again = timeout(soon, next_after_losses(&mut inbox)).await.expect("it goes on");
    assert_eq!((body(&again.0).as_str(), again.1), ("one", 1));
    close(inbox).await;
}

/// A durable of the same name with other settings is adapted where that is safe.
#[tokio::test]
async fn a_durable_is_adapted_where_that_is_safe() {
    let nats = Nats::shared().await;
    let (operator, topic) = (Operator::of(nats).await, unique_name("adapted"));
    operator.make(&topic, json!({})).await;
    let bridge = open(nats);
    publish(&*bridge, &topic, vec![text("x")]).await;
    let config = json!({
        "durable_name": topic, "ack_policy": "explicit", "deliver_policy": "all", "filter_subject": topic,
        "max_deliver": 1, "ack_wait": 60_000_000_000_u64, "description": "somebody's",
    });
    let body = json!({"stream_name": topic, "config": config});
    operator.ask(&format!("CONSUMER.CREATE.{topic}.{topic}"), body).await;
    let mut inbox = bridge.subscribe(all_of(&topic)).await.unwrap();
    for _ in 0..3 {
        drop(next(&mut inbox).await);
    }
    let info = operator.ask(&format!("CONSUMER.INFO.{topic}.{topic}"), json!(null)).await;
    assert_eq!(info["config"]["max_deliver"], json!(-1));
    assert_eq!(info["config"]["ack_wait"], json!(2_000_000_000_u64));
    assert_eq!(info["config"]["description"], json!("somebody's"));
    close(inbox).await;
}

/// One that reads something else, or in another way, is refused with both values.
#[tokio::test]
async fn a_durable_that_differs_is_a_conflict() {
    let nats = Nats::shared().await;
    let (operator, name) = (Operator::of(nats).await, unique_name("differs"));
    let [one, other] = ["one", "other"].map(|tail| format!("{name}.{tail}"));
    operator.make(&name, json!({"subjects": [format!("{name}.*")]})).await;
    let bridge = open(nats);
    let to = Subscribe { group: Some("group".into()), ..all_of(&one) };
    close(bridge.subscribe(to.clone()).await.unwrap()).await;

    let ordered = Subscribe { order: Order::Key, ..to.clone() };
    let elsewhere = Subscribe { group: Some("group".into()), ..all_of(&other) };
    for (wish, values) in [(ordered, ["", "pinned_client"]), (elsewhere, [one.as_str(), other.as_str()])] {
        let error = refusal(&*bridge, wish).await;
        assert_eq!(error.fault, Fault::Conflict);
        let said = error.to_string();
        assert!(values.iter().all(|value| said.contains(&format!("{value:?}"))), "{said}");
    }
    close(bridge.subscribe(to).await.unwrap()).await;
}

/// What a later release made is refused, and left as it is.
#[tokio::test]
async fn a_durable_says_its_version_and_one_of_an_unknown_version_is_not_touched() {
    let nats = Nats::shared().await;
    let (operator, topic) = (Operator::of(nats).await, unique_name("version"));
    operator.make(&topic, json!({})).await;
    let bridge = open(nats);
    close(bridge.subscribe(all_of(&topic)).await.unwrap()).await;
    let config =
        async || operator.ask(&format!("CONSUMER.INFO.{topic}.{topic}"), json!(null)).await["config"].clone();
    let mut later = config().await;
    assert_eq!(later["metadata"]["sidespan.version"], "1", "{later}");

    later["metadata"]["sidespan.version"] = json!("2");
    // Beside it, a setting that would be adapted.
    later["ack_wait"] = json!(60_000_000_000_u64);
    let body = json!({"stream_name": topic, "config": later, "action": "update"});
    operator.ask(&format!("CONSUMER.CREATE.{topic}.{topic}"), body).await;
    let before = config().await;
    for order in [Order::None, Order::Key] {
        let error = refusal(&*bridge, Subscribe { order, ..all_of(&topic) }).await;
        assert_eq!(error.fault, Fault::Conflict, "{error}");
        assert!(error.to_string().contains("version \"2\""), "{error}");
    }
    assert_eq!(config().await, before);
}
