//! What streams answer to a publish.

use std::time::Duration;

use serde_json::json;
use sidespan_bridge::{Fault, Message, Topic};
use sidespan_test_support::{Nats, eventually, unique_name};
use tokio::time::Instant;

use super::{Operator, PATIENCE, all_of, attempt, close, next, open, open_with, publish, soon, text};

/// A stream remembers ids over all its subjects; the bridge's count for one topic.
#[tokio::test]
async fn two_topics_of_one_stream_may_share_an_idempotency_key() {
    let nats = Nats::shared().await;
    let name = unique_name("keys");
    let [one, other] = ["one", "other"].map(|tail| format!("{name}.{tail}"));
    Operator::of(nats).await.make(&name, json!({"subjects": [format!("{name}.*")]})).await;
    let bridge = open(nats);
    let once = || Message { deduplication: Some("7".into()), ..text("once") };
    for (topic, duplicate) in [(&one, false), (&other, false), (&one, true)] {
        let receipt = attempt(&*bridge, topic, once()).await.unwrap();
        assert_eq!((receipt.deduplicated, receipt.duplicate), (true, duplicate), "{topic}");
    }
}

/// A full stream that refuses is `StorageFull`, and takes messages again once there is room.
#[tokio::test]
async fn a_full_stream_is_said_to_be_full() {
    let nats = Nats::shared().await;
    let (operator, topic) = (Operator::of(nats).await, unique_name("full"));
    operator.make(&topic, json!({"max_msgs": 2, "discard": "new"})).await;
    let bridge = open(nats);
    publish(&*bridge, &topic, vec![text(1), text(2)]).await;
    assert_eq!(attempt(&*bridge, &topic, text(3)).await.map(drop), Err(Fault::StorageFull));
    operator.ask(&format!("STREAM.PURGE.{topic}"), json!({})).await;
    assert!(attempt(&*bridge, &topic, text(3)).await.is_ok());
}

/// A stream has a limit of its own on the size of a message.
#[tokio::test]
async fn what_is_too_large_for_the_stream_is_said_so() {
    let nats = Nats::shared().await;
    let topic = unique_name("small");
    Operator::of(nats).await.make(&topic, json!({"max_msg_size": 100})).await;
    let bridge = open(nats);
    assert_eq!(attempt(&*bridge, &topic, text("x".repeat(200))).await.map(drop), Err(Fault::TooLarge));
    assert!(attempt(&*bridge, &topic, text("small")).await.is_ok());
}

/// A sealed stream takes nothing.
#[tokio::test]
async fn a_sealed_stream_refuses() {
    let nats = Nats::shared().await;
    let (operator, topic) = (Operator::of(nats).await, unique_name("sealed"));
    operator.make(&topic, json!({})).await;
    let bridge = open(nats);
    publish(&*bridge, &topic, vec![text("ahead")]).await;
    operator
        .ask(&format!("STREAM.UPDATE.{topic}"), json!({"name": topic, "subjects": [topic], "sealed": true}))
        .await;
    assert_eq!(attempt(&*bridge, &topic, text("late")).await.map(drop), Err(Fault::Rejected));
    // It can still be looked at.
    let mut cursor =
        bridge.subscribe(sidespan_bridge::Subscribe { group: None, ..all_of(&topic) }).await.unwrap();
    assert_eq!(super::body(&next(&mut cursor).await), "ahead");
}

/// An interest stream acknowledges what it throws away: nobody waits, so nowhere to put it.
#[tokio::test]
async fn an_interest_stream_that_nobody_waits_at_keeps_nothing_and_that_is_said() {
    let nats = Nats::shared().await;
    let topic = unique_name("interest");
    Operator::of(nats).await.make(&topic, json!({"retention": "interest"})).await;
    let bridge = open(nats);
    assert_eq!(attempt(&*bridge, &topic, text("lost")).await.map(drop), Err(Fault::Unroutable));
    let mut inbox = bridge.subscribe(all_of(&topic)).await.unwrap();
    assert!(attempt(&*bridge, &topic, text("kept")).await.is_ok());
    assert_eq!(super::body(&next(&mut inbox).await), "kept");
    let kept = bridge.ensure_kept(&Topic::new(topic.as_str()), soon()).await;
    assert_eq!(kept.map_err(|error| error.fault), Err(Fault::Conflict), "dead letters need more");
    close(inbox).await;
}

/// What the server forbids is said at once, though it answers nothing.
#[tokio::test]
async fn subjects_of_the_brokers_own_are_refused() {
    let nats = Nats::shared().await;
    let bridge = open(nats);
    for subject in ["$JS.API.STREAM.PURGE.x", "_INBOX.x", "orders.*", "a..b"] {
        assert_eq!(attempt(&*bridge, subject, text("x")).await.map(drop), Err(Fault::Invalid), "{subject}");
    }
}

/// A server that hangs keeps its connections. What is handed over is not known to be stored; soon
/// nothing is handed over any more, and refused at once, until it answers again.
#[tokio::test]
async fn a_server_that_hangs_is_noticed_and_so_is_its_return() {
    let mut nats = match Nats::start().await {
        Ok(nats) => nats,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let topic = unique_name("hangs");
    let bridge = open_with(&nats, json!({"create_streams": {}}));
    bridge.ensure(&Topic::new(topic.as_str()), soon()).await.unwrap();
    let attempt = async |within: Duration| {
        let deadline = Instant::now() + within;
        let outcomes =
            bridge.publisher().publish(&Topic::new(topic.as_str()), vec![text("x")], deadline).await;
        outcomes.into_iter().next().unwrap().map_err(|error| error.fault)
    };
    assert!(attempt(PATIENCE).await.is_ok());

    nats.freeze();
    assert_eq!(attempt(Duration::from_millis(200)).await, Err(Fault::Timeout));
    eventually(PATIENCE, "the server known to be away", async || {
        attempt(Duration::from_millis(200)).await == Err(Fault::Unavailable)
    })
    .await;
    let begin = Instant::now();
    assert_eq!(attempt(PATIENCE).await, Err(Fault::Unavailable));
    assert!(begin.elapsed() < Duration::from_millis(100), "{:?}", begin.elapsed());

    nats.thaw();
    eventually(PATIENCE, "publishing to work again", async || attempt(PATIENCE).await.is_ok()).await;
}
