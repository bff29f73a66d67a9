//! Every message has its own outcome.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use sidespan_bridge::{Fault, Order, Subscribe, Topic, Verdict};
use sidespan_test_support::{Rabbit, eventually, unique_name};
use tokio::time::Instant;

use super::{
    PATIENCE, accept, all_of, arguments, attempt, body, fault_of, foreigner, long, next, open, soon,
    subscribe, text,
};

/// The client library gives returned messages to the wrong confirms when publishes are pipelined.
#[tokio::test]
async fn what_cannot_be_routed_is_said_of_just_those_messages() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let topic = unique_name("routed");
    let mut inbox = subscribe(&*bridge, Subscribe { order: Order::Topic, ..all_of(&topic) }).await;
    let nowhere = unique_name("nowhere");
    let each = |n: usize| {
        let (bridge, topic) = (&bridge, if n.is_multiple_of(7) { &nowhere } else { &topic });
        async move { (n, attempt(&**bridge, topic, text(n)).await.map_err(|error| error.fault)) }
    };

    let outcomes: Vec<_> =
        futures_util::stream::iter(0..3000).map(each).buffer_unordered(200).collect().await;

    for (n, outcome) in &outcomes {
        match (n % 7, outcome) {
            (0, Err(Fault::Unroutable)) | (1.., Ok(_)) => {}
            (_, outcome) => panic!("message {n}: {outcome:?}"),
        }
    }
    let mut expected: Vec<String> =
        (0..3000).filter(|n: &usize| !n.is_multiple_of(7)).map(|n| n.to_string()).collect();
    let mut arrived = Vec::new();
    while arrived.len() < expected.len() {
        let delivery = next(&mut inbox).await;
        arrived.push(body(&delivery));
        drop(delivery.ack.settle(Verdict::Accept));
    }
    arrived.sort();
    expected.sort();
    assert_eq!(arrived, expected);
}

#[tokio::test]
async fn a_missing_exchange_is_said_at_once_and_harms_nobody() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let topic = unique_name("neighbour");
    let _inbox = subscribe(&*bridge, all_of(&topic)).await;
    let publisher = bridge.publisher();
    let missing = Topic::new(format!("{}/key", unique_name("missing")));

    let neighbours = |_| publisher.publish(&Topic::new(topic.as_str()), vec![text("x")], soon());
    let ahead: Vec<_> = (0..200).map(neighbours).collect();
    let begin = Instant::now();
    let refused = publisher.publish(&missing, vec![text("x"), text("y")], soon());
    let behind: Vec<_> = (0..200).map(neighbours).collect();

    for outcome in refused.await {
        assert_eq!(outcome.unwrap_err().fault, Fault::UnknownTopic);
    }
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    for outcomes in join_all(ahead.into_iter().chain(behind)).await {
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
}

#[tokio::test]
async fn an_exchange_that_goes_away_is_noticed() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let (_connection, foreigner) = foreigner(rabbit).await;
    let exchange = unique_name("goes");
    let (options, none) = (ExchangeDeclareOptions::default(), FieldTable::default());
    foreigner.exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, options, none).await.unwrap();
    let topic = format!("{exchange}/orders");
    let _inbox = subscribe(&*bridge, all_of(&topic)).await;
    attempt(&*bridge, &topic, text("stored")).await.unwrap();

    foreigner.exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default()).await.unwrap();

    assert_eq!(fault_of(&*bridge, &topic).await, Some(Fault::UnknownTopic), "over the channel it broke");
    assert_eq!(fault_of(&*bridge, &topic).await, Some(Fault::UnknownTopic), "by looking first");
    let other = unique_name("other");
    let _other = subscribe(&*bridge, all_of(&other)).await;
    attempt(&*bridge, &other, text("over a new channel")).await.unwrap();
}

#[tokio::test]
async fn a_queue_that_is_full_refuses() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let (_connection, foreigner) = foreigner(rabbit).await;
    let queue = unique_name("full");
    let full = arguments([("x-max-length", AMQPValue::LongInt(2)), ("x-overflow", long("reject-publish"))]);
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    foreigner.queue_declare(queue.as_str().into(), durable, full).await.unwrap();
    let address = format!("/{queue}");

    eventually(PATIENCE, "a full queue", async || {
        fault_of(&*bridge, &address).await == Some(Fault::StorageFull)
    })
    .await;

    let mut inbox = subscribe(&*bridge, all_of(&address)).await;
    accept(next(&mut inbox).await).await;
    accept(next(&mut inbox).await).await;
    eventually(PATIENCE, "room again", async || fault_of(&*bridge, &address).await.is_none()).await;
}

/// Equal messages cannot be told apart: as many are stored as are said to be.
#[tokio::test]
async fn of_equal_messages_as_many_are_stored_as_are_said_to_be() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let (_connection, foreigner) = foreigner(rabbit).await;
    let (queue, key) = (unique_name("equal"), unique_name("sometimes"));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let quorum = arguments([("x-queue-type", long("quorum"))]);
    foreigner.queue_declare(queue.as_str().into(), durable, quorum).await.unwrap();
    let publisher = bridge.publisher();
    let batch = || publisher.publish(&Topic::new(key.as_str()), vec![text("same"); 250], soon());

    let mut batches = Vec::new();
    for _ in 0..20 {
        let (name, key) = (queue.as_str(), key.as_str());
        batches.push(tokio::spawn(batch()));
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        foreigner.queue_bind(name.into(), "amq.topic".into(), key.into(), options, none).await.unwrap();
        batches.push(tokio::spawn(batch()));
        let none = FieldTable::default();
        foreigner.queue_unbind(name.into(), "amq.topic".into(), key.into(), none).await.unwrap();
    }

    let mut stored = 0;
    let mut unroutable = 0;
    for outcomes in join_all(batches).await {
        for outcome in outcomes.unwrap() {
            match outcome.map_err(|error| error.fault) {
                Ok(_) => stored += 1,
                Err(Fault::Unroutable) => unroutable += 1,
                Err(fault) => panic!("{fault:?}"),
            }
        }
    }
    assert!(stored > 0 && unroutable > 0, "{stored} stored, {unroutable} unroutable");
    let passive = QueueDeclareOptions { passive: true, ..durable };
    eventually(PATIENCE, "what is said to be stored", async || {
        let declared = foreigner.queue_declare(queue.as_str().into(), passive, FieldTable::default());
        declared.await.unwrap().message_count() == stored
    })
    .await;
}
