//! The load: some publishers, each with one request outstanding, for a while.
//!
//! Closed loops, and the same for every way to publish, so that what differs is the way alone.

use std::future::Future;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Failed;
use crate::brokers::Kind;
use crate::part::{Orders, say};

/// What is published to.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// By which client
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Kind>,
    /// Where
    #[arg(long)]
    pub(crate) at: String,
    /// To what topic
    #[arg(long)]
    pub(crate) topic: String,
    /// How many requests are outstanding
    #[arg(long)]
    pub(crate) publishers: usize,
    /// How many messages go with a request
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
    /// Whether each message is a request, which is answered by its reply
    #[arg(long)]
    pub(crate) ask: bool,
    /// How long each waits after an answer, in milliseconds
    #[arg(long, default_value_t = 0)]
    pub(crate) pause: u64,
}

/// A way to publish.
pub(crate) trait Publish: Send + 'static {
    /// Makes one request, and returns when its messages are stored, or its reply is there.
    fn publish(&mut self, message: &Message) -> impl Future<Output = Result<(), Failed>> + Send;
}

/// What is published.
pub(crate) struct Message {
    /// The same for all that one publisher publishes.
    pub(crate) key: String,
    /// [`SIZE`] bytes, which begin with the time.
    pub(crate) body: Vec<u8>,
}

/// How fast it went.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Speed {
    /// Messages a second.
    pub(crate) rate: f64,
    /// Messages that were stored.
    pub(crate) messages: usize,
    /// Requests that were not answered as they should.
    pub(crate) failed: usize,
    /// What half of the requests took at most, in microseconds.
    pub(crate) p50: f64,
    /// What 99 of 100 took at most.
    pub(crate) p99: f64,
}

/// Runs a load for as many seconds as each order says.
pub(crate) async fn serve<P: Publish>(publishers: Vec<P>, target: &Target) -> Result<(), Failed> {
    let named = |(number, publisher)| (Message::new(number), publisher);
    let mut publishers: Vec<_> = publishers.into_iter().enumerate().map(named).collect();
    let mut orders = Orders::new();
    say(&"ready")?;
    while let Some(seconds) = orders.next::<f64>().await? {
        say(&run(&mut publishers, target, Duration::from_secs_f64(seconds)).await?)?;
    }
    Ok(())
}

async fn run<P: Publish>(
    publishers: &mut Vec<(Message, P)>,
    target: &Target,
    time: Duration,
) -> Result<Speed, Failed> {
    let began = Instant::now();
    let pause = Duration::from_millis(target.pause);
    let mut running = JoinSet::new();
    for (message, publisher) in publishers.drain(..) {
        running.spawn(repeat(message, publisher, began + time, pause));
    }
    let (mut took, mut failed) = (Vec::new(), 0);
    while let Some(ended) = running.join_next().await {
        let (publisher, each, failures) = ended?;
        publishers.push(publisher);
        took.extend(each);
        failed += failures;
    }
    let messages = took.len() * target.batch;
    let rate = messages as f64 / began.elapsed().as_secs_f64();
    let (p50, p99) = percentiles(&mut took);
    Ok(Speed { rate, messages, failed, p50, p99 })
}

async fn repeat<P: Publish>(
    mut message: Message,
    mut publisher: P,
    end: Instant,
    pause: Duration,
) -> ((Message, P), Vec<Duration>, usize) {
    let (mut took, mut failed) = (Vec::new(), 0);
    loop {
        let began = Instant::now();
        if began >= end {
            return ((message, publisher), took, failed);
        }
        message.stamp();
        match publisher.publish(&message).await {
            Ok(()) => took.push(began.elapsed()),
            Err(error) => {
                if failed == 0 {
                    eprintln!("benches/run: a message was not stored: {error}");
                }
                failed += 1;
            }
        }
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
}

/// Returns in microseconds what half of them, and 99 of 100, are at most.
pub(crate) fn percentiles(times: &mut [Duration]) -> (f64, f64) {
    times.sort_unstable();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
    (at(0.5).as_secs_f64() * 1e6, at(0.99).as_secs_f64() * 1e6)
}

impl Message {
    fn new(number: usize) -> Self {
        Self { key: format!("key-{number}"), body: vec![b'x'; SIZE] }
    }

    /// Writes the time to where [`age`] reads it.
    fn stamp(&mut self) {
        let stamp = format!("{:020}", now());
        self.body[..STAMP].copy_from_slice(stamp.as_bytes());
    }
}

/// Tells how long ago a message was published, whichever process that was in.
pub(crate) fn age(body: &[u8]) -> Option<Duration> {
    let then: u64 = std::str::from_utf8(body.get(..STAMP)?).ok()?.parse().ok()?;
    Some(Duration::from_nanos(now().saturating_sub(then)))
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// How many bytes a message has.
pub(crate) const SIZE: usize = 256;
/// How many of them tell the time.
const STAMP: usize = 20;
