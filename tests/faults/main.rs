//! Faults: what was promised is kept while processes are killed.
//!
//! Keyed messages are published over HTTP and delivered to a webhook that fails at random, while
//! the sidecar or the broker is killed with -9. Every publish and every delivery attempt is written
//! down, and at the end the history is checked. `SIDESPAN_SEED` repeats a run; `SIDESPAN_MESSAGES`
//! sets its length (5,000 unless told).

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and its words are for the person who reads them"
)]

use std::time::Duration;

use sidespan_test_support::{Broker, Kafka, Launch, Load, Nats, Rabbit, Random, Scene, Sidecar};

const SIDESPAN: &str = env!("CARGO_BIN_EXE_sidespan");
/// How often something is killed during a run.
const KILLS: usize = 5;
/// Attempts of a run in which nothing is given up.
const NEVER: u32 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_log_keeps_its_promises_while_the_sidecar_is_killed() {
    Run::begin("embedded, sidecar killed", &Scene::embedded(), NEVER).await.kill_sidecar().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_stored_as_a_dead_letter_while_the_sidecar_is_killed() {
    Run::begin("embedded, sidecar killed, two attempts", &Scene::embedded(), 2).await.kill_sidecar().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_keeps_its_promises_while_the_sidecar_is_killed() {
    let scene = Scene::kafka(Kafka::shared().await).await;
    Run::begin("kafka, sidecar killed", &scene, NEVER).await.kill_sidecar().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_keeps_its_promises_while_the_broker_is_killed() {
    let mut kafka = match Kafka::start().await {
        Ok(kafka) => kafka,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let scene = Scene::kafka(&kafka).await;
    Run::begin("kafka, broker killed", &scene, NEVER).await.kill_broker(&mut kafka).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_keeps_its_promises_while_the_sidecar_is_killed() {
    let scene = Scene::nats(Nats::shared().await);
    Run::begin("jetstream, sidecar killed", &scene, NEVER).await.kill_sidecar().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_keeps_its_promises_while_the_broker_is_killed() {
    let mut nats = match Nats::start().await {
        Ok(nats) => nats,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let scene = Scene::nats(&nats);
    Run::begin("jetstream, broker killed", &scene, NEVER).await.kill_broker(&mut nats).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_keeps_its_promises_while_the_sidecar_is_killed() {
    let scene = Scene::rabbit(Rabbit::shared().await);
    Run::begin("rabbitmq, sidecar killed", &scene, NEVER).await.kill_sidecar().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_stores_what_is_given_up_while_the_sidecar_is_killed() {
    let scene = Scene::rabbit(Rabbit::shared().await);
    Run::begin("rabbitmq, sidecar killed, two attempts", &scene, 2).await.kill_sidecar().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_keeps_its_promises_while_the_broker_is_killed() {
    let mut rabbit = match Rabbit::start().await {
        Ok(rabbit) => rabbit,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let scene = Scene::rabbit(&rabbit);
    let run = Run::begin("rabbitmq, broker killed", &scene, NEVER).await;
    rabbit.flush().await;
    run.kill_broker(&mut rabbit).await;
}

/// A sidecar under load.
struct Run {
    load: Load,
    sidecar: Sidecar,
    random: Random,
}

impl Run {
    /// Starts a sidecar, and publishes to it.
    async fn begin(name: &'static str, scene: &Scene, attempts: u32) -> Self {
        let mut random = Random::from_env();
        let mut load = Load::start(name, &mut random).await;
        let (webhook, dead) = load.webhooks(0);
        let sidecar = Launch::new(SIDESPAN).config(&scene.config(&webhook, &dead, attempts)).start().await;
        sidecar.until_ready().await;
        load.publish(&[sidecar.url("/v1/topics/orders/messages")], messages());
        Self { load, sidecar, random }
    }

    /// Kills the sidecar, and starts it again.
    async fn kill_sidecar(mut self) {
        for progress in kills(&mut self.random) {
            self.load.until_delivered(progress).await;
            self.sidecar.kill();
            self.sidecar.start_again().await;
        }
        self.finish().await;
    }

    /// Kills the broker, and starts it again after a while.
    async fn kill_broker(mut self, broker: &mut Broker) {
        for progress in kills(&mut self.random) {
            self.load.until_delivered(progress).await;
            broker.kill();
            tokio::time::sleep(self.random.duration(Duration::ZERO, Duration::from_secs(2))).await;
            broker.start_again().await;
        }
        self.finish().await;
    }

    /// Waits for the end, has the history checked, and stops the sidecar politely.
    async fn finish(mut self) {
        self.load.finish(KILLS).await;
        let ended = self.sidecar.stop().await;
        assert!(ended.status.success(), "{}\n{}", ended.status, ended.stderr);
    }
}

/// Returns at how many delivered messages to kill, ascending, spread at random over the run.
fn kills(random: &mut Random) -> Vec<usize> {
    let part = messages() / (KILLS + 1);
    (0..KILLS).map(|kill| part / 2 + kill * part + random.below(part as u64) as usize).collect()
}

fn messages() -> usize {
    std::env::var("SIDESPAN_MESSAGES")
        .map_or(5_000, |count| count.parse().expect("SIDESPAN_MESSAGES is a number"))
}
