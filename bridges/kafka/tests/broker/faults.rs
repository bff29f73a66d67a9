//! A broker that hangs, and one that is away for longer than a session.

use std::time::Duration;

use sidespan_bridge::{Event, Fault, Settlement, Topic, Verdict};
use sidespan_test_support::{Kafka, eventually, unique_name};
use tokio::time::{Instant, timeout};

use super::{PATIENCE, all_of, body, close, next, open, publish, soon, subscribe, text, until};

/// A broker that hangs says nothing, and keeps its connections. What is handed over is not known to
/// be stored; soon nothing is handed over any more, and refused at once, until it answers again.
#[tokio::test]
async fn a_broker_that_hangs_is_noticed_and_so_is_its_return() {
    let mut kafka = match Kafka::start().await {
        Ok(kafka) => kafka,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let topic = unique_name("hangs");
    kafka.create_topic(&topic, 1).await;
    let bridge = open(&kafka);
    publish(&*bridge, &topic, vec![text("ahead")]).await;
    let attempt = async |within: Duration| {
        let deadline = Instant::now() + within;
        let outcomes =
            bridge.publisher().publish(&Topic::new(topic.as_str()), vec![text("x")], deadline).await;
        outcomes.into_iter().next().unwrap().map_err(|error| error.fault)
    };

    kafka.freeze();
    assert_eq!(attempt(Duration::from_millis(200)).await, Err(Fault::Timeout));
    eventually(PATIENCE, "the broker known to be away", async || {
        attempt(Duration::from_millis(200)).await == Err(Fault::Unavailable)
    })
    .await;
    let begin = Instant::now();
    assert_eq!(attempt(PATIENCE).await, Err(Fault::Unavailable));
    assert!(begin.elapsed() < Duration::from_millis(100), "{:?}", begin.elapsed());

    kafka.thaw();
    eventually(PATIENCE, "publishing to work again", async || attempt(PATIENCE).await.is_ok()).await;
}

/// While the broker is away its partitions are lost, and what is accepted meanwhile can't be committed.
/// The same member gets them back: only what was not accepted comes again, and what somebody asks about,
/// however late, since the answer is that it is not confirmed.
#[tokio::test]
async fn what_was_accepted_while_the_broker_was_away_does_not_come_again() {
    let mut kafka = match Kafka::start().await {
        Ok(kafka) => kafka,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let topic = unique_name("away");
    kafka.create_topic(&topic, 1).await;
    let bridge = open(&kafka);
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    publish(&*bridge, &topic, (0..100).map(text).collect()).await;
    let mut deliveries = Vec::new();
    for _ in 0..100 {
        deliveries.push(next(&mut inbox).await);
    }
    kafka.kill();
    let (mut told, mut asked_late) = (None, None);
    for (number, delivery) in deliveries.into_iter().enumerate() {
        match number {
            50 => drop(delivery.ack.settle(Verdict::Release { after: Duration::ZERO })),
            60 => told = Some(tokio::spawn(delivery.ack.settle(Verdict::Accept))),
            70 => asked_late = Some(delivery.ack.settle(Verdict::Accept)),
            _ => drop(delivery.ack.settle(Verdict::Accept)),
        }
    }
    loop {
        match timeout(PATIENCE, inbox.next()).await.expect("the loss is said").unwrap().unwrap() {
            Event::Lost { .. } => break,
            Event::Delivery(delivery) => assert_eq!(body(&delivery), "50", "it was released"),
        }
    }
    assert_eq!(told.unwrap().await.unwrap(), Settlement::Stale);
    kafka.start_again().await;
    eventually(PATIENCE, "publishing to work again", async || {
        let message = vec![text("last")];
        bridge.publisher().publish(&Topic::new(topic.as_str()), message, soon()).await[0].is_ok()
    })
    .await;
    let again = until(&mut inbox, "last").await;
    // What is stale comes again.
    assert_eq!(asked_late.unwrap().await, Settlement::Stale);
    assert_eq!(again, ["50", "60", "70"]);
    close(inbox).await;
}
