//! Messages that nobody can deal with, or that this bridge would never have written.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use sidespan_bridge::{Subscribe, Verdict, Window};
use sidespan_test_support::{Kafka, unique_name};

use super::{accept, all_of, body, close, next, open, publish, subscribe, text, until};

/// A message is refused over and over while far more than the window holds goes past it; after a
/// kill it comes again, and of all the others none that was confirmed.
#[tokio::test]
async fn a_poison_message_holds_up_nothing_and_is_all_that_comes_again() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("poison");
    kafka.create_topic(&topic, 1).await;
    let bridge = open(kafka);
    let window = Window { messages: 16, ..Window::default() };
    let mut inbox = subscribe(&*bridge, Subscribe { window, ..all_of(&topic) }).await;
    publish(&*bridge, &topic, vec![text("poison")]).await;
    publish(&*bridge, &topic, (0..MESSAGES).map(text).collect()).await;

    let (mut refusals, mut others) = (0, BTreeSet::new());
    while others.len() < MESSAGES {
        let delivery = next(&mut inbox).await;
        let body = body(&delivery);
        if body == "poison" {
            refusals += 1;
            drop(delivery.ack.settle(Verdict::Release { after: Duration::from_millis(1) }));
        } else {
            others.insert(body);
            if others.len() == MESSAGES {
                accept(delivery).await;
            } else {
                drop(delivery.ack.settle(Verdict::Accept));
            }
        }
    }
    assert!(refusals > 1, "the poison message was tried {refusals} times");
    drop((bridge, inbox));

    let bridge = open(kafka);
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    publish(&*bridge, &topic, vec![text("last")]).await;
    assert_eq!(until(&mut inbox, "last").await, ["poison"]);
    close(inbox).await;
}

/// Keys and headers of others are bytes without a rule.
#[tokio::test]
async fn a_record_full_of_nonsense_is_delivered_and_so_is_the_one_behind_it() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("nonsense");
    kafka.create_topic(&topic, 1).await;
    let address = kafka.address().to_owned();
    let name = topic.clone();
    tokio::task::spawn_blocking(move || publish_nonsense(&address, &name)).await.unwrap();
    let bridge = open(kafka);
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    let nonsense = next(&mut inbox).await;
    assert_eq!(nonsense.message.payload.as_deref(), Some(&b"\xff\x00\xfe"[..]));
    assert_eq!(nonsense.message.key.as_deref(), Some(&b"\xc3\x28"[..]));
    accept(nonsense).await;
    publish(&*bridge, &topic, vec![text("last")]).await;
    assert!(until(&mut inbox, "last").await.is_empty());
    close(inbox).await;
}

fn publish_nonsense(address: &str, topic: &str) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", address).create().unwrap();
    let header = |key, value: Option<&'static [u8]>| Header { key, value };
    let headers = OwnedHeaders::new()
        .insert(header("content-type", Some(b"\xff\xfe")))
        .insert(header("", Some(b"no name")))
        .insert(header("nothing", None))
        .insert(header("ce_specversion", Some(b"9.9")))
        .insert(header("ce_id", None))
        .insert(header("sidespan-headers", Some(b"{\"not\": [")))
        .insert(header("line\r\nbreak", Some(b"a\r\nb")));
    let record = BaseRecord::to(topic).payload(b"\xff\x00\xfe").key(b"\xc3\x28").headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
}

const MESSAGES: usize = 5_000;
