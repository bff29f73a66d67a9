//! A broker that hangs.

use std::time::Duration;

use sidespan_bridge::{Fault, Topic};
use sidespan_test_support::{Kafka, eventually, unique_name};
use tokio::time::Instant;

use super::{PATIENCE, open, publish, text};

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
