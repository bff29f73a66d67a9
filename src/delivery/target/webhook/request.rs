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
//! | `traceparent`, `tracestate`, `baggage` | the attempt's trace context, or the message's |
//! | `ce-<attribute>` | a CloudEvent's attribute, percent-encoded as the HTTP binding says |
//!
//! Percent-encoded means: everything but printable ASCII, and blanks, `"` and `%`. HTTP has no case
//! in header names, so those of the message arrive in lower case.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use jiff::Timestamp;
use sidespan_bridge::Header;

use super::WebhookError;
use crate::cloudevents::{attribute, written};
use crate::config::{CloudEventsMode, Push, Subscription};
use crate::delivery::letter::Letter;
use crate::headers;
use crate::headers::encoded;
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

    /// Writes one attempt, in a context of its own if it has one.
    pub(super) fn write(
        &self,
        letter: &Letter,
        attempt: u32,
        now: Timestamp,
        context: Option<&HeaderValue>,
    ) -> Request<Full<Bytes>> {
        let message = written(&letter.message, self.cloudevents);
        let message = message.as_ref();
        let mut map = HeaderMap::with_capacity(12 + message.headers.len().min(64));
        map.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let is_event = message.is_cloud_event();
        if let Some(value) = headers::content_type(message) {
            map.insert(CONTENT_TYPE, value);
        }
        let body = message.payload.clone().unwrap_or_default();
        if message.payload.is_none() {
            map.insert(TOMBSTONE, HeaderValue::from_static("true"));
        }
        // An empty body has a length too; without this nothing would say so.
        map.insert(CONTENT_LENGTH, body.len().into());
        self.sign(&mut map, &letter.id, now, &body);
        map.insert(ATTEMPT, attempt.into());
        map.insert(SUBSCRIPTION, self.subscription.clone());
        let topic = self.topic.clone().unwrap_or_else(|| encoded(letter.topic.as_str().as_bytes()));
        map.insert(TOPIC, topic);
        if let Some(key) = &message.key {
            map.insert(KEY, headers::value(key));
        }
        for (name, field) in [(CORRELATION_ID, &message.correlation), (REPLY_TO, &message.reply_to)] {
            if let Some(field) = field {
                map.insert(name, encoded(field.as_bytes()));
            }
        }
        for header in message.headers.iter().take(headers::MOST) {
            self.append(&mut map, header, is_event);
        }
        if let Some(context) = context {
            map.insert(TRACEPARENT, context.clone());
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = map;
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
    fn append(&self, to: &mut HeaderMap, header: &Header, is_event: bool) {
        let is_attribute = is_event && attribute(&header.name).is_some();
        let raw =
            self.raw.iter().find(|raw| !is_attribute && raw.as_str().eq_ignore_ascii_case(&header.name));
        match (raw, HeaderValue::from_maybe_shared(header.value.clone())) {
            (Some(name), Ok(value)) => drop(to.append(name, value)),
            (Some(_) | None, _) => headers::append(to, header, is_event),
        }
    }
}

const AGENT: &str = concat!("sidespan/", env!("CARGO_PKG_VERSION"));
const ATTEMPT: HeaderName = HeaderName::from_static("sidespan-attempt");
const CORRELATION_ID: HeaderName = HeaderName::from_static("sidespan-correlation-id");
const KEY: HeaderName = HeaderName::from_static("sidespan-key");
const REPLY_TO: HeaderName = HeaderName::from_static("sidespan-reply-to");
const SUBSCRIPTION: HeaderName = HeaderName::from_static("sidespan-subscription");
const TOMBSTONE: HeaderName = HeaderName::from_static("sidespan-tombstone");
const TOPIC: HeaderName = HeaderName::from_static("sidespan-topic");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
