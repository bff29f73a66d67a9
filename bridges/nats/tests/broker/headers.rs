//! Headers of foreign clients, as they are.

use serde_json::json;
use sidespan_bridge::{Header, Message, Order, Subscribe, Verdict};
use sidespan_test_support::{Nats, unique_name};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Operator, accept, all_of, body, close, next, open, publish, text};

/// Publishes a message with any bytes as headers, which no client library would send.
async fn publish_raw(nats: &Nats, topic: &str, headers: &[u8], payload: &str) {
    let address = nats.url().strip_prefix("nats://").unwrap();
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    stream.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n").await.unwrap();
    let total = headers.len() + payload.len();
    stream.write_all(format!("HPUB {topic} {} {total}\r\n", headers.len()).as_bytes()).await.unwrap();
    stream.write_all(headers).await.unwrap();
    stream.write_all(format!("{payload}\r\nPING\r\n").as_bytes()).await.unwrap();
    while !line.starts_with("PONG") {
        line.clear();
        stream.read_line(&mut line).await.unwrap();
    }
}

/// The client takes such a header for a broken connection, and the broker delivers the message again
/// after each: it is read in another way, and what is behind it comes too.
#[tokio::test]
async fn a_header_that_is_not_text_holds_up_nobody() {
    let nats = Nats::shared().await;
    let groups = [(Order::None, Some("none")), (Order::Key, Some("key")), (Order::None, None)];
    for (order, group) in groups {
        let topic = unique_name("bytes");
        Operator::of(nats).await.make(&topic, json!({})).await;
        let bridge = open(nats);
        let keyed = |body: &str| Message { key: Some("k".into()), ..text(body) };
        publish(&*bridge, &topic, vec![keyed("ahead")]).await;
        for odd in ["odd", "odder"] {
            publish_raw(
                nats,
                &topic,
                b"NATS/1.0\r\nSidespan-Key: k\r\nPlain: 1\r\nBytes: \xff\xfe\r\n\r\n",
                odd,
            )
            .await;
        }
        publish(&*bridge, &topic, vec![keyed("behind")]).await;

        let to = Subscribe { group: group.map(Into::into), order, ..all_of(&topic) };
        let mut inbox = bridge.subscribe(to).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 4 {
            let delivery = next(&mut inbox).await;
            let body = body(&delivery);
            if body.starts_with("odd") {
                let headers = [Header::new("Plain", "1"), Header::new("Bytes", &b"\xff\xfe"[..])];
                assert_eq!(delivery.message.headers, headers);
            }
            if group.is_some() {
                // What is lost with a connection is stale, and comes again.
                let _ = delivery.ack.settle(Verdict::Accept).await;
            }
            if !seen.contains(&body) {
                seen.push(body);
            }
        }
        if order == Order::Key || group.is_none() {
            assert_eq!(seen, ["ahead", "odd", "odder", "behind"], "{group:?}");
        }
        close(inbox).await;
    }
}

/// The first message that an ordered subscription gets is such a one: nothing readable tells the member
/// that it is the active one.
#[tokio::test]
async fn an_ordered_subscription_may_begin_with_a_header_that_is_not_text() {
    let nats = Nats::shared().await;
    let topic = unique_name("begins");
    Operator::of(nats).await.make(&topic, json!({})).await;
    let bridge = open(nats);
    let mut inbox = bridge.subscribe(Subscribe { order: Order::Key, ..all_of(&topic) }).await.unwrap();
    publish_raw(nats, &topic, b"NATS/1.0\r\nBytes: \xff\xfe\r\n\r\n", "odd").await;
    let delivery = next(&mut inbox).await;
    assert_eq!(body(&delivery), "odd");
    accept(delivery).await;
    publish(&*bridge, &topic, vec![text("behind")]).await;
    assert_eq!(body(&next(&mut inbox).await), "behind");
    close(inbox).await;
}

/// Foreign clients see natural names, and theirs are understood.
#[tokio::test]
async fn headers_are_natural_to_foreign_clients() {
    let nats = Nats::shared().await;
    let (operator, topic) = (Operator::of(nats).await, unique_name("natural"));
    operator.make(&topic, json!({})).await;
    let bridge = open(nats);
    let mut inbox = bridge.subscribe(all_of(&topic)).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("content-type", "application/json");
    headers.insert("ce-type", "order.paid");
    headers.insert("Sidespan-Key", "k");
    headers.insert("Nats-Msg-Id", "7");
    operator.0.publish_with_headers(topic.clone(), headers, "{}".into()).await.unwrap();

    let delivery = next(&mut inbox).await;
    let message = &delivery.message;
    assert_eq!(message.content_type.as_deref(), Some("application/json"));
    assert_eq!(message.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(message.headers, [Header::new("ce-type", "order.paid")]);
    accept(delivery).await;
    close(inbox).await;
}
