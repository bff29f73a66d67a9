//! Faults: what was promised is kept while processes are killed.
//!
//! Keyed messages are published over HTTP and delivered to a webhook that fails at random, while
//! the sidecar or the broker is killed with -9. Every publish and every delivery attempt is written
//! down, and at the end the history is checked. `SIDESPAN_SEED` repeats a run; `SIDESPAN_MESSAGES`
//! sets its length (5,000 unless told).

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its figures are for the person who reads them"
)]

mod dead_letters;
mod load;

use std::time::Duration;

use load::Run;
use sidespan_test_support::{Kafka, Launch, Random, Sidecar, unique_name};
use tokio::task::JoinSet;

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");
/// How often something is killed during a run.
const KILLS: usize = 5;

/// Attempts of a run in which nothing is given up.
const NEVER: u32 = 1_000;

/// Where messages are published.
const ORDERS: &str = "/v1/topics/orders/messages";
/// A stream of the dead letters.
const DEAD: &str = "/v1/topics/dead-orders/stream?start=begin";

/// The subscription's part of the configuration; retries are quick, so that a run is short.
fn subscription(webhook: &str, attempts: u32) -> String {
    format!(
        "
topics: {{ orders: {{}}, dead-orders: {{}} }}
subscriptions:
  billing:
    topic: orders
    start: begin
    order: key
    dead_letter: dead-orders
    push: {{ url: '{webhook}', timeout: 400ms }}
    retry: {{ max_attempts: {attempts}, backoff: {{ base: 5ms, cap: 100ms }} }}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_log_keeps_its_promises_while_the_sidecar_is_killed() {
    embedded("embedded, sidecar killed", NEVER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_stored_as_a_dead_letter_while_the_sidecar_is_killed() {
    embedded("embedded, sidecar killed, two attempts", 2).await;
}

async fn embedded(name: &'static str, attempts: u32) {
    let mut random = Random::from_env();
    let run = Run::start(name, &mut random).await;
    let config = format!(
        "version: 1\nservice: faults\nbridges: {{ main: {{ kind: embedded, dir: ./data }} }}\n{}",
        subscription(&run.webhook_url(), attempts)
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    kill_sidecar(&run, sidecar, &mut random).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_keeps_its_promises_while_the_sidecar_is_killed() {
    let kafka = Kafka::shared().await;
    let mut random = Random::from_env();
    let run = Run::start("kafka, sidecar killed", &mut random).await;
    let sidecar = on_kafka(kafka, &run).await;
    kill_sidecar(&run, sidecar, &mut random).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_keeps_its_promises_while_the_broker_is_killed() {
    let mut kafka = match Kafka::start().await {
        Ok(kafka) => kafka,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let mut random = Random::from_env();
    let run = Run::start("kafka, broker killed", &mut random).await;
    let sidecar = on_kafka(&kafka, &run).await;
    let load = run.publish_to(&sidecar.url(ORDERS));
    for progress in load::kills(&mut random, KILLS) {
        run.until_delivered(progress).await;
        kafka.kill();
        tokio::time::sleep(random.duration(Duration::ZERO, Duration::from_secs(2))).await;
        kafka.start_again().await;
    }
    finish(&run, load, sidecar).await;
}

/// Publishes all messages while the sidecar is killed and started again.
async fn kill_sidecar(run: &Run, mut sidecar: Sidecar, random: &mut Random) {
    let load = run.publish_to(&sidecar.url(ORDERS));
    for progress in load::kills(random, KILLS) {
        run.until_delivered(progress).await;
        sidecar.kill();
        sidecar.start_again().await;
    }
    finish(run, load, sidecar).await;
}

/// Waits for the end, has the history checked, and stops the sidecar politely.
async fn finish(run: &Run, load: JoinSet<()>, mut sidecar: Sidecar) {
    run.finish(load, &sidecar.url(DEAD), KILLS).await;
    let ended = sidecar.stop().await;
    assert!(ended.status.success(), "{}\n{}", ended.status, ended.stderr);
}

async fn on_kafka(kafka: &Kafka, run: &Run) -> Sidecar {
    let (orders, dead) = (unique_name("orders"), unique_name("dead"));
    kafka.create_topic(&orders, 8).await;
    kafka.create_topic(&dead, 1).await;
    let names = subscription(&run.webhook_url(), NEVER).replace(
        "orders: {}, dead-orders: {}",
        &format!("orders: {{ address: {orders} }}, dead-orders: {{ address: {dead} }}"),
    );
    // A short session, so that the group lets a killed member go; 6 s is the broker's least.
    let config = format!(
        "version: 1\nservice: {service}\nbridges:\n  main:\n    kind: kafka\n    brokers: ['{address}']\n    \
         properties: {{ session.timeout.ms: '6000' }}\n{names}",
        service = unique_name("faults"),
        address = kafka.address(),
    );
    Launch::new(SIDESPAN).config(&config).start().await
}
