//! What others do to a queue.

use std::time::Duration;

use lapin::options::{
    BasicGetOptions, BasicNackOptions, BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use sidespan_bridge::{Event, Fault, Order, Subscribe, Window};
use sidespan_test_support::{Rabbit, unique_name};

use super::{
    PATIENCE, accept, all_of, arguments, attempt, body, event, foreigner, long, make_group, next, open, soon,
    subscribe, text,
};

#[tokio::test]
async fn a_queue_that_is_deleted_under_a_subscription_is_made_anew() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let topic = unique_name("deleted");
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    attempt(&*bridge, &topic, text("gone")).await.unwrap();
    let held = next(&mut inbox).await;
    let (_connection, foreigner) = foreigner(rabbit).await;

    foreigner.queue_delete(topic.as_str().into(), QueueDeleteOptions::default()).await.unwrap();

    assert!(matches!(event(&mut inbox).await, Event::Lost { epoch, .. } if epoch == held.epoch));
    assert!(held.lost.is_cancelled());
    sidespan_test_support::eventually(PATIENCE, "a queue to route to", async || {
        attempt(&*bridge, &topic, text("stored")).await.is_ok()
    })
    .await;
    let delivery = next(&mut inbox).await;
    assert_eq!(body(&delivery), "stored");
    accept(delivery).await;
}

#[tokio::test]
async fn a_queue_with_other_settings_is_a_conflict_and_is_left_alone() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let (connection, _) = foreigner(rabbit).await;
    for (queue_type, expected) in
        [("classic", "x-queue-type"), ("stream", "x-queue-type"), ("quorum", "x-delivery-limit")]
    {
        let group = unique_name(queue_type);
        let channel = connection.create_channel().await.unwrap();
        declare(&channel, &group, queue_type).await;

        let error = bridge.subscribe(all_of(&group)).await.map(drop).unwrap_err();

        assert_eq!(error.fault, Fault::Conflict, "{queue_type}");
        let said = error.to_string();
        assert!(said.contains(&group) && said.contains(expected) && said.contains("current"), "{said}");
        declare(&channel, &group, queue_type).await;
    }
}

#[tokio::test]
async fn the_order_of_a_queue_that_exists_cannot_be_changed() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let group = unique_name("order");
    make_group(&*bridge, &group).await;
    let ordered = Subscribe { order: Order::Key, ..all_of(&group) };
    let error = bridge.subscribe(ordered).await.map(drop).unwrap_err();
    assert_eq!(error.fault, Fault::Conflict);
    assert!(error.to_string().contains("x-single-active-consumer"), "{error}");
}

#[tokio::test]
async fn a_stream_is_not_taken_for_a_queue() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let (_connection, channel) = foreigner(rabbit).await;
    let stream = unique_name("stream");
    declare(&channel, &stream, "stream").await;
    let address = format!("/{stream}");
    let mut inbox = subscribe(&*bridge, all_of(&address)).await;
    attempt(&*bridge, &address, text("x")).await.unwrap();
    let error = loop {
        match tokio::time::timeout(PATIENCE, inbox.next()).await.expect("an end").expect("an error") {
            Ok(Event::Lost { .. }) => {}
            Ok(Event::Delivery(delivery)) => panic!("{delivery:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.fault, Fault::Conflict);
}

#[tokio::test]
async fn a_message_comes_back_a_hundred_times() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let group = unique_name("hundred");
    make_group(&*bridge, &group).await;
    attempt(&*bridge, &group, text("again")).await.unwrap();
    let (_connection, channel) = foreigner(rabbit).await;
    for _ in 0..100 {
        let got = loop {
            let got = channel.basic_get(group.as_str().into(), BasicGetOptions::default()).await.unwrap();
            if let Some(got) = got {
                break got;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        got.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await.unwrap();
    }
    let mut inbox = subscribe(&*bridge, all_of(&group)).await;
    let delivery = next(&mut inbox).await;
    assert_eq!((body(&delivery).as_str(), delivery.redelivered), ("again", Some(100)));
    assert!(delivery.message.headers.is_empty(), "{:?}", delivery.message.headers);
    accept(delivery).await;
}

/// The broker counts messages only: what it hands over must not fill the memory, and is no less in order.
#[tokio::test]
async fn large_messages_are_given_back_and_come_in_smaller_numbers() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    for order in [Order::None, Order::Topic] {
        let topic = unique_name("large");
        let window = Window { messages: 1000, bytes: 100 << 10 };
        let to = Subscribe { order, window, ..all_of(&topic) };
        drop(subscribe(&*bridge, to.clone()).await.control().close(soon()).await);
        let bodies: Vec<String> = (0..30).map(|n| format!("{n:050000}")).collect();
        for body in &bodies {
            attempt(&*bridge, &topic, text(body)).await.unwrap();
        }

        let mut inbox = subscribe(&*bridge, to).await;
        while !matches!(event(&mut inbox).await, Event::Lost { .. }) {}
        let mut arrived = Vec::new();
        while arrived.len() < bodies.len() {
            match event(&mut inbox).await {
                Event::Delivery(delivery) => {
                    arrived.push(body(&delivery));
                    accept(delivery).await;
                }
                Event::Lost { .. } => panic!("given back twice"),
            }
        }
        if order == Order::None {
            arrived.sort();
        }
        assert!(arrived == bodies, "all of them, each once, in order");
    }
}

/// Makes a queue as somebody else would, or finds it with just these settings.
async fn declare(channel: &Channel, queue: &str, queue_type: &str) {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let settings = arguments([("x-queue-type", long(queue_type))]);
    channel.queue_declare(queue.into(), durable, settings).await.unwrap();
}

#[tokio::test]
async fn a_message_for_a_queue_that_is_read_by_name_arrives() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let (_connection, channel) = foreigner(rabbit).await;
    let queue = unique_name("by-name");
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.as_str().into(), durable, FieldTable::default()).await.unwrap();
    let mut inbox = subscribe(&*bridge, all_of(&format!("/{queue}"))).await;
    let options = BasicPublishOptions::default();
    channel
        .basic_publish("".into(), queue.as_str().into(), options, b"hello", BasicProperties::default())
        .await
        .unwrap();
    let delivery = next(&mut inbox).await;
    assert_eq!((body(&delivery), delivery.topic.as_str()), ("hello".to_owned(), &*format!("/{queue}")));
    accept(delivery).await;
}
