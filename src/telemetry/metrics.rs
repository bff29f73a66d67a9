//! Metrics: counted where something happens by handles that are found once, and read when somebody looks.
//!
//! A [`Snapshot`] is one look: every part of the server puts into it what it knows, with the names of
//! [`super::names`], and it is written as OpenMetrics, as Prometheus' own text, or sent by OTLP.
//!
//! # Why the histograms are our own
//!
//! Those of client libraries take a lock for each observation, and a second one for an exemplar. Here an
//! observation is two additions; what a library would save is the writing of some lines of text.

mod export;
mod histogram;
mod meter;
mod otlp;
mod process;
mod snapshot;
mod text;

pub use export::Exporter;
pub use histogram::{BOUNDS, Histogram, TraceId};
pub use meter::{Asking, ErrorType, Meter, Sending, TopicMeter};
pub use process::process;
pub use snapshot::{Family, Number, Point, Snapshot, Value};
pub use text::Format;
