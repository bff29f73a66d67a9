//! A message's headers as HTTP has them, to a webhook and to who asked.
//!
//! | of the message | over HTTP |
//! |---|---|
//! | a header | `Sidespan-Header-<name>`, name and value percent-encoded |
//! | `traceparent`, `tracestate`, `baggage` | the same |
//! | an attribute of a CloudEvent | `ce-<attribute>`, percent-encoded as the HTTP binding says |
//!
//! Percent-encoded means: everything but printable ASCII, and blanks, `"` and `%`. HTTP has no case in header
//! names, so those of the message arrive in lower case.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_decode_str, percent_encode};
use sidespan_bridge::{CE_PREFIX, Header, Message, is_reserved};

use crate::cloudevents::attribute;

/// How many headers of a message are written: beyond some 24,000 the `http` crate panics. Nobody takes a tenth of
/// that, so what is left out is missed by nobody.
pub const MOST: usize = 16_000;

/// Adds a header of a message, under the name that it goes by. `is_event`: the message is a CloudEvent.
pub fn append(headers: &mut HeaderMap, header: &Header, is_event: bool) {
    if let Some(attribute) = attribute(&header.name).filter(|_| is_event) {
        // What is no attribute's name is left out.
        if let Ok(name) = HeaderName::try_from(format!("{CE_PREFIX}{attribute}")) {
            headers.append(name, value(&header.value));
        }
        return;
    }
    let trace = TRACE.iter().find(|name| name.as_str().eq_ignore_ascii_case(&header.name));
    if let (Some(name), Ok(value)) = (trace, HeaderValue::from_maybe_shared(header.value.clone())) {
        headers.append(name, value);
        return;
    }
    let name = format!("{PREFIX}{}", percent_encode(header.name.as_bytes(), NAME));
    // Longer than 64 KiB: nobody would take it.
    if let Ok(name) = HeaderName::try_from(name) {
        headers.append(name, value(&header.value));
    }
}

/// Reads the headers of an answer as those of a message: all but what belongs to one connection or one HTTP message,
/// to a browser, or to Sidespan and the brokers. Their names stay, unless they say the message's own
/// (`Sidespan-Header-<name>`).
pub fn of_answer(headers: &HeaderMap) -> Vec<Header> {
    let kept = |name: &str| {
        let own =
            name.strip_prefix(PREFIX).map(|own| percent_decode_str(own).decode_utf8_lossy().into_owned());
        let name = own.unwrap_or_else(|| name.to_owned());
        (!is_reserved(&name) && !OF_HTTP.contains(&name.as_str())).then_some(name)
    };
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        let is_encoded = name.as_str().starts_with(PREFIX) || name.as_str().starts_with(CE_PREFIX);
        let value: Bytes = match is_encoded {
            true => percent_decode(value.as_bytes()).collect::<Vec<u8>>().into(),
            false => Bytes::copy_from_slice(value.as_bytes()),
        };
        Some(Header::new(kept(name.as_str())?, value))
    };
    headers.iter().filter_map(header).collect()
}

/// Returns the content type of a message; one that no header may have is none.
pub fn content_type(message: &Message) -> Option<HeaderValue> {
    HeaderValue::from_str(message.content_type.as_deref()?).ok()
}

/// Percent-encodes where that is needed; what is plain is not copied.
pub fn value(value: &Bytes) -> HeaderValue {
    if value.iter().all(|byte| is_plain(*byte))
        && let Ok(value) = HeaderValue::from_maybe_shared(value.clone())
    {
        return value;
    }
    encoded(value)
}

/// Percent-encodes.
pub fn encoded(value: &[u8]) -> HeaderValue {
    let text = percent_encode(value, VALUE).to_string();
    #[expect(
        clippy::expect_used,
        reason = "what is percent-encoded is printable ASCII, which every header may have"
    )]
    HeaderValue::try_from(text).expect("printable ASCII")
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'%'
}

/// As the CloudEvents HTTP binding says; what is not ASCII is always encoded.
const VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
/// What no header name may have (RFC 9110, 5.6.2).
const NAME: &AsciiSet = &VALUE
    .add(b'(')
    .add(b')')
    .add(b',')
    .add(b'/')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'{')
    .add(b'}');
/// Of an answer: its connection (RFC 9110, 7.6.1), its framing, its server, its browser, and the content type, which
/// has a place of its own.
const OF_HTTP: [&str; 17] = [
    "alt-svc",
    "connection",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
const PREFIX: &str = "sidespan-header-";
static TRACE: [HeaderName; 3] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_headers_are_the_replys_but_for_those_of_the_connection() {
        let answer = [
            ("x-total", "42"),
            ("sidespan-header-zone", "a%00b"),
            ("etag", "\"1\""),
            ("ce-type", "a%20b"),
            ("set-cookie", "session=1"),
            ("server", "x"),
            ("connection", "close"),
            ("nats-msg-id", "1"),
            ("sidespan-status", "200"),
            ("sidespan-header-sidespan-status", "200"),
            ("sidespan-header-nats-rollup", "all"),
        ];
        let map: HeaderMap = answer
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let mut kept = of_answer(&map);
        kept.sort_by(|one, other| one.name.cmp(&other.name));
        let expected = [("ce-type", "a b"), ("etag", "\"1\""), ("x-total", "42"), ("zone", "a\0b")];
        assert_eq!(kept, expected.map(|(name, value)| Header::new(name, value)));
    }
}
