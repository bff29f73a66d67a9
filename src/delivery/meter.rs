//! What is counted of a subscription's messages, beyond what its status says.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sidespan_bridge::{Message, Settlement};

use super::retry::{Meaning, Reason};
use super::status::Gauge;
use super::target::Reply;
use crate::config::{Push, Subscription};
use crate::telemetry::counts::Count;
use crate::telemetry::metrics::{self, ErrorType, TraceId};

/// What is counted of one subscription. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    /// What goes by the subscription's name alone.
    pub(super) tally: Arc<Tally>,
    /// Messages that came.
    pub(super) consumed: Arc<Count>,
    /// How long attempts take.
    pub(super) process: Arc<metrics::Meter>,
    /// How long settlements take that somebody waits for.
    pub(super) settle: Arc<metrics::Meter>,
}

/// The counts of a subscription, however often it is begun anew.
#[derive(Debug, Default)]
pub(super) struct Tally {
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
    pub(super) dropped: Count,
    pub(super) held_bytes: AtomicUsize,
    pub(super) lanes: Gauge,
}

impl Meter {
    /// Returns the meter that goes on counting once the subscription `from` has become `to`: what has the same labels
    /// goes on, and what has others begins.
    pub(super) fn follow(&self, from: &Subscription, to: &Subscription) -> Self {
        let is_topic = from.topic == to.topic;
        let is_target = from.target.push().map(address) == to.target.push().map(address);
        Self {
            tally: self.tally.clone(),
            consumed: kept(&self.consumed, is_topic && from.group == to.group),
            process: kept(&self.process, is_topic && is_target),
            settle: kept(&self.settle, is_topic && from.bridge == to.bridge),
        }
    }

    /// Counts an attempt that began then; `pushed` is its message where it went out, and not to a shelf.
    pub(super) fn attempted(
        &self,
        meaning: Meaning,
        reply: &Reply,
        is_retry: bool,
        began: Instant,
        pushed: Option<&Message>,
    ) {
        let tally = &self.tally;
        if is_retry {
            tally.retries.count();
        }
        match meaning {
            Meaning::Accepted => tally.accepted.count(),
            Meaning::Failed => tally.failed.count(),
            Meaning::Gone => tally.gone.count(),
            Meaning::Refused => tally.refused.count(),
            Meaning::Unavailable => tally.unavailable.count(),
        }
        if let Some(message) = pushed {
            let error = (meaning != Meaning::Accepted).then(|| error(reply)).flatten();
            self.process.observe(began.elapsed(), error, TraceId::sampled(message));
        }
    }

    /// Counts what a consumer made of a message in the time that it had it.
    pub(super) fn fetched(&self, reply: &Reply, took: Duration, message: &Message) {
        let error = match reply {
            // A consumer answers only what it has handled.
            Reply::Answered(_) => None,
            Reply::Acked | Reply::Nacked(_) | Reply::Unanswered(_) | Reply::Unreachable(_) => error(reply),
        };
        self.process.observe(took, error, TraceId::sampled(message));
    }

    /// Counts a settlement that was waited for; `None` is one that was not known in time.
    pub(super) fn settled(&self, took: Duration, settlement: Option<Settlement>, trace: Option<TraceId>) {
        let error = match settlement {
            Some(Settlement::Confirmed) => None,
            Some(Settlement::Stale) => Some(ErrorType::Slug("stale")),
            None => Some(ErrorType::Slug("no-answer")),
        };
        self.settle.observe(took, error, trace);
    }

    /// Counts a dead letter that is stored.
    pub(super) fn buried(&self, reason: Reason) {
        match reason {
            Reason::Exhausted => self.tally.buried_exhausted.count(),
            Reason::Refused => self.tally.buried_refused.count(),
        }
    }
}

fn kept<T: Default>(part: &Arc<T>, is_same: bool) -> Arc<T> {
    if is_same { part.clone() } else { Arc::default() }
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

/// Returns host and port of what is pushed to.
pub(super) fn address(push: &Push) -> String {
    let host = push.url.host_str().unwrap_or_default();
    match push.url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The weight of a message, counted as held until this is dropped; by default of none.
#[derive(Default)]
pub(super) struct Held(Option<(Arc<Tally>, usize)>);

impl Held {
    pub(super) fn new(meter: Option<&Meter>, message: &Message) -> Self {
        Self(meter.map(|meter| {
            let weight = message.weight();
            meter.tally.held_bytes.fetch_add(weight, Ordering::Relaxed);
            (meter.tally.clone(), weight)
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
        if let Some((tally, weight)) = self.0.take() {
            tally.held_bytes.fetch_sub(weight, Ordering::Relaxed);
        }
    }
}
