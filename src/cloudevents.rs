//! CloudEvents 1.0.2: what an event must have, and its two forms.
//!
//! Inside Sidespan an event is an ordinary [`Message`](sidespan_bridge::Message): each context attribute is a header `ce-<name>`
//! (see [`CE_PREFIX`]) with the attribute's canonical string in UTF-8, the data is the payload, and
//! `datacontenttype` is the content type. The two forms are made from that, and read into it:
//!
//! - binary: attributes are HTTP headers, percent-encoded ([`header_value`], [`header_text`]);
//! - structured: attributes and data are one body ([`Format`]), to and from the brokers as well ([`opened`],
//!   [`written`]).

mod header;
mod json;
mod protobuf;
mod structured;

use iri_string::spec::UriSpec;
use iri_string::validate::{iri as uri, iri_reference as uri_reference};
use sidespan_bridge::{CE_PREFIX, Header};

pub use header::{header_text, header_value};
pub use json::is_json;
pub use structured::{Format, attribute, opened, written};

/// Media type of a batch of events in structured form.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// The context attributes of one event, checked one by one as they are read.
#[derive(Debug, Default)]
pub struct Attributes {
    headers: Vec<Header>,
    /// What they take, in bytes.
    size: usize,
}

impl Attributes {
    /// Adds an attribute by its bare name (`source`, not `ce-source`).
    ///
    /// # Errors
    ///
    /// An illegal name, an illegal value, or a name that was there before.
    pub fn set(&mut self, name: &str, value: String) -> Result<(), EventError> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(legal) {
            return Err(EventError::Name(name.chars().take(80).collect()));
        }
        if self.find(name).is_some() {
            return Err(EventError::Twice(name.into()));
        }
        check(name, &value)?;
        self.size += name.len() + value.len();
        if self.size > MOST_BYTES {
            return Err(EventError::TooLarge);
        }
        self.headers.push(Header::new(format!("{CE_PREFIX}{name}"), value.into_bytes()));
        Ok(())
    }

    /// Returns the value of an attribute by its bare name.
    pub fn find(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|header| header.name.strip_prefix(CE_PREFIX) == Some(name))?;
        std::str::from_utf8(&found.value).ok()
    }

    /// Returns the attributes as a message's headers, in the order they were set.
    ///
    /// # Errors
    ///
    /// A required attribute is missing.
    pub fn finish(self) -> Result<Vec<Header>, EventError> {
        match REQUIRED.into_iter().find(|name| self.find(name).is_none()) {
            Some(missing) => Err(EventError::Missing(missing)),
            None => Ok(self.headers),
        }
    }
}

/// Why something is not a CloudEvent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// `data` and `data_base64` are both there.
    #[error("a CloudEvent has `data` or `data_base64`, not both")]
    BothData,
    /// `data` is no string, and `datacontenttype` is not JSON.
    #[error("`data` must be a string when `datacontenttype` is not JSON")]
    DataNotText,
    /// The JSON is broken, or not an object.
    #[error("this is not a CloudEvent in JSON: {0}")]
    Json(Box<str>),
    /// The bytes are no event in protobuf.
    #[error("this is not a CloudEvent in protobuf: {0}")]
    Protobuf(Box<str>),
    /// A required attribute is missing.
    #[error("a CloudEvent needs the attribute `{0}`")]
    Missing(&'static str),
    /// An attribute's name is illegal.
    #[error(
        "{0:?} is no attribute name of a CloudEvent: use 1 to {LONGEST_NAME} lower-case letters and digits"
    )]
    Name(Box<str>),
    /// A header `ce-datacontenttype`.
    #[error("in binary form a CloudEvent's `datacontenttype` is the header Content-Type")]
    ContentTypeAttribute,
    /// The attributes take more than any broker's headers may.
    #[error(
        "the CloudEvent's attributes take more than {MOST_BYTES} bytes: what is large belongs into its data"
    )]
    TooLarge,
    /// An attribute is there twice.
    #[error("the CloudEvent has the attribute `{0}` twice")]
    Twice(Box<str>),
    /// An attribute's value is illegal.
    #[error("the CloudEvent's attribute `{name}` {reason}")]
    Value {
        /// Its name.
        name: Box<str>,
        /// What it must be.
        reason: &'static str,
    },
}

impl EventError {
    fn value(name: &str, reason: &'static str) -> Self {
        Self::Value { name: name.into(), reason }
    }
}

fn check(name: &str, value: &str) -> Result<(), EventError> {
    if value.chars().any(char::is_control) {
        return Err(EventError::value(name, "must not have control characters"));
    }
    if value.chars().any(is_noncharacter) {
        return Err(EventError::value(name, "must not have what Unicode says is no character"));
    }
    let fault = match name {
        "specversion" => (value != "1.0").then_some("must be \"1.0\""),
        "id" | "type" | "subject" | "partitionkey" => value.is_empty().then_some("must not be empty"),
        "source" => (value.is_empty() || uri_reference::<UriSpec>(value).is_err())
            .then_some("must be a URI reference (RFC 3986): percent-encode what is not ASCII"),
        "dataschema" => uri::<UriSpec>(value)
            .is_err()
            .then_some("must be an absolute URI (RFC 3986): percent-encode what is not ASCII"),
        "time" => (!is_rfc3339(value)).then_some("must be a time as in RFC 3339: 2026-11-20T13:42:50Z"),
        "data" | "data_base64" | "datacontenttype" => Some("is no attribute that can be set like this"),
        _ => None,
    };
    fault.map_or(Ok(()), |reason| Err(EventError::value(name, reason)))
}

/// Tells whether Unicode keeps a code point from ever being a character.
fn is_noncharacter(letter: char) -> bool {
    let point = u32::from(letter);
    point & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&point)
}

/// Tells whether a media type is one, as far as a header must be able to carry it.
pub fn is_media_type(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or("").trim();
    let shaped = essence.split_once('/').is_some_and(|(group, name)| is_token(group) && is_token(name));
    shaped && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Tells whether a text is a token as HTTP has it (RFC 9110, 5.6.2).
pub fn is_token(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(legal)
}

/// The shape is RFC 3339's, which is narrower than ISO 8601; the parser knows the calendar.
fn is_rfc3339(text: &str) -> bool {
    let Some((date, rest)) = text.split_at_checked(10) else { return false };
    let clock = rest.strip_prefix(['T', 't']).unwrap_or("");
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let shaped = date.len() == 10
        && date.split('-').map(str::len).eq([4, 2, 2])
        && date.split('-').all(digits)
        && clock.split_at_checked(8).is_some_and(|(time, zone)| {
            let zone =
                zone.strip_prefix('.').map_or(zone, |z| z.trim_start_matches(|c: char| c.is_ascii_digit()));
            time.split(':').map(str::len).eq([2, 2, 2])
                && time.split(':').all(digits)
                && (matches!(zone, "Z" | "z")
                    || zone.strip_prefix(['+', '-']).is_some_and(|offset| {
                        offset.split(':').map(str::len).eq([2, 2]) && offset.split(':').all(digits)
                    }))
        });
    shaped && text.to_ascii_uppercase().parse::<jiff::Timestamp>().is_ok()
}

/// With `ce-` before it, as long as another header's may be.
const LONGEST_NAME: usize = 252;
/// What all attributes together may take: headers of any broker, and events of 64 KiB must pass (CloudEvents 1.0.2,
/// size limits).
const MOST_BYTES: usize = 64 << 10;
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

#[cfg(test)]
mod tests;
