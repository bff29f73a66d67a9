//! The broker that tests run against starts, dies, comes back and goes away with the test run.

use std::time::{Duration, Instant};

use sidespan_test_support::{Kafka, eventually, unique_name};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_broker_is_shared_by_the_tests_of_a_binary() {
    let (one, other) = tokio::join!(Kafka::shared(), Kafka::shared());
    assert_eq!(one.address(), other.address());
    let orders = unique_name("orders");
    assert_eq!(one.partitions(&orders).await, 0);
    one.create_topic(&orders, 3).await;
    assert_eq!(other.partitions(&orders).await, 3);
    one.create_topic_with(&unique_name("compacted"), 1, &[("cleanup.policy", "compact")]).await;
}

#[tokio::test]
#[should_panic(expected = "already exists")]
async fn a_topic_that_exists_is_not_created_again() {
    let kafka = Kafka::shared().await;
    let name = unique_name("orders");
    kafka.create_topic(&name, 1).await;
    kafka.create_topic(&name, 1).await;
}

#[tokio::test]
async fn a_broker_dies_and_comes_back_with_its_data() {
    let mut kafka = match Kafka::start().await {
        Ok(kafka) => kafka,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let address = kafka.address().to_owned();
    kafka.create_topic("orders", 2).await;

    kafka.kill();
    assert!(TcpStream::connect(&address).await.is_err(), "a killed broker listens");
    let start = Instant::now();
    kafka.start_again().await;
    eprintln!("back {:?} after a kill", start.elapsed());
    assert_eq!(kafka.address(), address);
    assert_eq!(kafka.partitions("orders").await, 2);
}

#[tokio::test]
async fn a_broker_stops_politely_and_freezes() {
    let mut kafka = match Kafka::start().await {
        Ok(kafka) => kafka,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    kafka.freeze();
    let name = unique_name("orders");
    let frozen = tokio::time::timeout(Duration::from_millis(300), kafka.create_topic(&name, 1)).await;
    assert!(frozen.is_err(), "a frozen broker answers");
    kafka.thaw();
    kafka.create_topic(&unique_name("orders"), 1).await;

    let start = Instant::now();
    kafka.stop().await;
    eprintln!("stopped after {:?}", start.elapsed());
    assert!(TcpStream::connect(kafka.address()).await.is_err(), "a stopped broker listens");
    kafka.start_again_unready();
    let address = kafka.address().to_owned();
    eventually(Duration::from_secs(60), "the broker listens", async || {
        TcpStream::connect(&address).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_cluster_goes_on_without_one_of_its_brokers() {
    let mut cluster = match Kafka::cluster().await {
        Ok(cluster) => cluster,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    cluster[0].create_topic("orders", 3).await;
    let leader = cluster[0].leader("orders", 1).await.expect("a leader");
    cluster[leader - 1].kill();
    let left = &cluster[leader % 3];
    eventually(Duration::from_secs(60), "another leads", async || {
        left.leader("orders", 1).await.is_some_and(|next| next != leader)
    })
    .await;
}
