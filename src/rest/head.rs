//! Reads what a request's headers say about a message, and on which terms it is to be published.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use sidespan_bridge::{CE_PREFIX, Header, Message};
use tokio::time::Instant;

use super::base64::base64;
use crate::cloudevents::{self, Format, header_text};
use crate::config::Limits;
use crate::error::Error;
use crate::publish::fields::{Fields, check_content_type, check_id, set_key, timeout};
use crate::telemetry::context::{self, is_trace};

/// A message without its payload.
#[derive(Debug)]
pub(super) struct Head {
    /// What the headers say.
    pub(super) message: Message,
    /// The body must be empty.
    pub(super) tombstone: bool,
    /// The body is a CloudEvent in structured form.
    pub(super) format: Option<Format>,
}

impl Head {
    /// Reads the headers of a request that publishes one message.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Error> {
        let format = form(headers)?;
        let mut message = Message::default();
        let mut tombstone = None;
        let (mut plain_key, mut encoded_key) = (None, None);
        let mut fields = Fields::default();
        for (name, value) in headers {
            let name = name.as_str();
            if let Some(attribute) = name.strip_prefix(CE_PREFIX) {
                // The structured form has it all in the body; headers may repeat it.
                if format.is_none() {
                    let value = header_text(attribute, value).ok_or_else(|| not_text(name))?;
                    fields.attribute(attribute, value)?;
                }
                continue;
            }
            if let Some(own) = name.strip_prefix("sidespan-header-") {
                text(name, value)?;
                fields.header(own, percent_decode(value.as_bytes()).collect::<Vec<u8>>().into())?;
                continue;
            }
            match name {
                // What the event says of its data is the message's.
                "content-type" if format.is_some() => {}
                "content-type" => {
                    let value = text(name, value)?;
                    check_content_type(value)?;
                    once(&mut message.content_type, value.into(), name)?;
                }
                "idempotency-key" => once(&mut message.deduplication, idempotency_key(value)?, name)?,
                "sidespan-key" => {
                    let key = text(name, value).map_err(|_| {
                        Error::Invalid("Sidespan-Key is not UTF-8: use Sidespan-Key-Base64".into())
                    })?;
                    once(&mut plain_key, Bytes::copy_from_slice(key.as_bytes()), name)?;
                }
                "sidespan-key-base64" => {
                    once(&mut encoded_key, base64("Sidespan-Key-Base64", value.as_bytes())?, name)?
                }
                "sidespan-partition" => {
                    let partition = text(name, value)?.parse().map_err(|_| {
                        Error::Invalid("Sidespan-Partition must be a whole number from 0".into())
                    })?;
                    once(&mut message.partition, partition, name)?;
                }
                "sidespan-tombstone" => {
                    let set = match value.as_bytes() {
                        b"true" => true,
                        b"false" => false,
                        _ => return Err(Error::Invalid("Sidespan-Tombstone must be true or false".into())),
                    };
                    once(&mut tombstone, set, name)?;
                }
                "sidespan-timeout" => {}
                _ if is_trace(name) => message.headers.push(trace(name, value)),
                // A mistyped name would change where the message goes without a word.
                _ if name.starts_with("sidespan-") => {
                    return Err(Error::Invalid(format!(
                        "there is no request header {name:?}; known are {KNOWN}"
                    )));
                }
                _ => {}
            }
        }
        for key in [plain_key, encoded_key].into_iter().flatten() {
            set_key(&mut message, key)?;
        }
        fields.finish(&mut message)?;
        Ok(Self { message, tombstone: tombstone.unwrap_or(false), format })
    }
}

/// Reads the trace context, which belongs to each message of a batch, and refuses headers that
/// belong to one message only.
pub(super) fn of_batch(headers: &HeaderMap) -> Result<Vec<Header>, Error> {
    let mut context = Vec::new();
    for (name, value) in headers {
        let name = name.as_str();
        if name == "idempotency-key" {
            return Err(Error::Invalid(
                "a batch takes no Idempotency-Key: give each message an `id`, which is its idempotency key"
                    .into(),
            ));
        }
        if (name.starts_with("sidespan-") && name != "sidespan-timeout") || name.starts_with(CE_PREFIX) {
            return Err(Error::Invalid(format!(
                "the header {name:?} belongs to one message: in a batch, each message has it in its object"
            )));
        }
        if is_trace(name) {
            context.push(trace(name, value));
        }
    }
    context::tidy(&mut context);
    Ok(context)
}

/// On which terms a request is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// When the answer is due.
    pub(super) deadline: Instant,
    /// Answer once the message is admitted.
    pub(super) respond_async: bool,
    /// Answer a partly stored batch with 207.
    pub(super) lenient: bool,
}

