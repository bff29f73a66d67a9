//! What is counted of a subscription's messages, beyond what its status says.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sidespan_bridge::Message;

use super::retry::{Meaning, Reason};
use super::status::{Board, Gauge};
use super::target::Reply;
use crate::telemetry::counts::Count;
use crate::telemetry::metrics::{self, ErrorType, TraceId};

/// The counts of one subscription.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) consumed: Count,
    pub(super) retries: Count,
    /// Parts of the subscription that went elsewhere.
    pub(super) lost: Count,
    pub(super) accepted: Count,
    pub(super) failed: Count,
    pub(super) gone: Count,
    pub(super) refused: Count,
    pub(super) unavailable: Count,
    pub(super) buried_exhausted: Count,
    pub(super) buried_refused: Count,
    pub(super) held_bytes: AtomicUsize,
    pub(super) lanes: Gauge,
    /// How long attempts take.
    pub(super) process: metrics::Meter,
    /// How long settlements take that somebody waits for.
    pub(super) settle: metrics::Meter,
}

impl Meter {
    /// Counts an attempt that began then; `pushed` is its message where it went out, and not to a shelf.
    pub(super) fn attempted(
        &self,
        meaning: Meaning,
        reply: &Reply,
        is_retry: bool,
        began: Instant,
        pushed: Option<&Message>,
    ) {
        if is_retry {
            self.retries.count();
        }
        match meaning {
            Meaning::Accepted => self.accepted.count(),
            Meaning::Failed => self.failed.count(),
            Meaning::Gone => self.gone.count(),
            Meaning::Refused => self.refused.count(),
            Meaning::Unavailable => self.unavailable.count(),
        }
        if let Some(message) = pushed {
            let error = (meaning != Meaning::Accepted).then(|| error(reply)).flatten();
            self.process.observe(began.elapsed(), error, TraceId::sampled(message));
        }
    }

    /// Counts a settlement that was waited for.
    pub(super) fn settled(&self, took: Duration, is_confirmed: bool, message: &Message) {
        let error = (!is_confirmed).then_some(ErrorType::Slug("stale"));
        self.settle.observe(took, error, TraceId::sampled(message));
    }

    /// Counts a dead letter that is stored.
    pub(super) fn buried(&self, reason: Reason) {
        match reason {
            Reason::Exhausted => self.buried_exhausted.count(),
            Reason::Refused => self.buried_refused.count(),
        }
    }
}

fn error(reply: &Reply) -> Option<ErrorType> {
    match reply {
        Reply::Acked => None,
        Reply::Answered(answer) => Some(ErrorType::Status(answer.status)),
        Reply::Nacked(_) => Some(ErrorType::Slug("given-back")),
        Reply::Unanswered(_) => Some(ErrorType::Slug("no-answer")),
        Reply::Unreachable(_) => Some(ErrorType::Slug("unreachable")),
    }
}

/// The weight of a message, counted as held until this is dropped; by default of none.
#[derive(Default)]
pub(super) struct Held(Option<(Arc<Board>, usize)>);

impl Held {
    pub(super) fn new(board: &Arc<Board>, message: &Message) -> Self {
        Self(board.meter.as_ref().map(|meter| {
            let weight = message.weight();
            meter.held_bytes.fetch_add(weight, Ordering::Relaxed);
            (board.clone(), weight)
        }))
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((board, weight)) = self.0.take()
            && let Some(meter) = &board.meter
        {
            meter.held_bytes.fetch_sub(weight, Ordering::Relaxed);
        }
    }
}
