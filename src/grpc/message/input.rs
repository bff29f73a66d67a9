//! Messages and verdicts as they come.

use std::time::Duration;

use sidespan_bridge::{CE_PREFIX, Header, Message};

use crate::cloudevents::Format;
use crate::config::CloudEventsMode;
use crate::error::Error;
use crate::proto;
use crate::publish::fields::{Fields, check_content_type, check_id, event, own};
use crate::pull::Settle;

/// Why something is not done, and which of its fields is to blame.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: Error,
    pub(crate) field: Option<&'static str>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, field: None }
    }
}

/// Reads a message, with this trace context unless it has its own. Its `id` names it and is its
/// idempotency key.
pub(crate) fn read(message: proto::Message, context: &[Header], most: usize) -> Result<Message, Refused> {
    let proto::Message { topic: _, id, key, partition, content_type, headers, payload, tombstone, .. } =
        message;
    for (field, value) in [("reply_to", &message.reply_to), ("correlation_id", &message.correlation_id)] {
        if !value.is_empty() {
            let received = format!("`{field}` is of messages that were received: leave it out");
            return blame(field, Err(Error::Invalid(received)));
        }
    }
    if payload.len() > most {
        return Err(Error::TooLarge { limit: "limits.max_message", most }.into());
    }
    let mut read = Message { key: key.map(Into::into), partition, ..Message::default() };
    if !id.is_empty() {
        blame("id", check_id("`id`", &id))?;
        read.deduplication = Some(id.as_str().into());
        read.id = Some(id.into());
    }
    if !content_type.is_empty() {
        blame("content_type", check_content_type(&content_type))?;
        read.content_type = Some(content_type.into());
    }
    read.payload = match (tombstone, payload.is_empty()) {
        (false, _) => Some(own(payload)),
        (true, true) => None,
        (true, false) => {
            let both = Error::Invalid("a tombstone has no payload: leave out one of the two".into());
            return blame("tombstone", Err(both));
        }
    };
    let mut fields = Fields::default();
    for proto::Header { name, value } in headers {
        blame("headers", header(&mut fields, &name, value))?;
    }
    blame("headers", fields.finish(&mut read))?;
    if let Some(format) = read.content_type.as_deref().and_then(Format::of) {
        read = blame("payload", event(read, format))?;
    }
    if !context.is_empty() && read.header("traceparent").is_none() {
        read.headers.extend(context.iter().cloned());
    }
    Ok(read)
}

/// Reads a reply, and the status that it says; absent, it is an empty one.
pub(crate) fn reply(reply: Option<proto::Reply>, most: usize) -> Result<(u16, Message), Refused> {
    let proto::Reply { status, content_type, headers, payload } = reply.unwrap_or_default();
    let status = if status == 0 { 200 } else { u16::try_from(status).unwrap_or(u16::MAX) };
    let message = proto::Message { content_type, headers, payload, ..proto::Message::default() };
    Ok((status, read(message, &[], most)?))
}

/// Reads whose leases are to end, and when the messages come again.
pub(crate) fn nack(proto::Nack { ack_ids, delay }: proto::Nack) -> Result<(Vec<String>, Settle), Refused> {
    let delay = delay.map(|delay| blame("nack.delay", span("nack.delay", delay))).transpose()?;
    Ok((ack_ids, Settle::Nack(delay)))
}

/// Reads whose leases are to last longer, and for how long.
pub(crate) fn extend(
    proto::Extend { ack_ids, lease }: proto::Extend,
) -> Result<(Vec<String>, Settle), Refused> {
    let lease = blame("extend.lease", span("extend.lease", lease.unwrap_or_default()))?;
    Ok((ack_ids, Settle::Extend(lease)))
}

/// Reads how CloudEvents are to be written.
pub(crate) fn cloudevents(mode: i32) -> Result<CloudEventsMode, Error> {
    match proto::CloudEventsMode::try_from(mode) {
        Ok(proto::CloudEventsMode::Unspecified | proto::CloudEventsMode::Binary) => {
            Ok(CloudEventsMode::Binary)
        }
        Ok(proto::CloudEventsMode::Structured) => Ok(CloudEventsMode::Structured),
        Ok(proto::CloudEventsMode::Protobuf) => Ok(CloudEventsMode::Protobuf),
        Err(_) => Err(Error::Invalid("`cloudevents` names a mode that is not known here".into())),
    }
}

/// Reads a duration that is none of the past.
pub(crate) fn span(field: &str, span: prost_types::Duration) -> Result<Duration, Error> {
    Duration::try_from(span).map_err(|_| Error::Invalid(format!("`{field}` is no duration from 0")))
}

/// Here the attributes of an event are plain text; they are percent-encoded in HTTP headers only.
fn header(fields: &mut Fields, name: &str, value: Vec<u8>) -> Result<(), Error> {
    let lower = name.to_ascii_lowercase();
    let Some(attribute) = lower.strip_prefix(CE_PREFIX) else { return fields.header(name, value.into()) };
    let text = String::from_utf8(value).map_err(|_| {
        let name: String = name.chars().take(80).collect();
        Error::Invalid(format!("the CloudEvents attribute {name:?} must be text"))
    })?;
    fields.attribute(attribute, text)
}

fn blame<T>(field: &'static str, result: Result<T, Error>) -> Result<T, Refused> {
    result.map_err(|error| Refused { error, field: Some(field) })
}
