//! Traces: what became of a message, told to an OpenTelemetry collector.
//!
//! The spans are those of OpenTelemetry's messaging conventions, each named by its operation and the broker's
//! address:
//!
//! | span | kind | is | parent |
//! |---|---|---|---|
//! | `send` | producer | a publish, until the broker has answered | what the request or the message came with |
//! | `receive` | client | a message that a broker gave us | the message's context |
//! | `process` | consumer | an attempt at a webhook or a gRPC receiver | the message's context |
//! | `send (temporary)` | producer | a reply, until the broker has it | what its sender did in the request's trace, such as `process`; else the request's context |
//! | `settle` | client | a verdict, until the broker has it where somebody waits for that | the message's context |
//!
//! A message carries the context of its `send` span, a webhook is called with that of its `process` span, and
//! consumers that fetch get the message's as it is. `receive`, `process` and `settle` link to the message's context too, as the
//! conventions want. Messages of a batch that come with contexts of their own keep them: then the batch's one
//! `send` span is a child of the first that is recorded, and links to the others.
//!
//! Who began a trace has decided whether it is recorded. Where it is not, or no collector is configured, there are
//! no spans, and what a message came with goes on as it is. A trace that begins here and is not recorded has ids
//! all the same, so that nobody behind us decides again.

mod attributes;
mod bridge;
mod export;
mod span;
mod tracer;

use std::fmt;
use std::sync::Arc;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use sidespan_bridge::Bridge;
use uuid::Uuid;

pub use export::Exporting;
pub use span::{Processing, Replying};
pub use tracer::{Attempt, Broker, Tracer};

use crate::config::{Otlp, Telemetry};

/// Makes the spans of a process, or none. Clones are cheap.
#[derive(Clone, Default)]
pub struct Traces(Option<(SdkTracer, f64)>);

impl Traces {
    /// Begins to tell a collector, if one is configured that takes traces: within a Tokio runtime, in a task of
    /// its own.
    pub fn start(telemetry: &Telemetry, service: &str) -> (Self, Option<Exporting>) {
        let Some(otlp) = telemetry.otlp.as_ref().filter(|otlp| otlp.traces) else {
            return (Self::default(), None);
        };
        let (tracer, exporting) = begin(otlp, service);
        (Self(Some((tracer, telemetry.ratio))), Some(exporting))
    }

    /// Makes the tracer of one bridge; none where there are no traces.
    pub fn of(&self, broker: Broker) -> Option<Tracer> {
        self.0.as_ref().map(|(tracer, ratio)| Tracer::new(tracer.clone(), *ratio, broker))
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traces").field(&self.0.is_some()).finish()
    }
}

/// Has a bridge make spans of what goes through it.
pub fn traced(bridge: Arc<dyn Bridge>, tracer: Option<&Tracer>) -> Arc<dyn Bridge> {
    match tracer {
        Some(tracer) => Arc::new(bridge::Traced::new(bridge, tracer.clone())),
        None => bridge,
    }
}

fn begin(otlp: &Otlp, service: &str) -> (SdkTracer, Exporting) {
    let resource = Resource::builder_empty()
        .with_service_name(service.to_owned())
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", Uuid::now_v7().to_string()),
            KeyValue::new("telemetry.sdk.name", "opentelemetry"),
            KeyValue::new("telemetry.sdk.language", "rust"),
            KeyValue::new("telemetry.distro.name", "sidespan"),
        ])
        .build();
    let (queue, exporting) = export::start(otlp.clone(), &resource);
    let provider = SdkTracerProvider::builder()
        // Of traces that begin here, only those that are to be recorded get so far.
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_span_processor(queue)
        .with_resource(resource)
        .build();
    let scope = InstrumentationScope::builder("sidespan").with_version(env!("CARGO_PKG_VERSION")).build();
    (provider.tracer_with_scope(scope), exporting)
}
