//! Publishing: what arrives is what was sent, in its order, and every message has its outcome.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::inbox::{Inbox, attempt, body, has, message, publish, topic, unique, wish, within};
use super::{Ability, Harness, Kind};
use crate::{Fault, Guarantee, Header, Message, Order, Subscribe, Topic, Verdict};

/// Body, key, content type, id, headers (order, repeats, empty, blank-edged, binary), reply address
/// and correlation come out as they went in; and a message without any of them comes out bare.
pub async fn a_message_arrives_as_it_was_published(harness: &dyn Harness) {
    let bare = message("bare");
    let full = Message {
        payload: Some(random(64 << 10)),
        headers: vec![
            Header::new("zone", "2"),
            Header::new("Alpha", "1"),
            Header::new("zone", "3"),
            Header::new("ALPHA", "4"),
            Header::new("empty", ""),
            Header::new("blank", "  edges\t"),
            Header::new("text", "Grüße, 100 %"),
            Header::new("binary", Bytes::from_static(&[0, 255, 254, 13, 10, 0])),
        ],
        key: Some(Bytes::from_static(&[0, 159, 146, 150])),
        id: Some("order-4711/ü".into()),
        content_type: Some("application/json; charset=utf-8".into()),
        reply_to: Some("replies.here".into()),
        correlation: Some("request 7".into()),
        ..Message::default()
    };
    let empty = Message { payload: Some(Bytes::new()), ..full.clone() };
    arrive_unchanged(harness, vec![bare, full, empty]).await;
}

/// Context attributes travel as the broker's protocol binding says and come out under `ce-` again.
pub async fn the_attributes_of_a_cloud_event_arrive_unchanged(harness: &dyn Harness) {
    let event = Message {
        headers: vec![
            Header::new("ce-specversion", "1.0"),
            Header::new("ce-id", "a 1"),
            Header::new("ce-source", "/orders?a=b"),
            Header::new("ce-type", "order.paid"),
            Header::new("ce-subject", "Käse 100% \"€\" ☃"),
            Header::new("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ],
        content_type: Some("application/json".into()),
        ..message("{}")
    };
    assert!(event.is_cloud_event());
    arrive_unchanged(harness, vec![event]).await;
}

/// A message without a body is not one with an empty body.
pub async fn a_tombstone_stays_a_tombstone(harness: &dyn Harness) {
    let tombstone = Message {
        payload: None,
        key: Some("customer 1".into()),
        id: Some("gone".into()),
        ..Message::default()
    };
    arrive_unchanged(harness, vec![tombstone]).await;
}

/// Up to 4 KiB below the broker's limit, everything fits.
pub async fn a_message_just_below_the_largest_size_arrives(harness: &dyn Harness) {
    let mut large = Message {
        headers: vec![Header::new("note", "n".repeat(100))],
        key: Some("key".into()),
        id: Some("large".into()),
        content_type: Some("application/octet-stream".into()),
        ..Message::default()
    };
    large.payload = Some(random(harness.largest_message() - 4096 - large.weight()));
    arrive_unchanged(harness, vec![large]).await;
}

/// A message that the broker would not take is `TooLarge`; those around it are stored, and the
/// outcomes stand in the order of the batch.
pub async fn a_message_too_large_fails_alone_in_its_batch(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    let large = Message { payload: Some(random(harness.largest_message() + 1)), ..Message::default() };

    let outcomes = attempt(harness, &member, &topic, vec![message("ahead"), large, message("behind")]).await;

    assert_eq!(outcomes.len(), 3, "one outcome a message");
    assert!(outcomes[0].is_ok(), "the message ahead of the large one: {:?}", outcomes[0]);
    let fault = outcomes[1].as_ref().map_err(|error| error.fault);
    assert_eq!(fault, Err(Fault::TooLarge), "the large message");
    assert!(outcomes[2].is_ok(), "the message behind the large one: {:?}", outcomes[2]);
    publish(harness, &member, &topic, vec![message("last")]).await;
    let mut arrived = inbox.bodies_until("last").await;
    arrived.sort();
    assert_eq!(arrived, ["ahead", "behind"], "what was stored, and nothing else");
}

/// Messages of one key arrive in the order they have in their batch.
pub async fn a_batch_keeps_its_order_per_key(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, ordered(harness, &topic, Order::Key)).await;
    let keys = 10;
    let each = 50;
    let batch =
        (0..keys * each).map(|n| super::inbox::keyed(&format!("key {}", n % keys), format!("{n}"))).collect();

    publish(harness, &member, &topic, batch).await;

    let mut next: BTreeMap<usize, usize> = (0..keys).map(|key| (key, key)).collect();
    for _ in 0..keys * each {
        let delivery = inbox.delivery("every message of the batch").await;
        let n: usize = body(&delivery).parse().expect("a number");
        let next = next.get_mut(&(n % keys)).expect("a key of the batch");
        assert_eq!(n, *next, "the next message of key {}", n % keys);
        *next += keys;
        drop(delivery.ack.settle(Verdict::Accept));
    }
}

/// The call itself submits: publishes that follow one another stay in order, whoever is awaited
/// first.
pub async fn publishes_that_follow_one_another_stay_in_order(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, ordered(harness, &topic, Order::Topic)).await;
    let deadline = Instant::now() + harness.patience();
    let publisher = member.publisher();

    let mut calls: Vec<_> =
        (0..200).map(|n| publisher.publish(&topic, vec![message(format!("{n}"))], deadline)).collect();
    calls.reverse();
    for outcomes in within(harness.patience() * 2, "200 publishes", join_all(calls)).await {
        assert!(matches!(outcomes[..], [Ok(_)]), "one message, stored: {outcomes:?}");
    }

    for n in 0..200 {
        let delivery = inbox.delivery("every message").await;
        assert_eq!(body(&delivery), format!("{n}"), "the next message");
        drop(delivery.ack.settle(Verdict::Accept));
    }
}

