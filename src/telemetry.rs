//! What Sidespan says of itself: the [`log`], and what goes with a message for the sake of it.

pub mod counts;
pub mod log;
pub mod metrics;
pub mod names;

/// Tells whether a header or metadata of this name, in lower case, is trace context: it goes with the message.
pub fn is_trace(name: &str) -> bool {
    matches!(name, "traceparent" | "tracestate" | "baggage")
}
