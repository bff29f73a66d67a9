//! Stops in two phases, so that nothing is cut off that could have been finished.
//!
//! Phase one stops the intake of every subscription and finishes what is in flight, while the
//! publish door stays open: the service beside us may still have something to say. Phase two
//! hands what was settled to the brokers and leaves the groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::delivery::Roster;

/// The stopping of one server.
pub struct Drain {
    roster: Arc<Roster>,
    deadlines: config::Drain,
    started: CancellationToken,
    finished: OnceCell<Unfinished>,
    closing: AtomicBool,
}

/// What could not be finished. It stays with the broker and comes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unfinished {
    /// Attempts that were still running at the deadline.
    pub attempts: usize,
}

impl Drain {
    /// Prepares to stop these subscriptions.
    pub fn new(roster: Arc<Roster>, deadlines: config::Drain) -> Self {
        let (started, finished) = (CancellationToken::new(), OnceCell::new());
        Self { roster, deadlines, started, finished, closing: AtomicBool::new(false) }
    }

    /// Returns the token that is cancelled once stopping has begun.
    pub fn started(&self) -> CancellationToken {
        self.started.clone()
    }

    /// Phase one. Whoever calls it again waits for the first call's result.
    pub async fn deliveries(&self) -> Unfinished {
        let finish = async {
            self.started.cancel();
            tracing::info!(deadline = ?self.deadlines.deliveries, "draining deliveries");
            let deadline = Instant::now() + self.deadlines.deliveries;
            let attempts = join_all(self.roster.freeze().into_iter().map(|running| async move {
                if running.finish(deadline).await { 0 } else { running.status().in_flight }
            }));
            let unfinished = Unfinished { attempts: attempts.await.iter().sum() };
            tracing::info!(attempts_unfinished = unfinished.attempts, "deliveries drained");
            unfinished
        };
        *self.finished.get_or_init(|| finish).await
    }

    /// Phase two, for the subscriptions: hands over what was settled and leaves the groups. Returns
    /// how many messages were held and stay with their brokers.
    pub async fn close(&self, deadline: Instant) -> usize {
        self.closing.store(true, Ordering::Relaxed);
        self.roster.close(deadline).await.iter().map(|left| left.held).sum()
    }

    /// Returns the phase that it is in: 0 while nothing is stopping.
    pub fn phase(&self) -> u64 {
        match (self.started.is_cancelled(), self.closing.load(Ordering::Relaxed)) {
            (_, true) => 2,
            (true, false) => 1,
            (false, false) => 0,
        }
    }

    /// Returns how long phase two may take.
    pub fn shutdown(&self) -> Duration {
        self.deadlines.shutdown
    }
}
