//! Members of an ordered subscription that come and go.

use std::time::Duration;

use serde_json::json;
use sidespan_bridge::{Message, Order, Role, Subscribe, Window};
use sidespan_test_support::{Nats, eventually, unique_name};
use tokio::time::{Instant, timeout};

use super::{Operator, accept, all_of, body, close, next, open_with, publish, text, until};

fn keyed(body: usize) -> Message {
    Message { key: Some("k".into()), ..text(body) }
}

fn large(n: usize) -> Message {
    Message { key: Some("k".into()), ..text(body_of(n)) }
}

fn body_of(n: usize) -> String {
    format!("{n:01000}")
}

/// The member that takes over does not wait for the leases of the one that died: it asks for what that
/// one held, and hands out in order.
#[tokio::test]
async fn a_standby_takes_over_before_the_leases_end() {
    let nats = Nats::shared().await;
    let topic = unique_name("takeover");
    Operator::of(nats).await.make(&topic, json!({})).await;
    let member = || open_with(nats, json!({"ack_wait": "60s", "priority_timeout": "2s"}));
    let to = Subscribe { order: Order::Key, ..all_of(&topic) };
    let first = member();
    let mut inbox = first.subscribe(to.clone()).await.unwrap();
    publish(&*first, &topic, (0..20).map(keyed).collect()).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(next(&mut inbox).await);
    }
    let second = member();
    let mut standby = second.subscribe(to).await.unwrap();
    publish(&*second, &topic, (20..40).map(keyed).collect()).await;

    drop(first);
    drop((held, inbox));
    let begin = Instant::now();
    publish(&*second, &topic, vec![text("last")]).await;
    let bodies = until(&mut standby, "last").await;

    let expected: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    assert_eq!(bodies, expected);
    assert!(begin.elapsed() < Duration::from_secs(10), "it took {:?}", begin.elapsed());
    close(standby).await;
}

/// A member whose window is full keeps its place, though it takes nothing.
#[tokio::test]
async fn a_full_member_stays_the_active_one() {
    let nats = Nats::shared().await;
    let topic = unique_name("full");
    Operator::of(nats).await.make(&topic, json!({})).await;
    for window in [Window { messages: 2, ..Window::default() }, Window { bytes: 2500, ..Window::default() }] {
        let to = Subscribe {
            order: Order::Key,
            window,
            group: Some(format!("{}-{}", window.messages, window.bytes).into()),
            ..all_of(&topic)
        };
        let (first, second) = (open_with(nats, json!({})), open_with(nats, json!({})));
        let mut inbox = first.subscribe(to.clone()).await.unwrap();
        publish(&*first, &topic, (0..5).map(large).collect()).await;
        let held = [next(&mut inbox).await, next(&mut inbox).await];
        let standby = second.subscribe(to).await.unwrap();
        let control = standby.control();
        eventually(super::PATIENCE, "the second member to stand by", async || {
            control.role() == Role::Standby
        })
        .await;
        // The time that passes is what is tested: three times what a silent member has.
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!((inbox.control().role(), control.role()), (Role::Active, Role::Standby));
        assert!(held.iter().all(|delivery| !delivery.lost.is_cancelled()), "what is held is ours");
        assert!(held.iter().zip(0..).all(|(delivery, n)| body(delivery) == body_of(n)));
        close(standby).await;
        close(inbox).await;
    }
}

/// A member that was told to stop keeps its place while it finishes what is out; the rest goes to the
/// one that stands by only after that.
#[tokio::test]
async fn a_member_that_finishes_keeps_its_place() {
    let nats = Nats::shared().await;
    let topic = unique_name("finishing");
    Operator::of(nats).await.make(&topic, json!({})).await;
    let to = Subscribe { order: Order::Key, ..all_of(&topic) };
    let (first, second) = (open_with(nats, json!({})), open_with(nats, json!({})));
    let mut inbox = first.subscribe(to.clone()).await.unwrap();
    publish(&*first, &topic, (0..5).map(keyed).collect()).await;
    let held = next(&mut inbox).await;
    let mut standby = second.subscribe(to).await.unwrap();

    inbox.control().stop_intake();
    // The time that passes is what is tested: more than a silent member has.
    let early = timeout(Duration::from_secs(5), standby.next()).await;
    assert!(early.is_err(), "the first message is still being worked on, and {early:?} came");
    assert!(!held.lost.is_cancelled(), "what is out is still ours");
    accept(held).await;
    close(inbox).await;

    assert_eq!(body(&next(&mut standby).await), "1");
    close(standby).await;
}

/// What one member holds is renewed: another member of the group does not get it when the lease that
/// it came with is over.
#[tokio::test]
async fn what_one_member_holds_does_not_go_to_another() {
    let nats = Nats::shared().await;
    let topic = unique_name("renewed");
    Operator::of(nats).await.make(&topic, json!({})).await;
    let (first, second) = (open_with(nats, json!({})), open_with(nats, json!({})));
    let mut inbox = first.subscribe(all_of(&topic)).await.unwrap();
    publish(&*first, &topic, vec![text("held")]).await;
    let held = next(&mut inbox).await;
    let mut other = second.subscribe(all_of(&topic)).await.unwrap();

    // The time that passes is what is tested: more than two leases.
    let early = timeout(Duration::from_secs(5), other.next()).await;
    assert!(early.is_err(), "the message is held, and {early:?} came");
    accept(held).await;
    close(inbox).await;
    close(other).await;
}