impl Terms {
    /// Reads `Sidespan-Timeout` and `Prefer` (RFC 7240).
    pub(super) fn read(headers: &HeaderMap, limits: &Limits) -> Result<Self, Error> {
        let mut asked = None;
        for value in headers.get_all("sidespan-timeout") {
            let asked_for = timeout(text("Sidespan-Timeout", value)?, limits.max_timeout)?;
            once(&mut asked, asked_for, "sidespan-timeout")?;
        }
        let timeout = asked.unwrap_or(limits.timeout);
        let prefers = |wish: &str| {
            let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|one| {
                let preference = one.split(';').next().unwrap_or("");
                preference.trim().replace([' ', '"'], "").eq_ignore_ascii_case(wish)
            })
        };
        let told = headers.contains_key("prefer");
        Ok(Self {
            deadline: Instant::now() + timeout,
            respond_async: told && prefers("respond-async"),
            lenient: told && prefers("handling=lenient"),
        })
    }
}

/// Tells in which format the body is a CloudEvent, if it is one, and refuses forms that belong elsewhere.
fn form(headers: &HeaderMap) -> Result<Option<Format>, Error> {
    let content_type = headers.get(http::header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let content_type = String::from_utf8_lossy(content_type).to_ascii_lowercase();
    let essence = content_type.split(';').next().unwrap_or("").trim();
    let format = Format::of(essence);
    match essence {
        _ if format.is_some() => utf8_only(&content_type).map(|()| format),
        cloudevents::BATCH => {
            Err(Error::UnsupportedMediaType("this is a batch: post it to /v1/topics/{topic}/batches".into()))
        }
        _ if essence.starts_with("application/cloudevents") => Err(Error::UnsupportedMediaType(format!(
            "of the structured forms of CloudEvents only {} and {} are understood",
            Format::Json.media_type(),
            Format::Protobuf.media_type()
        ))),
        _ if cloudevents::is_json(essence) => utf8_only(&content_type).map(|()| None),
        _ => Ok(None),
    }
}

/// Refuses JSON in another charset (RFC 8259, 8.1).
pub(super) fn utf8_only(content_type: &str) -> Result<(), Error> {
    let charset = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    match charset {
        Some(charset)
            if !["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known)) =>
        {
            Err(Error::UnsupportedMediaType("JSON is UTF-8: no other charset is understood".into()))
        }
        _ => Ok(()),
    }
}

/// A structured-field string (`"abc"`, RFC 8941), or a bare token.
fn idempotency_key(value: &HeaderValue) -> Result<Box<str>, Error> {
    let written = text("Idempotency-Key", value)?.trim();
    let key = match written.strip_prefix('"') {
        None => written.to_owned(),
        Some(rest) => unquote(rest).ok_or_else(|| {
            Error::Invalid(
                "Idempotency-Key is no string: \"...\" with \\\" and \\\\ for quotes and backslashes".into(),
            )
        })?,
    };
    check_id("Idempotency-Key", &key)?;
    Ok(key.into())
}

/// Reads up to the closing quote; parameters behind it mean nothing here.
fn unquote(rest: &str) -> Option<String> {
    let mut plain = String::with_capacity(rest.len());
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => break,
            '\\' => plain.push(letters.next().filter(|letter| matches!(letter, '"' | '\\'))?),
            letter => plain.push(letter),
        }
    }
    let behind = letters.as_str().trim_start();
    (behind.is_empty() || behind.starts_with(';')).then_some(plain)
}

fn trace(name: &str, value: &HeaderValue) -> Header {
    Header::new(name, Bytes::copy_from_slice(value.as_bytes()))
}

fn text<'a>(name: &str, value: &'a HeaderValue) -> Result<&'a str, Error> {
    std::str::from_utf8(value.as_bytes()).map_err(|_| not_text(name))
}

fn not_text(name: &str) -> Error {
    Error::Invalid(format!("the header {name:?} is not UTF-8 text: percent-encode it"))
}

fn once<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), Error> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::Invalid(format!("the header {name:?} is there twice"))),
    }
}

const KNOWN: &str = "Sidespan-Key, Sidespan-Key-Base64, Sidespan-Partition, Sidespan-Tombstone, \
                     Sidespan-Timeout and Sidespan-Header-<Name>";

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &'static str) -> Option<Box<str>> {
        idempotency_key(&HeaderValue::from_static(value)).ok()
    }

    #[test]
    fn idempotency_keys_are_quoted_or_bare() {
        assert_eq!(key("abc-1").as_deref(), Some("abc-1"));
        assert_eq!(key("\"abc-1\"").as_deref(), Some("abc-1"));
        assert_eq!(key(r#""a \"b\" \\""#).as_deref(), Some(r#"a "b" \"#));
        assert_eq!(key("\"\""), None);
        assert_eq!(key(""), None);
        assert_eq!(key("\"open"), None);
    }

    #[test]
    fn json_is_utf8() {
        assert!(utf8_only("application/json; charset=\"UTF-8\"").is_ok());
        assert!(utf8_only("application/json").is_ok());
        assert!(utf8_only("application/json; charset=latin1").is_err());
    }
}
