//! Settling: what is released comes again, what is held stays, what is accepted is gone.

use std::time::Duration;

use tokio::time::Instant;

use super::Harness;
use super::inbox::{
    Inbox, QUIET, accept, bodies, bodies_of, body, message, numbered, publish, topic, unique, wish,
};
use crate::Verdict;

/// A panic, a closed stream, a failed `?`: a dropped token brings the message back, without end.
pub async fn a_dropped_token_brings_the_message_back(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    publish(harness, &member, &topic, vec![message("42")]).await;
    for round in 0..25 {
        let delivery = inbox.delivery(&format!("the message, after {round} drops")).await;
        assert_eq!(body(&delivery), "42", "the message that was dropped {round} times");
    }
    accept(harness, vec![inbox.delivery("the message at last").await]).await;
}

/// A released message does not come before its time, comes after it, and holds up nobody else.
pub async fn a_released_message_waits_as_long_as_it_is_told(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    publish(harness, &member, &topic, vec![message("waits")]).await;
    let delivery = inbox.delivery("the message").await;
    let after = Duration::from_millis(1500);

    let begin = Instant::now();
    drop(delivery.ack.settle(Verdict::Release { after }));

    publish(harness, &member, &topic, vec![message("goes ahead")]).await;
    let ahead = inbox.delivery("another message, meanwhile").await;
    assert_eq!(
        body(&ahead),
        "goes ahead",
        "what comes after {:?}, while the first waits {after:?}",
        begin.elapsed()
    );
    let again = inbox.delivery("the released message").await;
    let waited = begin.elapsed();
    assert_eq!(body(&again), "waits", "the released message");
    assert!(waited >= after, "released for {after:?}, it came after {waited:?}");
    accept(harness, vec![ahead, again]).await;
}

/// Where released messages wait at the broker or on disk, they do so over a restart.
pub async fn a_release_outlives_a_restart(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let group = unique();
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    publish(harness, &member, &topic, vec![message("waits")]).await;
    let delivery = inbox.delivery("the message").await;
    let after = Duration::from_secs(3);
    let begin = Instant::now();
    drop(delivery.ack.settle(Verdict::Release { after }));
    inbox.close().await;
    harness.close(member).await;

    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    let again = inbox.delivery("the released message, after the restart").await;
    let waited = begin.elapsed();
    assert_eq!(body(&again), "waits", "the released message");
    assert!(waited >= after, "released for {after:?} and restarted, it came after {waited:?}");
}

/// A held token stays alive past the broker's own deadline: nobody else gets the message.
pub async fn a_held_message_is_not_delivered_again(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let group = unique();
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    publish(harness, &member, &topic, vec![message("held")]).await;
    let held = inbox.delivery("the message").await;
    // The time that passes is what is tested.
    inbox.rests(harness.lease() * 2 + Duration::from_secs(1), "the only message is held").await;
    assert!(inbox.losses.is_empty(), "what is held is ours, but these were lost: {:?}", inbox.losses);
    assert!(!held.lost.is_cancelled(), "what is held is ours");
    publish(harness, &member, &topic, vec![message("behind")]).await;
    let behind = inbox.delivery("the message behind the held one").await;
    assert_eq!(body(&behind), "behind", "what comes while the first is held");
    accept(harness, vec![held, behind]).await;
    inbox.rests(QUIET, "both are accepted").await;
}

/// What was accepted, and confirmed or handed over by `close`, is never seen again.
pub async fn what_was_accepted_is_not_seen_after_a_restart(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let group = unique();
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    publish(harness, &member, &topic, numbered("", 40)).await;
    let mut deliveries = inbox.deliveries(40, "everything").await;
    assert_eq!(bodies(&deliveries), bodies_of("", 40));
    let unconfirmed = deliveries.split_off(20);
    accept(harness, deliveries).await;
    for delivery in unconfirmed {
        drop(delivery.ack.settle(Verdict::Accept));
    }
    inbox.close().await;
    harness.close(member).await;

    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &group)).await;
    for partition in 0..4 {
        // One behind each, wherever they are.
        let mut last = message(format!("last {partition}"));
        last.key = Some(format!("key {partition}").into());
        last.partition = super::inbox::has(harness, super::Ability::Partitions).then_some(partition);
        publish(harness, &member, &topic, vec![last]).await;
    }
    let deliveries = inbox.deliveries(4, "what was published after the restart").await;
    assert_eq!(bodies(&deliveries), bodies_of("last ", 4), "accepted messages do not come again");
    inbox.rests(QUIET, "everything else was accepted").await;
}
