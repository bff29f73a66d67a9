//! Handles that are found once, and then count without a look-up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sidespan_bridge::{Error, Message, Receipt};

use super::histogram::{Histogram, TraceId};
use super::snapshot::Snapshot;
use crate::error::Class;
use crate::telemetry::counts::Count;
use crate::telemetry::names::{self, ERROR_TYPE, Metric, OTHER};

/// What went wrong, as a label says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorType {
    /// The slug of a problem's class, or a word of the same kind.
    Slug(&'static str),
    /// An HTTP status.
    Status(u16),
}

impl ErrorType {
    fn label(self) -> String {
        match self {
            Self::Slug(slug) => slug.replace('-', "_"),
            Self::Status(status) => status.to_string(),
        }
    }
}

/// How long one kind of work takes, apart by what went wrong.
#[derive(Debug, Default)]
pub struct Meter {
    done: Histogram,
    /// Looked up only where something went wrong; `None` has what is beyond the bound.
    failed: Mutex<BTreeMap<Option<ErrorType>, Arc<Histogram>>>,
}

impl Meter {
    /// Adds what something took.
    pub fn observe(&self, took: Duration, error: Option<ErrorType>, trace: Option<TraceId>) {
        match error {
            None => self.done.observe(took, trace),
            Some(error) => self.failed(error).observe(took, trace),
        }
    }

    /// Puts what there is into a snapshot. What never happened is not there.
    pub fn tell(&self, metric: &'static Metric, labels: &[(&'static str, &str)], out: &mut Snapshot) {
        let done = self.done.read();
        if done.count() > 0 {
            out.put(metric, labels, done);
        }
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (error, histogram) in failed {
            let error = error.map_or_else(|| OTHER.to_owned(), ErrorType::label);
            out.put(metric, &with(labels, ERROR_TYPE, &error), histogram.read());
        }
    }

    fn failed(&self, error: ErrorType) -> Arc<Histogram> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = failed.contains_key(&Some(error)) || failed.len() < MOST_ERRORS;
        failed.entry(is_known.then_some(error)).or_default().clone()
    }
}

/// What is counted of a topic that is published to.
#[derive(Debug, Default)]
pub struct TopicMeter {
    send: Meter,
    request: Meter,
    stored: Count,
    unsent: Mutex<BTreeMap<&'static str, u64>>,
}

impl TopicMeter {
    /// Begins a publish.
    pub fn begin(self: Arc<Self>, batch: &[Message]) -> Sending {
        Sending { trace: batch.first().and_then(TraceId::sampled), began: Instant::now(), meter: self }
    }

    /// Begins a request, which is a publish of one message and the wait for its reply.
    pub fn ask(self: Arc<Self>, message: &Message) -> Asking {
        Asking {
            trace: TraceId::sampled(message),
            began: Instant::now(),
            meter: self,
            error: Some(ABANDONED),
        }
    }

    /// Puts what there is into a snapshot.
    pub fn tell(&self, labels: &[(&'static str, &str)], out: &mut Snapshot) {
        out.put(&names::SENT_MESSAGES, labels, self.stored.value());
        for (slug, number) in &*self.unsent.lock().unwrap_or_else(PoisonError::into_inner) {
            let error = ErrorType::Slug(slug).label();
            out.put(&names::SENT_MESSAGES, &with(labels, ERROR_TYPE, &error), *number);
        }
        self.send.tell(&names::OPERATION_DURATION, &with(labels, names::OPERATION, "send"), out);
        self.request.tell(&names::OPERATION_DURATION, &with(labels, names::OPERATION, "request"), out);
    }

    fn unsent(&self, slug: &'static str) {
        // As many as there are classes of problems.
        *self.unsent.lock().unwrap_or_else(PoisonError::into_inner).entry(slug).or_default() += 1;
    }
}

/// A publish that is under way.
#[derive(Debug)]
pub struct Sending {
    meter: Arc<TopicMeter>,
    began: Instant,
    trace: Option<TraceId>,
}

impl Sending {
    /// Counts what came of it: once for the call, and once for each message.
    pub fn end(&self, outcomes: &[Result<Receipt, Error>]) {
        let mut first = None;
        let mut stored = 0;
        for outcome in outcomes {
            match outcome {
                Ok(_) => stored += 1,
                Err(error) => {
                    let slug = Class::of(error.fault).slug;
                    first.get_or_insert(ErrorType::Slug(slug));
                    self.meter.unsent(slug);
                }
            }
        }
        self.meter.stored.add(stored);
        self.meter.send.observe(self.began.elapsed(), first, self.trace);
    }
}

/// A request that is under way. Dropped before its end, it is one that its caller has left.
#[derive(Debug)]
pub struct Asking {
    meter: Arc<TopicMeter>,
    began: Instant,
    trace: Option<TraceId>,
    error: Option<&'static str>,
}

impl Asking {
    /// Counts what came of it.
    pub fn end(mut self, reply: Result<&Message, &Error>) {
        self.error = reply.err().map(|error| Class::of(error.fault).slug);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        match self.error {
            Some(slug) => self.meter.unsent(slug),
            None => self.meter.stored.count(),
        }
        self.meter.request.observe(self.began.elapsed(), self.error.map(ErrorType::Slug), self.trace);
    }
}

fn with<'a>(
    labels: &[(&'static str, &'a str)],
    label: &'static str,
    value: &'a str,
) -> Vec<(&'static str, &'a str)> {
    labels.iter().copied().chain([(label, value)]).collect()
}

/// What a request ends with whose caller does not wait for its reply.
const ABANDONED: &str = "abandoned";
/// How many errors of one kind of work are told apart: a receiver may answer with any status.
const MOST_ERRORS: usize = 20;

#[cfg(test)]
mod tests {
    use super::super::text::Format;
    use super::*;

    #[test]
    fn however_many_statuses_there_are_the_series_are_bounded() {
        let meter = Meter::default();
        for status in 300..600 {
            meter.observe(Duration::from_millis(1), Some(ErrorType::Status(status)), None);
        }
        let mut snapshot = Snapshot::default();
        meter.tell(&names::PROCESS_DURATION, &[(names::SUBSCRIPTION, "s")], &mut snapshot);
        let text = snapshot.write(Format::Plain);
        let counts: Vec<&str> = text.lines().filter(|line| line.contains("_count{")).collect();
        assert_eq!(counts.len(), MOST_ERRORS + 1, "{text}");
        assert!(counts.iter().any(|line| line.contains("error_type=\"_other\"} 280")), "{text}");
    }
}
