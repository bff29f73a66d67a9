//! Settlements that somebody waits for.

use std::time::Instant;

use sidespan_bridge::{Settled, Settlement};
use tokio::time::{self, timeout_at};

use super::Running;
use crate::telemetry::metrics::TraceId;

/// A message that is being settled as handled.
#[derive(Debug)]
pub struct Settling {
    pub(super) settled: Settled,
    pub(super) began: Instant,
    pub(super) trace: Option<TraceId>,
}

impl Running {
    /// Waits until the broker has a settlement; `None` where that is not known by the deadline. One that stores
    /// nothing takes note of none, and nothing comes again.
    pub async fn confirmed(&self, settling: Settling, deadline: time::Instant) -> Option<Settlement> {
        let Settling { settled, began, trace } = settling;
        if !self.is_stored() {
            return Some(Settlement::Confirmed);
        }
        let settlement = timeout_at(deadline, settled).await.ok();
        if let Some(meter) = &self.board.meter {
            meter.settled(began.elapsed(), settlement, trace);
        }
        settlement
    }
}
