//! How much may be unsettled at a time.

use std::time::Duration;

use super::Harness;
use super::inbox::{Inbox, QUIET, accept, body, message, numbered, publish, topic, unique, wish};
use crate::{Message, Subscribe, Verdict, Window};

/// The bridge hands out as many messages as the window has room for, and one more for each that is
/// settled.
pub async fn no_more_messages_are_out_than_the_window_holds(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let member = harness.open().await;
    let window = Window { messages: 8, ..Window::default() };
    let mut inbox =
        Inbox::open(harness, &member, Subscribe { window, ..wish(harness, &topic, &unique()) }).await;
    let mut other = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    publish(harness, &member, &topic, numbered("", 40)).await;
    let mut out = inbox.deliveries(8, "a full window").await;
    other.deliveries(40, "everything, by another group").await;
    inbox.rests(QUIET, "the window of 8 messages is full").await;
    let mut seen = 8;
    while seen < 40 {
        let room = out.split_off(out.len() / 2);
        let count = room.len().min(40 - seen);
        for delivery in room {
            drop(delivery.ack.settle(Verdict::Accept));
        }
        out.extend(inbox.deliveries(count, "as many as were settled").await);
        seen += count;
    }
    accept(harness, out).await;
}

/// The window counts bytes too, by `Message::weight`; a message larger than the window comes alone.
pub async fn no_more_bytes_are_out_than_the_window_holds(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let window = Window { bytes: 10_000, ..Window::default() };
    let mut inbox =
        Inbox::open(harness, &member, Subscribe { window, ..wish(harness, &topic, &unique()) }).await;
    let mut other = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    let sizes = [4_000, 4_000, 4_000, 25_000, 10];
    let batch = sizes.map(|size| message("x".repeat(size))).into();
    publish(harness, &member, &topic, batch).await;
    let mut out = inbox.deliveries(2, "two messages of 4,000 bytes").await;
    other.deliveries(5, "everything, by another group").await;
    inbox.rests(QUIET, "a third message would make it 12,000 bytes of 10,000").await;
    accept(harness, vec![out.remove(0)]).await;
    out.push(inbox.delivery("the third message").await);
    inbox.rests(QUIET, "a message larger than the window waits until it is empty").await;
    accept(harness, out).await;
    let large = inbox.delivery("the message that is larger than the window").await;
    assert_eq!(body(&large).len(), 25_000, "the message that is larger than the window");
    inbox.rests(QUIET, "the window is more than full").await;
    accept(harness, vec![large]).await;
    accept(harness, vec![inbox.delivery("the last message").await]).await;
}

/// Where released messages wait at the broker or on disk, they don't take up the window.
pub async fn a_release_leaves_the_window(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let window = Window { messages: 2, ..Window::default() };
    let mut inbox =
        Inbox::open(harness, &member, Subscribe { window, ..wish(harness, &topic, &unique()) }).await;
    let batch: Vec<Message> = (0..10).map(|n| message(format!("{n}"))).collect();
    publish(harness, &member, &topic, batch).await;
    for n in 0..10 {
        let delivery = inbox.delivery("the next message, though all before it wait").await;
        assert_eq!(body(&delivery), format!("{n}"), "the next message");
        drop(delivery.ack.settle(Verdict::Release { after: Duration::from_secs(60) }));
    }
}
