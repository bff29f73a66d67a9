//! The parts of a message that callers name, checked once for every door and form of request.

use std::time::Duration;

use bytes::Bytes;
use sidespan_bridge::{Header, Message, Span, is_reserved};

use crate::cloudevents::{Attributes, EventError, Format, attribute, is_media_type, is_token};
use crate::error::Error;
use crate::telemetry::context;

/// Gathers the headers of one message.
#[derive(Debug, Default)]
pub struct Fields {
    headers: Vec<Header>,
    event: Option<Attributes>,
}

impl Fields {
    /// Adds a header of the publisher's own.
    ///
    /// # Errors
    ///
    /// `Invalid`: the name is no header's, or not the publisher's to set.
    pub fn header(&mut self, name: &str, value: Bytes) -> Result<(), Error> {
        check_name(name)?;
        self.headers.push(Header::new(name, value));
        Ok(())
    }

    /// Adds an attribute of a CloudEvent by its bare name.
    ///
    /// # Errors
    ///
    /// `Invalid`: no event has such an attribute, or it is there twice.
    pub fn attribute(&mut self, name: &str, value: String) -> Result<(), Error> {
        if name == "datacontenttype" {
            return Err(EventError::ContentTypeAttribute.into());
        }
        self.event.get_or_insert_default().set(name, value)?;
        Ok(())
    }

    /// Puts the headers into the message: a CloudEvent's attributes first, then what the message
    /// has, then the others. A `partitionkey` becomes the key, and of trace context stays what is valid.
    ///
    /// # Errors
    ///
    /// `Invalid`: an attribute that every event has is missing, or there are two keys.
    pub fn finish(self, message: &mut Message) -> Result<(), Error> {
        let had = std::mem::take(&mut message.headers);
        if let Some(event) = self.event {
            if let Some(key) = event.find("partitionkey") {
                set_key(message, Bytes::copy_from_slice(key.as_bytes()))?;
            }
            message.headers = event.finish()?;
        }
        message.headers.extend(had);
        message.headers.extend(self.headers);
        context::tidy(&mut message.headers);
        Ok(())
    }
}

impl From<EventError> for Error {
    fn from(error: EventError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// Reads a message whose payload is a whole CloudEvent in this format. What the message says of itself (its id, its
/// partition, other headers) stays with it.
///
/// # Errors
///
/// `Invalid`: it is none, or there are two keys.
pub fn event(message: Message, format: Format) -> Result<Message, Error> {
    let none =
        || Error::Invalid("a tombstone has no body, and so it is no CloudEvent in structured form".into());
    let read = format.read(message.payload.as_ref().ok_or_else(none)?)?;
    let mut event = Message { payload: read.payload, content_type: read.content_type, ..message };
    if let Some(key) = read.key {
        set_key(&mut event, key)?;
    }
    // The attributes may stand beside the body as well; those within count.
    event.headers.retain(|header| attribute(&header.name).is_none());
    event.headers.splice(..0, read.headers);
    Ok(event)
}

/// Copies a small payload: it would keep the whole buffer that it was read into, and budgets count the
/// payload alone.
pub fn own(payload: Bytes) -> Bytes {
    if payload.len() <= SMALL { Bytes::copy_from_slice(&payload) } else { payload }
}

/// Sets the key, which must be the same if it is given in two ways.
///
/// # Errors
///
/// `Invalid`, if there are two.
pub fn set_key(message: &mut Message, key: Bytes) -> Result<(), Error> {
    match &message.key {
        Some(other) if *other != key => {
            Err(Error::Invalid("the message has two different keys; `partitionkey` is one too".into()))
        }
        Some(_) => Ok(()),
        None => {
            message.key = Some(key);
            Ok(())
        }
    }
}

/// Checks what is to name a message or its repeats.
///
/// # Errors
///
/// `Invalid`, with `what` it was.
pub fn check_id(what: &str, id: &str) -> Result<(), Error> {
    if id.is_empty() || id.len() > MOST_ID || id.chars().any(char::is_control) {
        return Err(Error::Invalid(format!(
            "{what} must be 1 to {MOST_ID} bytes without control characters"
        )));
    }
    Ok(())
}

/// Checks a media type as far as a header must be able to carry it.
///
/// # Errors
///
/// `Invalid`.
pub fn check_content_type(text: &str) -> Result<(), Error> {
    if is_media_type(text) {
        return Ok(());
    }
    Err(Error::Invalid("the content type is no media type, such as application/json".into()))
}

/// Reads how long a publish may take (`Sidespan-Timeout: 5s`).
///
/// # Errors
///
/// `Invalid`: no duration, none at all, or more than `most`.
pub fn timeout(written: &str, most: Duration) -> Result<Duration, Error> {
    let Span(timeout) =
        Span::parse(written).map_err(|error| Error::Invalid(format!("Sidespan-Timeout: {error}")))?;
    if timeout.is_zero() || timeout > most {
        return Err(Error::Invalid(format!(
            "Sidespan-Timeout must be more than 0s and at most {} (limits.max_timeout)",
            humantime::format_duration(most)
        )));
    }
    Ok(timeout)
}

/// Names that would steer a broker, a proxy or a consumer's HTTP library are not the publisher's.
fn check_name(name: &str) -> Result<(), Error> {
    let lower = name.to_ascii_lowercase();
    if !is_token(name) || name.len() > MOST_NAME {
        return Err(Error::Invalid(format!(
            "{:?} is no header name: use 1 to {MOST_NAME} letters, digits and !#$%&'*+-.^_`|~",
            name.chars().take(80).collect::<String>()
        )));
    }
    let event = ["ce-", "ce_", "cloudevents_", "cloudevents:"].iter().any(|prefix| lower.starts_with(prefix));
    if event {
        return Err(Error::Invalid(format!(
            "the header {name:?} belongs to a CloudEvent: send it as `ce-` headers"
        )));
    }
    if is_reserved(name) || OF_HTTP.contains(&lower.as_str()) {
        return Err(Error::Invalid(format!("the header name {name:?} is reserved: choose another")));
    }
    Ok(())
}

const SMALL: usize = 4 << 10;
const MOST_ID: usize = 255;
const MOST_NAME: usize = 255;

/// What belongs to one connection or one HTTP message (RFC 9110, 7.6.1), and the content type,
/// which has a place of its own.
const OF_HTTP: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_steer_others_are_refused() {
        for name in [
            "Nats-Msg-Id",
            "sidespan-id",
            "X-Death",
            "Connection",
            "te",
            "Content-Type",
            "ce-id",
            "CE_type",
            "cloudEvents:id",
            "with space",
            "",
            "ü",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["trace", "X-Tenant", "kafka_replyTopic", "a.b"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }
}