/// A receipt says where the message is and what the acknowledgement is worth; the delivery gives
/// the same position.
pub async fn a_receipt_tells_where_the_message_is_and_what_that_is_worth(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    let guarantee =
        if has(harness, Ability::Storage) { Guarantee::AtLeastOnce } else { Guarantee::AtMostOnce };

    let mut last = None;
    for n in 0..3 {
        let receipts = publish(harness, &member, &topic, vec![message(format!("{n}"))]).await;
        let receipt = receipts[0];
        assert_eq!(receipt.guarantee, guarantee, "the guarantee of {receipt:?}");
        assert_eq!(receipt.position.is_some(), has(harness, Ability::Positions), "a position in {receipt:?}");
        assert_eq!(
            receipt.local,
            harness.kind() == Kind::Embedded,
            "stored on this machine only: {receipt:?}"
        );
        assert!(!receipt.duplicate && !receipt.deduplicated, "nobody asked to deduplicate: {receipt:?}");
        assert!(receipt.position.is_none() || receipt.position > last, "{receipt:?} stands behind {last:?}");
        last = receipt.position;
        let delivery = inbox.delivery("the message of the receipt").await;
        assert_eq!(delivery.position, receipt.position, "the position of the delivery");
        drop(delivery.ack.settle(Verdict::Accept));
    }
}

/// Publishes each message and compares what arrives.
async fn arrive_unchanged(harness: &dyn Harness, messages: Vec<Message>) {
    let topic = topic(harness, 1).await;
    let member = harness.open().await;
    let mut inbox = Inbox::open(harness, &member, wish(harness, &topic, &unique())).await;
    for sent in messages {
        publish(harness, &member, &topic, vec![sent.clone()]).await;
        let delivery = inbox.delivery(&format!("the message with id {:?}", sent.id)).await;
        let got = &delivery.message;
        assert_eq!(delivery.topic, topic, "the address it was found at");
        assert_eq!(got.payload.is_none(), sent.payload.is_none(), "a tombstone");
        assert_eq!(
            got.payload.as_ref().map(Bytes::len),
            sent.payload.as_ref().map(Bytes::len),
            "the body's length"
        );
        assert!(got.payload == sent.payload, "the body differs");
        assert_eq!(got.key, sent.key, "the key");
        assert_eq!(got.id, sent.id, "the id");
        assert_eq!(got.content_type, sent.content_type, "the content type");
        assert_eq!(got.headers, sent.headers, "the headers");
        assert_eq!(got.reply_to, sent.reply_to, "the reply address");
        assert_eq!(got.correlation, sent.correlation, "the correlation");
        assert_eq!(got.deduplication, None, "a deduplication id is not passed on");
        drop(delivery.ack.settle(Verdict::Accept));
    }
}

fn ordered(harness: &dyn Harness, topic: &Topic, order: Order) -> Subscribe {
    Subscribe { order, ..wish(harness, topic, &unique()) }
}

fn random(length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("the system's random numbers");
    bytes.into()
}
