//! The load: some publishers, each with one message outstanding, for a while.
//!
//! Closed loops, and the same for every way to publish, so that what differs is the way alone.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Failed;

/// A way to publish a message.
pub(crate) trait Publish: Send + 'static {
    /// Publishes one, and returns when it is stored.
    fn publish(&mut self) -> impl Future<Output = Result<(), Failed>> + Send;
}

/// How fast it went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Speed {
    /// Messages that were stored.
    pub(crate) messages: usize,
    /// Messages a second.
    pub(crate) rate: f64,
    /// What half of them took at most.
    pub(crate) median: Duration,
    /// What 99 of 100 took at most.
    pub(crate) p99: Duration,
}

/// Lets all publish for so long, and gives them back. The first message that is not stored ends it.
pub(crate) async fn run<P: Publish>(publishers: &mut Vec<P>, time: Duration) -> Result<Speed, Failed> {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for publisher in publishers.drain(..) {
        running.spawn(repeat(publisher, began + time));
    }
    let mut took = Vec::new();
    while let Some(ended) = running.join_next().await {
        let (publisher, each) = ended??;
        publishers.push(publisher);
        took.extend(each);
    }
    Ok(Speed::of(took, began.elapsed()))
}

async fn repeat<P: Publish>(mut publisher: P, end: Instant) -> Result<(P, Vec<Duration>), Failed> {
    let mut took = Vec::new();
    let mut began = Instant::now();
    while began < end {
        publisher.publish().await?;
        let now = Instant::now();
        took.push(now - began);
        began = now;
    }
    Ok((publisher, took))
}

impl Speed {
    fn of(mut took: Vec<Duration>, time: Duration) -> Self {
        took.sort_unstable();
        let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default();
        Self {
            messages: took.len(),
            rate: took.len() as f64 / time.as_secs_f64(),
            median: at(0.5),
            p99: at(0.99),
        }
    }
}
