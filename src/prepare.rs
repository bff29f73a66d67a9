//! Has the declared topics made, where a bridge's settings say that it may make topics.
//!
//! A name in the configuration is no accident, so a service that publishes first should not be told
//! that its topic is unknown. Names that callers make up are never made here.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sidespan_bridge::{Fault, Topic};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::publish::{Outlet, Route};

/// How long one attempt may take, and the longest wait before the next.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The topics that are being made. Dropped, it stops.
#[derive(Debug)]
pub struct Preparing {
    _tasks: JoinSet<()>,
    /// One clone for each topic of which the broker has said nothing yet.
    unknown: Weak<()>,
}

impl Preparing {
    /// Returns what counts the topics of which the broker has said nothing yet: whoever publishes
    /// there is told that they don't exist, though they may be about to.
    pub fn unknown(&self) -> Unknown {
        Unknown(self.unknown.clone())
    }
}

/// Counts the topics of which the broker has said nothing yet.
#[derive(Debug)]
pub struct Unknown(Weak<()>);

impl Unknown {
    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.0.strong_count()
    }
}

/// Begins to make what is missing; tries again while a broker is away.
pub fn topics(routes: &[Route]) -> Preparing {
    let mut tasks = JoinSet::new();
    let mark = Arc::new(());
    for route in routes {
        tasks.spawn(ensure(route.outlet().clone(), route.address().clone(), mark.clone()));
    }
    Preparing { _tasks: tasks, unknown: Arc::downgrade(&mark) }
}

async fn ensure(outlet: Arc<Outlet>, topic: Topic, mark: Arc<()>) {
    let (mut mark, mut said) = (Some(mark), String::new());
    let mut wait = Duration::from_millis(200);
    // Until it is seen that the broker lets us in, a denial may be about credentials and not the topic.
    let mut let_in = false;
    loop {
        let deadline = Instant::now() + PATIENCE;
        match timeout_at(deadline, outlet.bridge().ensure(&topic, deadline)).await {
            Ok(Ok(())) => return,
            // The broker that is away is told by its health, over and over; a topic only here.
            Ok(Err(error)) if error.fault != Fault::Unavailable && error.fault != Fault::Timeout => {
                // Once, and again when it is something else.
                let reason = error.to_string();
                if reason != said {
                    tracing::warn!(bridge = %outlet.name(), %topic, error = reason, "a declared topic cannot be used yet");
                    said = reason;
                }
                if error.fault == Fault::UnknownTopic {
                    return;
                }
                if error.fault == Fault::Denied && !let_in {
                    let_in =
                        matches!(timeout_at(deadline, outlet.bridge().probe(deadline)).await, Ok(Ok(())));
                    if let_in {
                        continue;
                    }
                } else {
                    drop(mark.take());
                }
            }
            Ok(Err(_)) | Err(_) => {}
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
