//! Begins the spans of one bridge.

use std::str::FromStr;
use std::sync::Arc;

use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, TraceContextExt, TraceState, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracer, Span};
use sidespan_bridge::{Delivery, Message, Position, Topic, Verdict};
use url::Url;

use super::attributes::*;
use super::span::{Processing, Replying, Sending};
use crate::config::Name;
use crate::telemetry::context::{self, Traceparent};

/// A bridge, as spans tell of it.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Its name in the configuration.
    pub bridge: Name,
    /// What kind of broker it speaks to, as the configuration names it.
    pub kind: &'static str,
    /// The host and port of the broker, where there is only one.
    pub server: Option<(String, u16)>,
}

/// Begins the spans of one bridge. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Tracer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tracer: SdkTracer,
    /// How many of the traces that begin here are recorded, of 1.
    ratio: f64,
    system: &'static str,
    broker: Broker,
}

/// An attempt at a target, as its span tells of it.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The message.
    pub message: &'a Message,
    /// Where it was found.
    pub topic: &'a Topic,
    /// Where it stands there.
    pub position: Option<Position>,
    /// The subscription.
    pub subscription: &'a str,
    /// Its group.
    pub group: &'a str,
    /// Which attempt, from 1.
    pub number: u32,
    /// The target.
    pub url: &'a Url,
}

impl Tracer {
    pub(super) fn new(tracer: SdkTracer, ratio: f64, broker: Broker) -> Self {
        Self(Arc::new(Inner { tracer, ratio, system: system(broker.kind), broker }))
    }

    /// Decides about a trace that begins here. One that is not recorded has ids all the same; the SDK would take a
    /// microsecond to tell them.
    fn unrecorded(&self) -> Option<Traceparent> {
        let ids = RandomIdGenerator::default();
        let (trace, span) = (ids.new_trace_id(), ids.new_span_id());
        let [.., a, b, c, d] = trace.to_bytes();
        let drawn = f64::from(u32::from_be_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0);
        if drawn < self.0.ratio { None } else { Traceparent::new(trace, span, false) }
    }

    /// Begins to send messages, and gives them the context of that. None where it is not recorded.
    pub(super) fn send(&self, topic: &Topic, batch: &mut [Message]) -> Option<Sending> {
        let first = batch.first()?;
        let shared = context::of(&first.headers);
        if batch.iter().skip(1).any(|message| context::of(&message.headers) != shared) {
            return self.send_mixed(topic, batch);
        }
        if shared.is_some_and(|parent| !parent.is_sampled()) {
            return None;
        }
        if shared.is_none()
            && let Some(own) = self.unrecorded()
        {
            batch.iter_mut().for_each(|message| context::set(&mut message.headers, own));
            return None;
        }
        let parent = shared.map(|parent| (parent, state(&first.headers)));
        let span = self.begin("send", SpanKind::Producer, Place::Topic(topic), parent);
        if let Some(own) = Traceparent::of(span.span_context()) {
            batch.iter_mut().for_each(|message| context::set(&mut message.headers, own));
        }
        self.sending(span, batch)
    }

    /// Messages that were made in contexts of their own keep them.
    fn send_mixed(&self, topic: &Topic, batch: &mut [Message]) -> Option<Sending> {
        let mut recorded: Vec<(Traceparent, TraceState)> = Vec::new();
        for message in &*batch {
            let Some(own) = context::of(&message.headers).filter(Traceparent::is_sampled) else { continue };
            if recorded.len() < MOST_LINKS && recorded.iter().all(|(known, _)| *known != own) {
                recorded.push((own, state(&message.headers)));
            }
        }
        let parent = recorded.first().cloned()?;
        let mut span = self.begin("send", SpanKind::Producer, Place::Topic(topic), Some(parent));
        for (context, state) in recorded {
            span.add_link(context.remote(state), Vec::new());
        }
        if let Some(own) = Traceparent::of(span.span_context()) {
            let bare = batch.iter_mut().filter(|message| context::of(&message.headers).is_none());
            bare.for_each(|message| context::set(&mut message.headers, own));
        }
        self.sending(span, batch)
    }

    fn sending(&self, mut span: Span, batch: &[Message]) -> Option<Sending> {
        if !span.is_recording() {
            return None;
        }
        match batch {
            [one] => span.set_attributes(message(one, self.0.system)),
            many => {
                let count = i64::try_from(many.len()).unwrap_or(i64::MAX);
                span.set_attribute(KeyValue::new(BATCH_COUNT, count));
            }
        }
        Some(Sending { span, system: self.0.system })
    }

    /// Notes that a message has come. Returns the context that it is settled in, where it is recorded.
    pub(super) fn receive(&self, delivery: &mut Delivery, group: Option<&str>) -> Option<Received> {
        let parent = context::of(&delivery.message.headers);
        let is_unrecorded = match parent {
            Some(parent) => !parent.is_sampled(),
            None => self.unrecorded().is_some(),
        };
        if is_unrecorded {
            return None;
        }
        let known = parent.map(|parent| (parent, state(&delivery.message.headers)));
        let mut span = self.begin("receive", SpanKind::Client, Place::Topic(&delivery.topic), known.clone());
        if !span.is_recording() {
            return None;
        }
        let context = match known {
            Some((parent, state)) => {
                span.add_link(parent.remote(state.clone()), Vec::new());
                (parent, state)
            }
            // What began without a trace begins one here.
            None => {
                let own = Traceparent::of(span.span_context())?;
                context::set(&mut delivery.message.headers, own);
                (own, TraceState::NONE)
            }
        };
        let (topic, position, id) = (delivery.topic.clone(), delivery.position, delivery.message.id.clone());
        let received =
            Received { tracer: self.clone(), context, topic, position, id, group: group.map(Into::into) };
        span.set_attributes(message(&delivery.message, self.0.system));
        received.tell(&mut span);
        Some(received)
    }

