//! The duty to settle one message.

use std::sync::Arc;
use std::time::Duration;

use sidespan_bridge::{Epoch, Settle, Settled, Settlement, Verdict};
use tokio::sync::watch;
use tokio::time::Instant;

use super::shared::{Arrived, Progress, Shared};

/// Settles one message. Keeps a copy, so that a release costs the broker nothing.
pub(super) struct Token {
    shared: Arc<Shared>,
    epoch: Epoch,
    arrived: Arrived,
}

impl Token {
    pub(super) fn new(shared: Arc<Shared>, epoch: Epoch, arrived: Arrived) -> Self {
        Self { shared, epoch, arrived }
    }

    fn accept(self) -> Settled {
        let Self { shared, epoch, arrived } = self;
        match shared.accept(epoch, arrived.tag, arrived.message.weight()) {
            Some((batch, progress)) if shared.durable => Settled::when(confirmed(batch, progress)),
            Some(_) | None => Settled::ready(Settlement::Stale),
        }
    }
}

impl Settle for Token {
    fn settle(self: Box<Self>, verdict: Verdict) -> Settled {
        match verdict {
            Verdict::Accept => self.accept(),
            // A cursor settles nothing, and so it releases nothing.
            Verdict::Release { .. } if !self.shared.durable => self.accept(),
            Verdict::Release { after } => {
                let due = Instant::now() + after.min(LONGEST_DELAY);
                let ours = self.shared.release(self.epoch, due, self.arrived);
                Settled::ready(if ours { Settlement::Confirmed } else { Settlement::Stale })
            }
        }
    }
}

/// Waits until the broker has a batch of acknowledgements.
async fn confirmed(batch: u64, mut progress: watch::Receiver<Progress>) -> Settlement {
    match progress.wait_for(|progress| progress.over || progress.confirmed >= batch).await {
        Ok(progress) if progress.confirmed >= batch => Settlement::Confirmed,
        _ => Settlement::Stale,
    }
}

/// A delay is cut to this, as instants have an end.
const LONGEST_DELAY: Duration = Duration::from_secs(366 * 24 * 3600);
