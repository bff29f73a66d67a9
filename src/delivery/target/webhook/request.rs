//! Writes a message as an HTTP request.
//!
//! Content type and body are as published; what else a message has is told in headers:
//!
//! | header | holds |
//! |---|---|
//! | `webhook-id` | the message, the same in every attempt |
//! | `webhook-timestamp` | the attempt, in seconds since 1970 |
//! | `webhook-signature` | Standard Webhooks `v1`, one for each secret |
//! | `Sidespan-Topic`, `-Subscription`, `-Attempt` | where it comes from, and the attempt from 1 |
//! | `Sidespan-Key` | the key, percent-encoded |
//! | `Sidespan-Correlation-Id`, `-Reply-To` | which request this belongs to, and where a reply is awaited |
//! | `Sidespan-Tombstone: true` | there is no body, which is not the same as an empty one |
//! | `Sidespan-Header-<name>` | a header of the message, name and value percent-encoded |
//! | `traceparent`, `tracestate`, `baggage` | the message's trace context |
//! | `ce-<attribute>` | a CloudEvent's attribute, percent-encoded as the HTTP binding says |
//!
//! Percent-encoded means: everything but printable ASCII, and blanks, `"` and `%`. HTTP has no case
//! in header names, so those of the message arrive in lower case.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use sidespan_bridge::{CE_PREFIX, Header, Message};

use super::WebhookError;
use crate::cloudevents::{attribute, written};
use crate::config::{CloudEventsMode, Push, Subscription};
use crate::delivery::letter::Letter;
use crate::security::signature::Signer;

/// Writes the requests of one subscription.
pub(super) struct Writer {
    uri: Uri,
    signer: Signer,
    subscription: HeaderValue,
    /// The topic's name, where the subscription reads one topic only.
    topic: Option<HeaderValue>,
    raw: Vec<HeaderName>,
    cloudevents: CloudEventsMode,
}

impl Writer {
    pub(super) fn new(subscription: &Subscription, push: &Push) -> Result<Self, WebhookError> {
        let topic = (!subscription.pattern.is_wildcard()).then(|| encoded(subscription.topic.as_bytes()));
        Ok(Self {
            uri: push.url.as_str().parse().map_err(WebhookError::Url)?,
            signer: Signer::new(push.secrets.clone())?,
            subscription: encoded(subscription.name.as_str().as_bytes()),
            topic,
            raw: push.headers.clone(),
            cloudevents: push.cloudevents,
        })
    }

    /// Writes one attempt.
    pub(super) fn write(&self, letter: &Letter, attempt: u32, now: Timestamp) -> Request<Full<Bytes>> {
        let message = match self.cloudevents {
            CloudEventsMode::Binary => Cow::Borrowed(&letter.message),
            mode @ CloudEventsMode::Structured => Cow::Owned(written(letter.message.clone(), mode)),
        };
        let message = message.as_ref();
        let mut headers = HeaderMap::with_capacity(12 + message.headers.len().min(64));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let is_event = message.is_cloud_event();
        if let Some(value) = content_type(message) {
            headers.insert(CONTENT_TYPE, value);
        }
        let body = message.payload.clone().unwrap_or_default();
        if message.payload.is_none() {
            headers.insert(TOMBSTONE, HeaderValue::from_static("true"));
        }
        // An empty body has a length too; without this nothing would say so.
        headers.insert(CONTENT_LENGTH, body.len().into());
        self.sign(&mut headers, &letter.id, now, &body);
        headers.insert(ATTEMPT, attempt.into());
        headers.insert(SUBSCRIPTION, self.subscription.clone());
        let topic = self.topic.clone().unwrap_or_else(|| encoded(letter.topic.as_str().as_bytes()));
        headers.insert(TOPIC, topic);
        if let Some(key) = &message.key {
            headers.insert(KEY, shared(key));
        }
        for (name, field) in [(CORRELATION_ID, &message.correlation), (REPLY_TO, &message.reply_to)] {
            if let Some(field) = field {
                headers.insert(name, encoded(field.as_bytes()));
            }
        }
        for header in message.headers.iter().take(MOST_HEADERS) {
            self.append(&mut headers, header, is_event);
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }

    fn sign(&self, headers: &mut HeaderMap, id: &str, now: Timestamp, body: &[u8]) {
        let timestamp = u64::try_from(now.as_second()).unwrap_or_default();
        headers.insert(WEBHOOK_ID, encoded(id.as_bytes()));
        headers.insert(WEBHOOK_TIMESTAMP, timestamp.into());
        // Base64 and blanks are what a header may have.
        if let Some(Ok(signature)) = self.signer.sign(id, timestamp, body).map(HeaderValue::try_from) {
            headers.insert(WEBHOOK_SIGNATURE, signature);
        }
    }

    /// Adds a header of the message, under the name that it goes by.
    fn append(&self, headers: &mut HeaderMap, header: &Header, is_event: bool) {
        let name = &header.name;
        if let Some(attribute) = attribute(name).filter(|_| is_event) {
            // A name that no header may have is no attribute's either.
            if let Ok(name) = HeaderName::try_from(format!("{CE_PREFIX}{attribute}")) {
                headers.append(name, shared(&header.value));
            }
            return;
        }
        if let (Some(name), Ok(value)) =
            (self.raw_name(name), HeaderValue::from_maybe_shared(header.value.clone()))
        {
            headers.append(name, value);
            return;
        }
        let name = format!("{HEADER_PREFIX}{}", percent_encode(name.as_bytes(), NAME));
        // Longer than 64 KiB: no server would take it.
        if let Ok(name) = HeaderName::try_from(name) {
            headers.append(name, shared(&header.value));
        }
    }

    fn raw_name(&self, name: &str) -> Option<HeaderName> {
        let is_named = |raw: &&HeaderName| raw.as_str().eq_ignore_ascii_case(name);
        let trace = TRACE.iter().find(is_named).cloned();
        trace.or_else(|| self.raw.iter().find(is_named).cloned())
    }
}

/// A content type that no header may have is none.
fn content_type(message: &Message) -> Option<HeaderValue> {
    HeaderValue::from_str(message.content_type.as_deref()?).ok()
}

/// Percent-encodes where that is needed; what is plain is not copied.
fn shared(value: &Bytes) -> HeaderValue {
    if value.iter().all(|byte| is_plain(*byte))
        && let Ok(value) = HeaderValue::from_maybe_shared(value.clone())
    {
        return value;
    }
    encoded(value)
}

fn encoded(value: &[u8]) -> HeaderValue {
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

/// How many headers of a message are written: beyond some 24,000 the `http` crate panics. No server
/// takes a tenth of that, so what is left out reaches nobody's handler.
const MOST_HEADERS: usize = 16_000;
const AGENT: &str = concat!("sidespan/", env!("CARGO_PKG_VERSION"));
const HEADER_PREFIX: &str = "sidespan-header-";
const ATTEMPT: HeaderName = HeaderName::from_static("sidespan-attempt");
const CORRELATION_ID: HeaderName = HeaderName::from_static("sidespan-correlation-id");
const KEY: HeaderName = HeaderName::from_static("sidespan-key");
const REPLY_TO: HeaderName = HeaderName::from_static("sidespan-reply-to");
const SUBSCRIPTION: HeaderName = HeaderName::from_static("sidespan-subscription");
const TOMBSTONE: HeaderName = HeaderName::from_static("sidespan-tombstone");
const TOPIC: HeaderName = HeaderName::from_static("sidespan-topic");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
static TRACE: [HeaderName; 3] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];
