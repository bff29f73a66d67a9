//! Members: two sidecars share an ordered subscription, and one is killed, stopped or frozen.
//!
//! Under load, and with a webhook that fails at random, the active member is killed with -9, stopped
//! politely, or frozen until the other has taken over; then it comes back. `SIDESPAN_SEED` repeats a
//! run.
//!
//! # What is promised
//!
//! Nothing is lost, and a message is first attempted only after every earlier message of its key was
//! accepted. That holds also while two members both believe to be the active one, because each of
//! them goes through a key in order, from a point before which all is settled.
//!
//! What comes again may come late. A frozen member has sent requests whose answers it has not read,
//! and when it is thawed it does not know yet that its place is taken: until the broker's client
//! learns so, it goes on with what it holds, which the other has delivered already. Nobody but the
//! receiver can tell these attempts from others; they carry the same `webhook-id` as the first. Each
//! ends within the webhook's timeout, and none begins once the subscription is told `Lost`. So here
//! they are repeats, which are counted, and never a message that the receiver has not seen before.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its figures are for the person who reads them"
)]

mod pair;

use std::time::Duration;

use pair::Pair;
use sidespan_test_support::{Kafka, Load, Nats, Rabbit, Random, Scene};

/// What happens to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is gone at once, and is started again later.
    Killed,
    /// It finishes what is under way, and is started again later.
    Stopped,
    /// It answers nothing, keeps its connections, and goes on later.
    Frozen,
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_keeps_keys_in_order_while_members_come_and_go() {
    let scene = Scene::kafka(Kafka::shared().await).await;
    come_and_go("kafka", &scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_keeps_keys_in_order_while_members_come_and_go() {
    come_and_go("jetstream", &Scene::nats(Nats::shared().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_keeps_keys_in_order_while_members_come_and_go() {
    come_and_go("rabbitmq", &Scene::rabbit(Rabbit::shared().await)).await;
}

async fn come_and_go(name: &'static str, scene: &Scene) {
    let mut load = Load::start(name, &mut Random::from_env()).await;
    let mut pair = Pair::start(scene, &load).await;
    load.publish_on(&pair.doors());
    for round in 0..ROUNDS {
        for fault in [Fault::Killed, Fault::Stopped, Fault::Frozen] {
            let victim = pair.active(round).await;
            load.until_delivered_more(STRETCH).await;
            let took = pair.lose(victim, fault, &load).await;
            println!("{name}: member {victim} {fault:?}, taken over after {took:.1?}");
            assert!(took < TAKEOVER, "{name}: {fault:?}, taken over only after {took:.1?}");
            load.until_delivered_more(STRETCH).await;
            pair.restore(victim, fault).await;
        }
    }
    load.enough();
    load.finish(ROUNDS * 3).await;
    pair.stop().await;
}

const ROUNDS: usize = 3;
/// How many messages are delivered between two events.
const STRETCH: usize = 300;
/// How long a key may wait for another member.
const TAKEOVER: Duration = Duration::from_secs(15);
