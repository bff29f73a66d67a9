//! Spans that have begun, and what is told of their ends.

use http::HeaderValue;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, Status};
use opentelemetry_sdk::trace::Span;
use sidespan_bridge::{Error, Message, Receipt, Settlement};

use super::attributes::{ERROR_TYPE, HTTP_STATUS, error_type, position};
use crate::telemetry::context::{self, Traceparent};

/// A publish until the broker has answered.
pub(super) struct Sending {
    pub(super) span: Span,
    pub(super) system: &'static str,
}

impl Sending {
    /// Ends it with the outcomes of its messages.
    pub(super) fn end(mut self, outcomes: &[Result<Receipt, Error>]) {
        if let [Ok(receipt)] = outcomes {
            self.span.set_attributes(position(receipt.position, self.system));
        }
        if let Some(error) = outcomes.iter().find_map(|outcome| outcome.as_ref().err()) {
            fail(&mut self.span, error_type(error.fault));
        }
    }
}

/// An attempt that is made. In a box, since every message on its way has room for one.
#[derive(Debug)]
pub struct Processing(pub(super) Box<Span>);

impl Processing {
    /// Returns the context that its target is called with, as `traceparent`.
    pub fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&Traceparent::of(self.0.span_context())?.text()).ok()
    }

    /// Has the answer to a request go on from the attempt, unless whoever answered went on from it already.
    pub fn leads_to(&self, answer: &mut Message) {
        let Some(own) = Traceparent::of(self.0.span_context()) else { return };
        let known = context::of(&answer.headers);
        if known.is_none_or(|known| known.trace_id() != own.trace_id()) {
            context::set(&mut answer.headers, own);
        }
    }

    /// Notes the status that the target answered.
    pub fn answered(&mut self, status: u16) {
        self.0.set_attribute(KeyValue::new(HTTP_STATUS, i64::from(status)));
    }

    /// Ends it; a failure has the name of one, or a status.
    pub fn end(mut self, failure: Option<String>) {
        if let Some(failure) = failure {
            fail(&mut self.0, failure);
        }
    }
}

/// A reply until the broker has it.
#[derive(Debug)]
pub struct Replying(pub(super) Span);

impl Replying {
    /// Ends it with what the broker answered.
    pub fn end(mut self, sent: &Result<(), Error>) {
        if let Err(error) = sent {
            fail(&mut self.0, error_type(error.fault));
        }
    }
}

/// Notes how a settlement ended.
pub(super) fn settled(span: &mut Span, settlement: Settlement) {
    match settlement {
        Settlement::Confirmed => {}
        Settlement::Stale => fail(span, "stale".to_owned()),
    }
}

pub(super) fn fail(span: &mut Span, error_type: String) {
    span.set_status(Status::error(error_type.clone()));
    span.set_attribute(KeyValue::new(ERROR_TYPE, error_type));
}
