//! What Sidespan says of itself: its [`log`], its [`metrics`], and its [`traces`], whose [`context`] goes with
//! messages.

pub mod collector;
pub mod context;
pub mod counts;
pub mod log;
pub mod metrics;
pub mod names;
pub mod traces;
