//! What must be here before an ordered subscription hands out anything.

use std::time::Duration;

use serde_json::json;
use sidespan_bridge::{Bridge, Event, Message, Order, Role, Subscribe, Window};
use sidespan_test_support::{Nats, unique_name};
use tokio::time::{Instant, timeout};

use super::{Inbox, Operator, PATIENCE, accept, all_of, close, next, open, open_with, publish, text, until};

fn keyed(n: usize) -> Message {
    Message { key: Some("k".into()), ..text(format!("{n:01000}")) }
}

fn bodies(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| format!("{n:01000}")).collect()
}

/// Waits until a member is the active one, and ready for the next message.
async fn until_active(bridge: &dyn Bridge, inbox: &mut Inbox, topic: &str) {
    publish(bridge, topic, vec![text("first")]).await;
    assert!(until(inbox, "first").await.is_empty());
    assert_eq!(inbox.control().role(), Role::Active);
}

/// A delivery that is lost on the way, though the connection stays, is missed: what is behind it waits.
#[tokio::test]
async fn what_is_behind_a_delivery_that_did_not_arrive_waits_for_it() {
    let nats = Nats::shared().await;
    let (operator, topic) = (Operator::of(nats).await, unique_name("gap"));
    operator.make(&topic, json!({})).await;
    let bridge = open_with(nats, json!({"ack_wait": "60s", "priority_timeout": "30s"}));
    let to = Subscribe { order: Order::Key, ..all_of(&topic) };
    let mut inbox = bridge.subscribe(to).await.unwrap();
    until_active(&*bridge, &mut inbox, &topic).await;

    // Whoever asks by the member's name takes from what is meant for it.
    let info = operator.ask(&format!("CONSUMER.INFO.{topic}.{topic}"), json!(null)).await;
    let pin = &info["priority_groups"][0]["pinned_client_id"];
    let request = json!({"batch": 3, "expires": 20_000_000_000_u64, "group": "sidespan", "id": pin});
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{topic}.{topic}");
    let astray = operator.0.new_inbox();
    let _astray = operator.0.subscribe(astray.clone()).await.unwrap();
    operator.0.publish_with_reply(subject, astray, request.to_string().into()).await.unwrap();
    operator.0.flush().await.unwrap();
    operator.ask("INFO", json!(null)).await;

    publish(&*bridge, &topic, (0..10).map(keyed).collect()).await;
    publish(&*bridge, &topic, vec![text("last")]).await;
    assert_eq!(until(&mut inbox, "last").await, bodies(0..10));
    close(inbox).await;
}

/// A member whose window is full of new messages still takes what the one before it held.
#[tokio::test]
async fn a_member_takes_over_more_bytes_than_its_window_has() {
    let nats = Nats::shared().await;
    let topic = unique_name("bytes");
    Operator::of(nats).await.make(&topic, json!({})).await;
    let member = || open_with(nats, json!({"ack_wait": "60s"}));
    let window = Window { bytes: 2500, ..Window::default() };
    let to = Subscribe { order: Order::Key, window, ..all_of(&topic) };
    let first = member();
    let mut inbox = first.subscribe(to.clone()).await.unwrap();
    publish(&*first, &topic, (0..7).map(keyed).collect()).await;
    let held = [next(&mut inbox).await, next(&mut inbox).await];
    let second = member();
    let mut standby = second.subscribe(to).await.unwrap();
    publish(&*second, &topic, vec![text("last")]).await;

    drop(first);
    drop((held, inbox));
    assert_eq!(until(&mut standby, "last").await, bodies(0..7));
    close(standby).await;
}

/// A member that was frozen does not know whose turn it is: it hands out nothing before it has asked.
#[tokio::test]
async fn a_member_that_was_frozen_asks_before_it_goes_on() {
    let nats = Nats::shared().await;
    let topic = unique_name("frozen");
    Operator::of(nats).await.make(&topic, json!({})).await;
    let to = Subscribe { order: Order::Key, ..all_of(&topic) };
    let frozen = open(nats);
    let mut inbox = frozen.subscribe(to.clone()).await.unwrap();
    publish(&*frozen, &topic, (0..5).map(keyed).collect()).await;
    publish(&*frozen, &topic, vec![text("last")]).await;
    let held = next(&mut inbox).await;

    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bridge = open(nats);
            let mut inbox = bridge.subscribe(to).await.unwrap();
            let seen = until(&mut inbox, "last").await;
            close(inbox).await;
            seen
        })
    });
    // Nothing else runs on this thread meanwhile.
    assert_eq!(other.join().unwrap(), bodies(0..5));
    let event = timeout(PATIENCE, inbox.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(event, Event::Lost { .. }), "{event:?}");
    assert!(held.lost.is_cancelled());
    close(inbox).await;
}

/// A window that was full is filled again as soon as it has room.
#[tokio::test]
async fn a_window_that_was_full_is_filled_again_at_once() {
    let nats = Nats::shared().await;
    let topic = unique_name("refill");
    Operator::of(nats).await.make(&topic, json!({})).await;
    let bridge = open_with(nats, json!({"priority_timeout": "30s"}));
    let window = Window { messages: 10, ..Window::default() };
    let to = Subscribe { order: Order::Key, window, ..all_of(&topic) };
    let mut inbox = bridge.subscribe(to).await.unwrap();
    publish(&*bridge, &topic, (0..30).map(keyed).collect()).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(next(&mut inbox).await);
    }
    let early = timeout(Duration::from_millis(500), inbox.next()).await;
    assert!(early.is_err(), "the window is full, and {early:?} came");
    for delivery in held {
        accept(delivery).await;
    }
    let begin = Instant::now();
    for _ in 0..20 {
        accept(next(&mut inbox).await).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(2), "it took {:?}", begin.elapsed());
    close(inbox).await;
}

/// A message that is deleted from its stream while it is held is settled all the same.
#[tokio::test]
async fn what_was_deleted_while_it_was_held_can_be_settled() {
    let nats = Nats::shared().await;
    for order in [Order::None, Order::Key] {
        let (operator, topic) = (Operator::of(nats).await, unique_name("purged"));
        operator.make(&topic, json!({})).await;
        let bridge = open(nats);
        let mut inbox = bridge.subscribe(Subscribe { order, ..all_of(&topic) }).await.unwrap();
        publish(&*bridge, &topic, vec![text("held")]).await;
        let held = next(&mut inbox).await;
        operator.ask(&format!("STREAM.PURGE.{topic}"), json!({})).await;
        timeout(PATIENCE, accept(held)).await.expect("a word of the broker");
        close(inbox).await;
    }
}
