//! What Sidespan says of itself: its [`log`], its [`metrics`], and the context of traces that goes with messages.

pub mod context;
pub mod counts;
pub mod log;
pub mod metrics;
pub mod names;
