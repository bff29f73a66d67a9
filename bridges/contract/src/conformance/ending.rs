//! How a subscription ends: politely, by a kill, or dropped; and what stays with the broker.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::Harness;
use super::inbox::{
    Inbox, QUIET, accept, bodies, bodies_of, body, numbered, publish, topic, unique, wish, within,
};
use crate::{Delivery, Settlement, Verdict};

/// Settled out of order, then closed: all that was unsettled comes again, and nothing else.
pub async fn what_is_unsettled_at_a_close_comes_again(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let group = unique();
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    publish(harness, &member, &topic, numbered("", 40)).await;
    let (settled, unsettled) = every_second(inbox.deliveries(40, "everything").await);
    let expected = bodies(&unsettled);
    accept(harness, settled).await;
    inbox.close().await;
    drop(unsettled);
    harness.close(member).await;

    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    let deliveries = inbox.deliveries(20, "what was unsettled").await;
    assert_eq!(bodies(&deliveries), expected, "what comes again after a close");
    accept(harness, deliveries).await;
    inbox.rests(QUIET, "everything is settled").await;
}

/// Settled out of order, then killed: all that was unsettled comes again. Of what was settled,
/// nothing that was confirmed does; what was not yet confirmed may.
pub async fn what_is_unsettled_at_a_kill_comes_again(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let group = unique();
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    publish(harness, &member, &topic, numbered("", 60)).await;
    let (mut settled, unsettled) = every_second(inbox.deliveries(60, "everything").await);
    let last = settled.split_off(20);
    let (mut missing, never) = (bodies(&unsettled), bodies(&settled));
    accept(harness, settled).await;
    for delivery in last {
        drop(delivery.ack.settle(Verdict::Accept));
    }
    harness.kill(member).await;
    drop((unsettled, inbox));

    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    while !missing.is_empty() {
        let delivery = inbox.delivery(&format!("what was unsettled: {missing:?}")).await;
        let body = body(&delivery);
        assert!(!never.contains(&body), "{body:?} was confirmed before the kill, and came again");
        missing.remove(&body);
        drop(delivery.ack.settle(Verdict::Accept));
    }
}

/// `stop_intake` ends deliveries, not ownership: what is out is settled as ever, and what was
/// published later stays with the broker.
pub async fn stopping_intake_leaves_what_is_out_to_be_settled(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let group = unique();
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    let mut other = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    publish(harness, &member, &topic, numbered("out ", 10)).await;
    let out = inbox.deliveries(10, "everything").await;

    inbox.control().stop_intake();
    inbox.control().stop_intake();

    publish(harness, &member, &topic, numbered("later ", 10)).await;
    other.deliveries(20, "everything, by another group").await;
    inbox.rests(QUIET, "intake was stopped").await;
    accept(harness, out).await;
    inbox.rests(QUIET, "intake was stopped, though the window is free").await;
    inbox.close().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    let deliveries = inbox.deliveries(10, "what was published after the stop").await;
    assert_eq!(bodies(&deliveries), bodies_of("later ", 10), "what the next member gets");
}

/// After `close`, `next` ends with `None`; tokens still out are stale and their `lost` is cancelled,
/// and their messages go to the next member at once. Closing again does nothing.
pub async fn tokens_out_at_a_close_are_stale(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let group = unique();
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    publish(harness, &member, &topic, numbered("", 3)).await;
    let out = inbox.deliveries(3, "everything").await;
    let control = inbox.control();
    let deadline = Instant::now() + harness.patience();
    let close = control.close(deadline);
    within(harness.patience(), "a close", close).await.expect("nothing to hand over, so nothing that fails");
    let end = within(harness.patience(), "the end", inbox.next()).await;
    assert!(end.is_none(), "a closed subscription delivers nothing, but {end:?} came");
    within(harness.patience(), "a second close", control.close(deadline))
        .await
        .expect("closing again is nothing");
    are_stale(harness, out, "the subscription was closed").await;
    drop(inbox);
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    let deliveries = inbox.deliveries(3, "what was out at the close").await;
    assert_eq!(bodies(&deliveries), bodies_of("", 3), "what the next member gets");
}

/// A subscription that is dropped without `close` is a member that was killed, as far as possible:
/// sooner or later the next member gets what it held, and its tokens are stale from the drop on.
pub async fn a_dropped_subscription_gives_back_what_it_held(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let group = unique();
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    publish(harness, &member, &topic, numbered("", 5)).await;
    let out = inbox.deliveries(5, "everything").await;

    drop(inbox);

    are_stale(harness, out, "the subscription was dropped").await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    let mut missing = bodies_of("", 5);
    while !missing.is_empty() {
        let delivery = inbox.delivery(&format!("what a dropped subscription held: {missing:?}")).await;
        missing.remove(&body(&delivery));
        drop(delivery.ack.settle(Verdict::Accept));
    }
}

/// Shows that deliveries are no longer ours.
async fn are_stale(harness: &dyn Harness, deliveries: Vec<Delivery>, since: &str) {
    for delivery in deliveries {
        within(harness.patience(), &format!("`lost` to be cancelled: {since}"), delivery.lost.cancelled())
            .await;
        let settled = delivery.ack.settle(Verdict::Accept);
        let settlement = within(harness.patience(), "a settlement", settled).await;
        assert_eq!(settlement, Settlement::Stale, "accepting after {since}");
    }
}

fn every_second(deliveries: Vec<Delivery>) -> (Vec<Delivery>, Vec<Delivery>) {
    let odd: BTreeSet<String> = (0..deliveries.len()).filter(|n| n % 2 == 1).map(|n| n.to_string()).collect();
    deliveries.into_iter().partition(|delivery| odd.contains(&body(delivery)))
}
