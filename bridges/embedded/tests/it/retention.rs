//! What retention removes, and what it must not.

use serde_json::json;
use sidespan_bridge::{Bridge, Fault, Pattern, Settlement, Start, Verdict};
use tokio::time::{Instant, sleep};

use crate::support::*;

async fn count(bridge: &dyn Bridge, name: &str) -> u64 {
    let topics = bridge.topics(&Pattern::parse(name).unwrap(), soon()).await.unwrap();
    topics.first().and_then(|info| info.messages).unwrap()
}

fn small() -> serde_json::Value {
    json!({"max_message": "16KiB", "retention": {"size": "256KiB"}})
}

#[tokio::test]
async fn the_oldest_messages_go_first_where_nobody_needs_them() {
    let dir = tempfile::TempDir::new().unwrap();
    let bridge = try_open(dir.path(), small()).unwrap();
    for n in 0..400 {
        let topic = if n % 2 == 0 { "a" } else { "b" };
        publish(&*bridge, topic, text(&format!("{n} {}", "x".repeat(1000)))).await.unwrap();
    }
    let left = everything(&*bridge, ">", "a").await;
    let numbers: Vec<u32> =
        left.iter().map(|body| body.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!((150..=256).contains(&numbers.len()), "{}", numbers.len());
    assert_eq!(numbers, (400 - numbers.len() as u32..400).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_unsettled_cursor_is_never_passed() {
    let dir = tempfile::TempDir::new().unwrap();
    let bridge = try_open(dir.path(), small()).unwrap();
    let mut inbox = subscribe(&*bridge, "a", Some("billing"), Start::Begin).await;
    let mut stored = Vec::new();
    let refused = loop {
        let body = format!("{} {}", stored.len(), "x".repeat(1000));
        match publish(&*bridge, "a", text(&body)).await {
            Ok(_) => stored.push(body),
            Err(error) => break error,
        }
        assert!(stored.len() < 1000, "the limit is passed");
    };
    assert_eq!(refused.fault, Fault::StorageFull);
    assert!(refused.to_string().contains("billing"), "{refused}");
    bridge.probe(soon()).await.unwrap();

    // All but the first are settled: the first still keeps its place, over a restart too.
    let first = next(&mut *inbox).await;
    for expected in &stored[1..] {
        let delivery = next(&mut *inbox).await;
        assert_eq!(body(&delivery), *expected);
        assert_eq!(delivery.ack.settle(Verdict::Accept).await, Settlement::Confirmed);
    }
    assert!(publish(&*bridge, "a", text(&"x".repeat(4000))).await.is_err());
    drop(first);
    bridge.close(soon()).await;
    let bridge = try_open(dir.path(), small()).unwrap();
    assert!(publish(&*bridge, "a", text(&"x".repeat(4000))).await.is_err());
    let mut inbox = subscribe(&*bridge, "a", Some("billing"), Start::Begin).await;
    let first = next(&mut *inbox).await;
    assert_eq!(body(&first), stored[0]);
    first.ack.settle(Verdict::Accept).await;
    publish(&*bridge, "a", text(&"x".repeat(4000))).await.unwrap();
    assert!(count(&*bridge, "a").await < stored.len() as u64);
}

#[tokio::test]
async fn nothing_overtakes_a_message_that_there_was_no_room_for() {
    let dir = tempfile::TempDir::new().unwrap();
    let bridge = try_open(dir.path(), small()).unwrap();
    let _inbox = subscribe(&*bridge, "a", Some("billing"), Start::Begin).await;
    let batch = (0..20).map(|n| text(&"x".repeat(if n < 18 { 15_000 } else { 10 }))).collect();
    let outcomes = bridge.publisher().publish(&topic("a"), batch, soon()).await;
    let faults: Vec<_> = outcomes.into_iter().map(|outcome| outcome.err().map(|error| error.fault)).collect();
    let stored = faults.iter().take_while(|fault| fault.is_none()).count();
    assert!((1..18).contains(&stored), "{stored}");
    assert!(faults[stored..].iter().all(|fault| *fault == Some(Fault::StorageFull)), "{faults:?}");
}

#[tokio::test]
async fn large_messages_that_were_not_settled_all_come_again_in_order() {
    let dir = tempfile::TempDir::new().unwrap();
    let bridge = open(dir.path());
    let mut inbox = subscribe(&*bridge, "a", Some("g"), Start::Begin).await;
    let bodies: Vec<String> = (0..8).map(|n| format!("{n} {}", "x".repeat(300_000))).collect();
    for body in &bodies {
        publish(&*bridge, "a", text(body)).await.unwrap();
    }
    let mut held = Vec::new();
    for expected in &bodies {
        let delivery = next(&mut *inbox).await;
        assert!(body(&delivery) == *expected);
        held.push(delivery);
    }
    bridge.close(soon()).await;
    drop((held, inbox, bridge));
    let bridge = open(dir.path());
    let mut inbox = subscribe(&*bridge, "a", Some("g"), Start::Begin).await;
    for expected in &bodies {
        let delivery = next(&mut *inbox).await;
        assert!(body(&delivery) == *expected);
        assert_eq!(delivery.ack.settle(Verdict::Accept).await, Settlement::Confirmed);
    }
}

#[tokio::test]
async fn old_messages_are_given_up_where_the_settings_say_so() {
    let dir = tempfile::TempDir::new().unwrap();
    let keys = json!({"max_message": "16KiB", "retention": {"size": "256KiB", "discard": "old"}});
    let bridge = try_open(dir.path(), keys).unwrap();
    let mut inbox = subscribe(&*bridge, "a", Some("slow"), Start::Begin).await;
    for n in 0..400 {
        publish(&*bridge, "a", text(&format!("{n} {}", "x".repeat(1000)))).await.unwrap();
    }
    let left = count(&*bridge, "a").await;
    assert!(left < 300, "{left}");
    // What is left comes, in order, and the reader does not stall at what is gone.
    let mut last = None;
    for _ in 0..left {
        let delivery = next(&mut *inbox).await;
        let number: u32 = body(&delivery).split(' ').next().unwrap().parse().unwrap();
        assert!(last < Some(number));
        last = Some(number);
        delivery.ack.settle(Verdict::Accept);
    }
    assert_eq!(last, Some(399));
    assert_eq!(inbox.control().lag().await.unwrap().messages, 0);
}

#[tokio::test]
async fn messages_go_by_age_except_those_that_are_not_settled() {
    let dir = tempfile::TempDir::new().unwrap();
    let bridge = try_open(dir.path(), json!({"retention": {"age": "50ms"}})).unwrap();
    let mut inbox = subscribe(&*bridge, "kept", Some("g"), Start::Begin).await;
    for topic in ["kept", "gone"] {
        publish(&*bridge, topic, text("x")).await.unwrap();
    }
    let until = Instant::now() + PATIENCE;
    while count(&*bridge, "gone").await > 0 {
        assert!(Instant::now() < until, "nothing is removed");
        sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(count(&*bridge, "kept").await, 1);
    next(&mut *inbox).await.ack.settle(Verdict::Accept).await;
    while count(&*bridge, "kept").await > 0 {
        assert!(Instant::now() < until, "what is settled is not removed");
        sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_space_of_removed_messages_is_used_again() {
    let dir = tempfile::TempDir::new().unwrap();
    let bridge = try_open(dir.path(), small()).unwrap();
    let mut sizes = Vec::new();
    for n in 0..3000 {
        publish(&*bridge, "a", text(&"x".repeat(1000))).await.unwrap();
        if n % 1000 == 999 {
            sizes.push(std::fs::metadata(dir.path().join("log.redb")).unwrap().len());
        }
    }
    println!("file sizes {sizes:?} at a limit of 262144");
    assert!(sizes[2] <= sizes[0] * 2, "{sizes:?}");
}
