//! The brokers: how each is started, named in a configuration, and used without Sidespan.

use std::future::Future;
use std::time::Instant;

use clap::ValueEnum;

use crate::Failed;
use crate::load::{self, Publish, Speed, Target, age, percentiles};
use crate::part::{Orders, say};
use crate::sink::{Accepted, Order};

pub(crate) use amqp::Amqp;
pub(crate) use embedded::Embedded;
pub(crate) use kafka::Kafka;
pub(crate) use nats::Nats;

mod amqp;
mod embedded;
mod kafka;
pub(crate) mod nats;

/// Which broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Embedded,
    Kafka,
    Nats,
    Amqp,
}

/// A broker, in a process of its own where it is one.
pub(crate) trait Broker: Sized {
    /// Its `kind` in a configuration.
    const KIND: &'static str;
    /// Whether [`tail`] can consume from it.
    const TAILS: bool = true;
    /// Where a new subscription begins: at the beginning, if the broker has one.
    const START: &'static str = "begin";
    /// How many subscriptions are a fair lot of idle ones.
    const SUBSCRIPTIONS: u32 = 1000;

    /// Starts it, with all topics.
    fn start() -> impl Future<Output = Result<Self, Failed>>;

    /// Returns what a client connects to.
    fn at(&self) -> String;

    /// Returns the bridge's section of a configuration, in one line.
    fn bridge(&self) -> String;

    /// Returns the section of a bridge by which requests are measured, if they are on this broker.
    fn requests(&self) -> Option<String> {
        None
    }

    /// Returns the address of a topic, which is its name on most brokers.
    fn address(topic: &str) -> String {
        topic.to_owned()
    }
}

/// Is a load by the library that the bridge uses, as safe as the bridge is. All publishers share
/// what the bridge shares.
pub(crate) async fn publish(target: Target) -> Result<(), Failed> {
    match target.kind.ok_or("--kind is missing")? {
        Kind::Embedded => run(embedded::Raw::open()?, &target).await,
        Kind::Kafka => run(kafka::Raw::connect(&target)?, &target).await,
        Kind::Nats => run(nats::Raw::connect(&target).await?, &target).await,
        Kind::Amqp => run(amqp::Raw::connect(&target).await?, &target).await,
    }
}

async fn run<P: Publish + Clone>(publisher: P, target: &Target) -> Result<(), Failed> {
    load::serve(vec![publisher; target.publishers], target).await
}

/// Consumes what comes to [`TAILED`], and tells how old it was.
pub(crate) async fn tail(kind: Kind, at: &str) -> Result<(), Failed> {
    match kind {
        Kind::Embedded => Err("the embedded log is read by Sidespan alone".into()),
        Kind::Kafka => listen(kafka::Tail::connect(at)?).await,
        Kind::Nats => listen(nats::Tail::connect(at).await?).await,
        Kind::Amqp => listen(amqp::Tail::connect(at).await?).await,
    }
}

/// Consumes by a client library.
trait Consume {
    /// Returns the next message's payload.
    async fn next(&mut self) -> Result<Vec<u8>, Failed>;
}

/// Consumes by a client library, and acknowledges.
trait Take {
    /// Takes so many messages; returns once the last is acknowledged.
    async fn take(&mut self, messages: usize) -> Result<(), Failed>;
}

/// Takes as many messages as it is told, and tells how fast that was.
pub(crate) async fn take(kind: Kind, at: &str) -> Result<(), Failed> {
    match kind {
        Kind::Embedded => Err("the embedded log is read by Sidespan alone".into()),
        Kind::Kafka => time(kafka::Taker::connect(at)?).await,
        Kind::Nats => time(nats::Taker::connect(at).await?).await,
        Kind::Amqp => time(amqp::Taker::connect(at).await?).await,
    }
}

async fn time(mut taker: impl Take) -> Result<(), Failed> {
    let mut orders = Orders::new();
    say(&"ready")?;
    while let Some(messages) = orders.next().await? {
        let began = Instant::now();
        taker.take(messages).await?;
        say(&Speed { rate: messages as f64 / began.elapsed().as_secs_f64(), messages, ..Speed::default() })?;
    }
    Ok(())
}

/// How many messages a client has unacknowledged at most.
const WINDOW: usize = 1000;

async fn listen(mut tail: impl Consume) -> Result<(), Failed> {
    let (mut orders, mut ages) = (Orders::new(), Vec::new());
    say(&"ready")?;
    loop {
        tokio::select! {
            payload = tail.next() => ages.extend(age(&payload?)),
            order = orders.next::<Order>() => {
                if order?.is_none() {
                    return Ok(());
                }
                let (p50, p99) = percentiles(&mut std::mem::take(&mut ages));
                say(&Accepted { rate: 0.0, p50, p99 })?;
            }
        }
    }
}

/// Where messages are published to.
pub(crate) const TOPIC: &str = "speed";
/// Where messages come from that are delivered.
pub(crate) const DELIVERED: &str = "delivered";
/// Where messages come from that consumers fetch.
pub(crate) const FETCHED: &str = "fetched";
/// Where messages come from that a client consumes.
pub(crate) const TAILED: &str = "tailed";
/// Where messages come from that a client consumes and acknowledges.
pub(crate) const TAKEN: &str = "taken";
const TOPICS: [&str; 5] = [TOPIC, DELIVERED, FETCHED, TAILED, TAKEN];
