//! What becomes of what is held and accepted while the server is killed, or frozen.

use serde_json::json;
use sidespan_bridge::{Order, Subscribe, Verdict, Window};
use sidespan_test_support::{Nats, unique_name};
use tokio::time::timeout;

use super::{Operator, PATIENCE, accept, all_of, close, next, open_with, publish, text, until};

/// A killed server forgets what it confirmed in its last moments, and is not told what is accepted while it
/// is away. As long as this member lives it is told again, and none of that is delivered twice.
#[tokio::test]
async fn what_was_accepted_is_not_handed_out_again_after_the_server_was_killed() {
    let mut nats = match Nats::start().await {
        Ok(nats) => nats,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    for order in [Order::None, Order::Key] {
        let topic = unique_name("killed");
        Operator::of(&nats).await.make(&topic, json!({})).await;
        let bridge = open_with(&nats, json!({"ack_wait": "1s"}));
        let mut inbox = bridge.subscribe(Subscribe { order, ..all_of(&topic) }).await.unwrap();
        publish(&*bridge, &topic, (0..20).map(text).collect()).await;
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(next(&mut inbox).await);
        }
        for delivery in held.drain(..10) {
            accept(delivery).await;
        }
        nats.kill();
        for delivery in held.drain(..5) {
            drop(delivery.ack.settle(Verdict::Accept));
        }
        // It is away for longer than it would wait for this member: what is held is given up.
        timeout(PATIENCE, held[0].lost.cancelled()).await.expect("the loss is said");
        nats.start_again().await;
        publish_at_last(&*bridge, &topic).await;
        assert_eq!(until(&mut inbox, "last").await, ["15", "16", "17", "18", "19"], "{order:?}");
        close(inbox).await;
    }
}

async fn publish_at_last(bridge: &dyn sidespan_bridge::Bridge, topic: &str) {
    sidespan_test_support::eventually(PATIENCE, "the server to be reached", async || {
        super::attempt(bridge, topic, text("last")).await.is_ok()
    })
    .await;
}

/// Whoever makes the consumer anew may want to read again what was accepted a moment ago.
#[tokio::test]
async fn a_consumer_that_others_make_anew_begins_where_they_say() {
    let nats = Nats::shared().await;
    for order in [Order::None, Order::Key] {
        let (operator, topic) = (Operator::of(nats).await, unique_name("replay"));
        operator.make(&topic, json!({})).await;
        let bridge = open_with(nats, json!({}));
        let mut inbox = bridge.subscribe(Subscribe { order, ..all_of(&topic) }).await.unwrap();
        publish(&*bridge, &topic, (0..5).map(text).collect()).await;
        for _ in 0..5 {
            accept(next(&mut inbox).await).await;
        }
        let name = format!("{topic}.{topic}");
        let info = operator.ask(&format!("CONSUMER.INFO.{name}"), json!(null)).await;
        operator.ask(&format!("CONSUMER.DELETE.{name}"), json!(null)).await;
        let body = json!({"stream_name": topic, "config": info["config"]});
        operator.ask(&format!("CONSUMER.CREATE.{name}"), body).await;
        publish(&*bridge, &topic, vec![text("last")]).await;
        let mut again = until(&mut inbox, "last").await;
        if order == Order::None {
            again.sort_unstable();
        }
        assert_eq!(again, ["0", "1", "2", "3", "4"], "{order:?}");
        close(inbox).await;
    }
}

/// A frozen server reads nothing, and in the end the client takes no more words for it. What is held is given
/// up all the same when its lease ends, and the subscription can be closed.
#[tokio::test]
async fn a_server_that_reads_nothing_holds_up_no_subscription() {
    let mut nats = match Nats::start().await {
        Ok(nats) => nats,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let topic = unique_name("unread");
    Operator::of(&nats).await.make(&topic, json!({"storage": "memory"})).await;
    let bridge = open_with(&nats, json!({"ack_wait": "1s"}));
    let window = Window { messages: MANY, ..Window::default() };
    let mut inbox = bridge.subscribe(Subscribe { window, ..all_of(&topic) }).await.unwrap();
    for part in 0..MANY / 1_000 {
        publish(&*bridge, &topic, (0..1_000).map(|n| text(1_000 * part + n)).collect()).await;
    }
    let mut held = Vec::with_capacity(MANY);
    while held.len() < MANY {
        held.push(next(&mut inbox).await);
    }
    nats.freeze();
    // Each of them is renewed several times before the connection is known to be lost.
    timeout(PATIENCE, held[0].lost.cancelled()).await.expect("the loss is said");
    nats.thaw();
    let again = timeout(PATIENCE, next(&mut inbox)).await.expect("it goes on");
    drop(again);
    close(inbox).await;
}

const MANY: usize = 30_000;
