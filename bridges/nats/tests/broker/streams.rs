//! Streams that are missing, made, of another kind, or deleted under a subscription.

use serde_json::json;
use sidespan_bridge::{Fault, Order, Pattern, Start, Subscribe, Topic, Window};
use sidespan_test_support::{Nats, unique_name};

use super::{
    Operator, accept, all_of, attempt, body, close, next_after_losses, open, open_with, publish, refusal,
    soon, text, until,
};

#[tokio::test]
async fn a_missing_stream_is_an_unknown_topic_to_all() {
    let nats = Nats::shared().await;
    let topic = unique_name("missing");
    let bridge = open(nats);
    assert_eq!(attempt(&*bridge, &topic, text("x")).await.map(drop), Err(Fault::UnknownTopic));
    assert_eq!(refusal(&*bridge, all_of(&topic)).await.fault, Fault::UnknownTopic);
    let ensured = bridge.ensure(&Topic::new(topic.as_str()), soon()).await;
    assert_eq!(ensured.map_err(|error| error.fault), Err(Fault::UnknownTopic));
}

/// One stream for each topic, named after it.
#[tokio::test]
async fn a_stream_is_made_for_a_topic_where_the_settings_say_so() {
    let nats = Nats::shared().await;
    let topic = format!("{}.eu", unique_name("made"));
    let bridge = open_with(nats, json!({"create_streams": {"storage": "memory", "max_age": "1h"}}));
    for _ in 0..2 {
        bridge.ensure(&Topic::new(topic.as_str()), soon()).await.unwrap();
    }
    bridge.ensure_kept(&Topic::new(topic.as_str()), soon()).await.unwrap();
    publish(&*bridge, &topic, vec![text("x")]).await;
    let name = topic.replace('.', "_");
    let made = Operator::of(nats).await.ask(&format!("STREAM.INFO.{name}"), json!(null)).await;
    assert_eq!(
        (&made["config"]["storage"], &made["config"]["subjects"]),
        (&json!("memory"), &json!([topic]))
    );
}

/// Streams of the settings are made at first use, and adapted only where nothing is lost.
#[tokio::test]
async fn a_stream_of_the_settings_is_made_and_adapted_or_refused_with_both_values() {
    let nats = Nats::shared().await;
    let name = unique_name("declared");
    let [one, other] = ["one", "other"].map(|tail| format!("{name}.{tail}"));
    let settings = |subjects: &[&String], age: &str| {
        let stream = json!({"name": name, "subjects": subjects, "storage": "memory", "max_age": age});
        open_with(nats, json!({"streams": [stream]}))
    };
    settings(&[&one], "1h").probe(soon()).await.unwrap();
    let bridge = settings(&[&one, &other], "2h");
    bridge.ensure(&Topic::new(other.as_str()), soon()).await.unwrap();
    publish(&*bridge, &other, vec![text("x")]).await;

    let error = settings(&[&one], "1h").probe(soon()).await.unwrap_err();
    assert_eq!(error.fault, Fault::Conflict);
    let said = error.to_string();
    assert!(said.contains("7200000000000") && said.contains("3600000000000"), "{said}");
}

#[tokio::test]
async fn a_pattern_over_several_streams_is_refused() {
    let nats = Nats::shared().await;
    let (operator, name) = (Operator::of(nats).await, unique_name("spread"));
    for tail in ["a", "b"] {
        operator.make(&format!("{name}_{tail}"), json!({"subjects": [format!("{name}.{tail}")]})).await;
    }
    let bridge = open(nats);
    let to = Subscribe { pattern: Pattern::parse(&format!("{name}.*")).unwrap(), ..all_of(&name) };
    assert_eq!(refusal(&*bridge, to).await.fault, Fault::Unsupported);
}

/// A work-queue stream is read from its beginning, by one subscription for each subject.
#[tokio::test]
async fn a_work_queue_takes_one_subscription_from_its_beginning() {
    let nats = Nats::shared().await;
    let topic = unique_name("work");
    Operator::of(nats).await.make(&topic, json!({"retention": "workqueue"})).await;
    let bridge = open(nats);
    publish(&*bridge, &topic, vec![text(1), text("last")]).await;
    let end = Subscribe { start: Start::End, ..all_of(&topic) };
    assert_eq!(refusal(&*bridge, end).await.fault, Fault::Conflict);
    let cursor = Subscribe { group: None, ..all_of(&topic) };
    assert_eq!(refusal(&*bridge, cursor).await.fault, Fault::Unsupported);

    let mut inbox = bridge.subscribe(all_of(&topic)).await.unwrap();
    assert_eq!(until(&mut inbox, "last").await, ["1"]);
    let second = Subscribe { group: Some("another".into()), ..all_of(&topic) };
    assert_eq!(refusal(&*bridge, second).await.fault, Fault::Conflict);
    close(inbox).await;
}

/// A stream that is deleted under a subscription takes along what is held; the subscription goes on,
/// from the beginning, once there is a stream again.
#[tokio::test]
async fn a_stream_that_is_made_anew_is_read_from_its_beginning() {
    let nats = Nats::shared().await;
    let (operator, topic) = (Operator::of(nats).await, unique_name("anew"));
    operator.make(&topic, json!({})).await;
    let bridge = open(nats);
    let mut inbox = bridge.subscribe(all_of(&topic)).await.unwrap();
    publish(&*bridge, &topic, (0..5).map(text).collect()).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(super::next(&mut inbox).await);
    }
    accept(held.remove(0)).await;

    operator.delete(&topic).await;
    operator.make(&topic, json!({})).await;
    publish(&*bridge, &topic, vec![text("new")]).await;

    let (delivery, losses) = next_after_losses(&mut inbox).await;
    assert_eq!((body(&delivery).as_str(), losses), ("new", 1));
    assert!(held.iter().all(|delivery| delivery.lost.is_cancelled()), "what was held is gone");
    accept(delivery).await;
    close(inbox).await;
}

/// A stream that is sealed under a subscription takes nothing more, and what it has is delivered all the same.
#[tokio::test]
async fn a_stream_that_is_sealed_under_a_subscription_is_read_to_its_end() {
    let nats = Nats::shared().await;
    for order in [Order::None, Order::Key] {
        let (operator, topic) = (Operator::of(nats).await, unique_name("sealed"));
        operator.make(&topic, json!({})).await;
        let bridge = open(nats);
        let window = Window { messages: 2, ..Window::default() };
        let to = Subscribe { order, window, ..all_of(&topic) };
        let mut inbox = bridge.subscribe(to).await.unwrap();
        publish(&*bridge, &topic, (0..5).map(text).collect()).await;
        let held = [super::next(&mut inbox).await, super::next(&mut inbox).await];
        let config = json!({"name": topic, "subjects": [topic], "sealed": true});
        operator.ask(&format!("STREAM.UPDATE.{topic}"), config).await;

        let outcome =
            bridge.publisher().publish(&Topic::new(topic.as_str()), vec![text("late")], soon()).await;
        let error = outcome[0].as_ref().unwrap_err();
        assert_eq!(error.fault, Fault::Rejected);
        assert!(error.to_string().contains("sealed"), "{error}");
        for delivery in held {
            accept(delivery).await;
        }
        assert_eq!(until(&mut inbox, "4").await, ["2", "3"], "{order:?}");
        close(inbox).await;
    }
}