    /// Begins an attempt; none where the message's trace is not recorded.
    pub fn process(&self, attempt: &Attempt<'_>) -> Option<Processing> {
        let parent = context::of(&attempt.message.headers).filter(Traceparent::is_sampled)?;
        let state = state(&attempt.message.headers);
        let place = Place::Topic(attempt.topic);
        let mut span = self.begin("process", SpanKind::Consumer, place, Some((parent, state.clone())));
        span.add_link(parent.remote(state), Vec::new());
        span.set_attributes(message(attempt.message, self.0.system));
        span.set_attributes(position(attempt.position, self.0.system));
        span.set_attributes([
            KeyValue::new(GROUP, attempt.group.to_owned()),
            KeyValue::new(SUBSCRIPTION, attempt.subscription.to_owned()),
            KeyValue::new(ATTEMPT, i64::from(attempt.number)),
        ]);
        // Whom it is made at is of more use here than which broker the message came from.
        let host = attempt.url.host_str().map(|host| KeyValue::new(SERVER_ADDRESS, host.to_owned()));
        let port =
            attempt.url.port_or_known_default().map(|port| KeyValue::new(SERVER_PORT, i64::from(port)));
        span.set_attributes(host.into_iter().chain(port));
        Some(Processing(Box::new(span)))
    }

    /// Begins to send the reply to a request, and gives it the context of that: in the request's trace, behind what
    /// its sender has done there. None where the request's trace is not recorded.
    pub fn reply(&self, request: &Message, to: &str, reply: &mut Message) -> Option<Replying> {
        let asked = context::of(&request.headers).filter(Traceparent::is_sampled)?;
        let own = context::of(&reply.headers)
            .filter(|own| own.is_sampled() && own.trace_id() == asked.trace_id())
            .map(|own| (own, state(&reply.headers)));
        let parent = own.unwrap_or_else(|| (asked, state(&request.headers)));
        let mut span = self.begin("send", SpanKind::Producer, Place::Asker(to), Some(parent));
        span.set_attributes(message(reply, self.0.system));
        context::set(&mut reply.headers, Traceparent::of(span.span_context())?);
        Some(Replying(span))
    }

    fn begin(
        &self,
        operation: &'static str,
        kind: SpanKind,
        place: Place<'_>,
        parent: Option<(Traceparent, TraceState)>,
    ) -> Span {
        let Inner { tracer, ratio: _, system, broker } = &*self.0;
        let context = match parent {
            Some((parent, state)) => Context::new().with_remote_span_context(parent.remote(state)),
            None => Context::new(),
        };
        let is_at_target = kind == SpanKind::Consumer;
        // What costs something is told only of what is recorded.
        let mut span = tracer.build_with_context(SpanBuilder::from_name("").with_kind(kind), &context);
        if span.is_recording() {
            let address = match place {
                Place::Topic(topic) => {
                    span.update_name(format!("{operation} {topic}"));
                    topic.as_str()
                }
                // Each asker has one of its own, and that many names would be no names.
                Place::Asker(address) => {
                    span.update_name(format!("{operation} (temporary)"));
                    span.set_attribute(KeyValue::new(TEMPORARY, true));
                    address
                }
            };
            span.set_attributes([
                KeyValue::new(SYSTEM, *system),
                KeyValue::new(DESTINATION, address.to_owned()),
                KeyValue::new(OPERATION_NAME, operation),
                KeyValue::new(OPERATION_TYPE, operation),
                KeyValue::new(BRIDGE, broker.bridge.to_string()),
            ]);
            span.set_attributes(routing_key(address, system));
            if let Some((host, port)) = broker.server.as_ref().filter(|_| !is_at_target) {
                span.set_attribute(KeyValue::new(SERVER_ADDRESS, host.clone()));
                span.set_attribute(KeyValue::new(SERVER_PORT, i64::from(*port)));
            }
        }
        span
    }
}

/// Where something is sent to, or comes from.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    /// The address of one who has asked.
    Asker(&'a str),
    Topic(&'a Topic),
}

/// A message that came, as its settlement tells of it.
pub(super) struct Received {
    tracer: Tracer,
    context: (Traceparent, TraceState),
    topic: Topic,
    position: Option<Position>,
    id: Option<Box<str>>,
    group: Option<Box<str>>,
}

impl Received {
    /// Begins to settle it.
    pub(super) fn settle(&self, verdict: Verdict) -> Span {
        let (parent, state) = self.context.clone();
        let place = Place::Topic(&self.topic);
        let mut span = self.tracer.begin("settle", SpanKind::Client, place, Some((parent, state.clone())));
        span.add_link(parent.remote(state), Vec::new());
        let word = match verdict {
            Verdict::Accept => "accept",
            Verdict::Release { .. } => "release",
        };
        span.set_attribute(KeyValue::new(VERDICT, word));
        span.set_attributes(self.id.as_ref().map(|id| KeyValue::new(MESSAGE_ID, id.to_string())));
        self.tell(&mut span);
        span
    }

    fn tell(&self, span: &mut Span) {
        span.set_attributes(position(self.position, self.tracer.0.system));
        span.set_attributes(self.group.as_ref().map(|group| KeyValue::new(GROUP, group.to_string())));
    }
}

/// What cannot be read is told to nobody; it goes on with the message all the same.
fn state(headers: &[sidespan_bridge::Header]) -> TraceState {
    context::state(headers).and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default()
}

/// As many as the SDK keeps.
const MOST_LINKS: usize = 128;
