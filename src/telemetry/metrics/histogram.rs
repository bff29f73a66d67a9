//! How long something takes: counted in buckets, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sidespan_bridge::Message;

/// Upper bounds of the buckets, in seconds. OpenTelemetry begins at 5 ms, which is where a sidecar is slow already.
pub const BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The same in nanoseconds.
const NANOS: [u64; 14] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Durations, in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
    /// The latest traced observation of each bucket; empty until there is one.
    exemplars: Mutex<Vec<Option<Exemplar>>>,
}

/// What a histogram holds at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Observations in each bucket alone, the one beyond all bounds last.
    pub buckets: Vec<u64>,
    /// Seconds, together.
    pub sum: f64,
    /// One of each bucket that can be looked at, where there is one.
    pub exemplars: Vec<Option<Exemplar>>,
}

/// An observation whose trace is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// The trace.
    pub trace: TraceId,
    /// Seconds.
    pub value: f64,
    /// When.
    pub time: SystemTime,
}

/// The id of a trace, as hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

impl TraceId {
    /// Returns the trace that a message belongs to, if that is kept (W3C Trace Context, `traceparent`).
    pub fn sampled(message: &Message) -> Option<Self> {
        let parent = message.header("traceparent")?;
        let id: [u8; 32] = parent.get(3..35)?.try_into().ok()?;
        let flags = std::str::from_utf8(parent.get(53..55)?).ok()?;
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        let is_id = id.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) && id != [b'0'; 32];
        (is_sampled && is_id).then_some(Self(id))
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        // Only digits are ever taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Histogram {
    /// Adds an observation; its trace, if that is kept, is an example of its bucket.
    pub fn observe(&self, took: Duration, trace: Option<TraceId>) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = NANOS.partition_point(|bound| *bound < nanos);
        if let Some(count) = self.buckets.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        // Of two at once one is enough.
        if let (Some(trace), Ok(mut exemplars)) = (trace, self.exemplars.try_lock()) {
            exemplars.resize(self.buckets.len(), None);
            if let Some(exemplar) = exemplars.get_mut(bucket) {
                *exemplar = Some(Exemplar { trace, value: took.as_secs_f64(), time: SystemTime::now() });
            }
        }
    }

    /// Returns what there is.
    pub fn read(&self) -> Reading {
        Reading {
            buckets: self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64(),
            exemplars: self.exemplars.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Reading {
    /// Returns how many observations there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use sidespan_bridge::Header;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn traced(parent: &'static str) -> Option<TraceId> {
        let headers = vec![Header::new("Traceparent", parent)];
        TraceId::sampled(&Message { headers, ..Message::default() })
    }

    #[test]
    fn the_bounds_are_the_same_in_both_units() {
        let seconds = NANOS.map(|nanos| Duration::from_nanos(nanos).as_secs_f64());
        assert_eq!(seconds, BOUNDS);
    }

    #[test]
    fn an_observation_is_in_the_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::default();
        for millis in [1, 2, 20_000] {
            histogram.observe(Duration::from_millis(millis), None);
        }
        let read = histogram.read();
        assert_eq!((read.buckets[1], read.buckets[2], read.buckets[14]), (1, 1, 1));
        assert_eq!((read.count(), read.sum), (3, 20.003));
        assert!(read.exemplars.is_empty());
    }

    #[test]
    fn only_a_trace_that_is_kept_is_an_example() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(2), traced(PARENT));
        let exemplar = histogram.read().exemplars[2].unwrap();
        assert_eq!(exemplar.trace.as_str(), "0af7651916cd43dd8448eb211c80319c");
        for parent in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7",
            "",
        ] {
            assert_eq!(traced(parent), None, "{parent}");
        }
    }
}
