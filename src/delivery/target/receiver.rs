//! Calls a gRPC service (`Receiver.Deliver` of `proto/sidespan/v1`).
//!
//! Retries, dead letters and `retry.on` go by HTTP's statuses, so a gRPC status is told as the one that
//! means the same there:
//!
//! | gRPC | as | which means |
//! |---|---|---|
//! | OK | 200 | accepted |
//! | FAILED_PRECONDITION, INVALID_ARGUMENT, OUT_OF_RANGE | 400 | refused |
//! | ALREADY_EXISTS | 409 | refused |
//! | UNAUTHENTICATED | 401 | unavailable |
//! | PERMISSION_DENIED | 403 | unavailable |
//! | UNIMPLEMENTED: a wrong route, or an older service | 404 | unavailable |
//! | RESOURCE_EXHAUSTED with a time to come back | 429 | unavailable |
//! | UNAVAILABLE | 503 | unavailable |
//! | RESOURCE_EXHAUSTED without one (a message too large says that too), NOT_FOUND, and all others | 500 | failed |
//!
//! A proxy's answer without a gRPC status counts by its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use percent_encoding::percent_decode;
use prost::Message as _;
use sidespan_bridge::{Header, Message, is_reserved};
use tokio::time::timeout;

use super::webhook::{Connector, Exchange, KEPT, READ, WebhookError, answer, came_of, client};
use super::{Answer, Reply, Target};
use crate::cloudevents::written;
use crate::config::{CloudEventsMode, Push, Subscription};
use crate::delivery::letter::Letter;
use crate::delivery::replies;
use crate::proto::{self, DeliverRequest, DeliverResponse};
use crate::telemetry::context::is_w3c;

/// A gRPC service that takes messages.
pub(in crate::delivery) struct Receiver {
    client: Client<Connector, Full<Bytes>>,
    uri: Uri,
    subscription: String,
    /// The topic's name, where the subscription reads one topic only.
    topic: Option<String>,
    timeout: Duration,
    cloudevents: CloudEventsMode,
    /// The largest reply to a request, in bytes, where answers are replies.
    reply: Option<usize>,
}

impl Receiver {
    /// Prepares a subscription's receiver; connects to nothing.
    ///
    /// # Errors
    ///
    /// Address or certificates that cannot be used.
    pub(in crate::delivery) fn new(subscription: &Subscription, push: &Push) -> Result<Self, WebhookError> {
        let mut url = push.url.clone();
        url.set_path(DELIVER);
        let topic = (!subscription.pattern.is_wildcard()).then(|| subscription.topic.clone());
        Ok(Self {
            client: client(push, subscription.max_in_flight)?,
            uri: url.as_str().parse().map_err(WebhookError::Url)?,
            subscription: subscription.name.to_string(),
            topic,
            timeout: push.timeout,
            cloudevents: push.cloudevents,
            reply: push.reply,
        })
    }

    fn write(&self, letter: &Letter, attempt: u32, context: Option<HeaderValue>) -> Request<Full<Bytes>> {
        let topic = self.topic.as_deref().unwrap_or(letter.topic.as_str());
        let message = written(&letter.message, self.cloudevents);
        let request = DeliverRequest {
            message: Some(proto::Message::of(&message, topic, &letter.id)),
            subscription: self.subscription.clone(),
            attempt,
            position: letter.position.map(|position| position.to_string()).unwrap_or_default(),
        };
        let mut call = Request::new(Full::new(framed(&request)));
        *call.method_mut() = Method::POST;
        *call.uri_mut() = self.uri.clone();
        let headers = call.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let millis = self.timeout.as_millis().min(99_999_999);
        if let Ok(time) = HeaderValue::try_from(format!("{millis}m")) {
            headers.insert(HeaderName::from_static("grpc-timeout"), time);
        }
        for header in &letter.message.headers {
            let name = header.name.to_ascii_lowercase();
            if is_w3c(&name)
                && let (Ok(name), Ok(value)) =
                    (HeaderName::try_from(name), HeaderValue::from_bytes(&header.value))
            {
                headers.append(name, value);
            }
        }
        if let Some(context) = context {
            headers.insert(HeaderName::from_static("traceparent"), context);
        }
        call
    }

    /// Makes a call; with `wanted` what it says is a reply, of so many bytes at most.
    async fn call(&self, call: Request<Full<Bytes>>, wanted: Option<usize>) -> Result<Reply, Exchange> {
        let response = self.client.request(call).await?;
        if !response.status().is_success() {
            // A proxy's: the service itself has said nothing.
            return Ok(Reply::Answered(answer(response).await?));
        }
        let (head, mut body) = response.into_parts();
        if let Some(answer) = told(&head.headers) {
            return Ok(Reply::Answered(replying(answer, &[], wanted)));
        }
        let most = wanted.map_or(READ, |most| most.saturating_add(READ));
        let mut said = BytesMut::new();
        while let Some(frame) = body.frame().await {
            match frame?.into_trailers() {
                Ok(trailers) => {
                    if let Some(answer) = told(&trailers) {
                        return Ok(Reply::Answered(replying(answer, &said, wanted)));
                    }
                    break;
                }
                Err(frame) => said.extend_from_slice(&frame.into_data().unwrap_or_default()),
            }
            if said.len() > most {
                if wanted.is_some() {
                    let reply = Some(Box::new(replies::told(
                        502,
                        "the service's reply is larger than a message may be",
                    )));
                    return Ok(Reply::Answered(Answer { status: 200, reply, ..Answer::default() }));
                }
                return Ok(Reply::Unanswered("the answer is larger than one that says nothing".into()));
            }
        }
        Ok(Reply::Unreachable("the endpoint does not speak gRPC".into()))
    }
}

#[async_trait]
impl Target for Receiver {
    async fn post(&self, letter: &Arc<Letter>, attempt: u32, context: Option<HeaderValue>) -> Option<Reply> {
        let mut call = self.write(letter, attempt, context);
        let connection = capture_connection(&mut call);
        let wanted = self.reply.filter(|_| letter.message.reply_to.is_some());
        let ended = timeout(self.timeout, self.call(call, wanted)).await;
        Some(came_of(ended, &connection, self.timeout))
    }
}

/// Makes a reply of what a receiver has said, where one is wanted.
fn replying(answer: Answer, said: &[u8], wanted: Option<usize>) -> Answer {
    let Some(most) = wanted else { return answer };
    let reply = match (answer.status, response(said)) {
        (200, Some(reply)) if reply.payload.len() > most => {
            replies::told(502, "the service's reply is larger than a message may be")
        }
        (200, Some(reply)) => message(reply),
        (200, None) => replies::told(502, "the service's reply is not what it should be"),
        (status, _) => replies::of(
            status,
            Message {
                payload: Some(answer.excerpt.clone()),
                content_type: Some("text/plain; charset=utf-8".into()),
                ..Message::default()
            },
        ),
    };
    Answer { reply: Some(Box::new(reply)), ..answer }
}

/// Reads the message of an answer that is not compressed.
fn response(said: &[u8]) -> Option<proto::Reply> {
    let (head, body) = said.split_at_checked(HEAD)?;
    let (flag, length) = head.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let whole = *flag == 0 && u32::try_from(body.len()) == Ok(length);
    let said = whole.then(|| DeliverResponse::decode(body).ok())??;
    Some(said.reply.unwrap_or_default())
}

fn message(reply: proto::Reply) -> Message {
    let status = u16::try_from(reply.status).ok().filter(|status| (200..=599).contains(status));
    let kept =
        reply.headers.into_iter().filter(|header| !header.name.is_empty() && !is_reserved(&header.name));
    let message = Message {
        payload: Some(reply.payload),
        headers: kept.map(|header| Header::new(header.name, header.value)).collect(),
        content_type: (!reply.content_type.is_empty()).then(|| reply.content_type.into()),
        ..Message::default()
    };
    replies::of(status.unwrap_or(200), message)
}

/// Reads a status from headers or trailers, if there is one.
fn told(headers: &HeaderMap) -> Option<Answer> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().unwrap_or(UNKNOWN);
    let pushback = headers.get("grpc-retry-pushback-ms").and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after = pushback.map(Duration::from_millis);
    let message = headers.get("grpc-message").map_or(&b""[..], HeaderValue::as_bytes);
    let name = NAMES.get(code).copied().unwrap_or("UNKNOWN");
    let mut excerpt = format!("{name}: ").into_bytes();
    excerpt.extend(percent_decode(message));
    excerpt.truncate(KEPT);
    Some(Answer {
        status: as_http(name, retry_after.is_some()),
        retry_after,
        excerpt: excerpt.into(),
        reply: None,
    })
}

fn as_http(name: &str, comes_back: bool) -> u16 {
    match name {
        "OK" => 200,
        "FAILED_PRECONDITION" | "INVALID_ARGUMENT" | "OUT_OF_RANGE" => 400,
        "UNAUTHENTICATED" => 401,
        "PERMISSION_DENIED" => 403,
        "UNIMPLEMENTED" => 404,
        "ALREADY_EXISTS" => 409,
        "RESOURCE_EXHAUSTED" if comes_back => 429,
        "UNAVAILABLE" => 503,
        _ => 500,
    }
}

/// Writes a message as a call has it: not compressed, and with its length ahead.
fn framed(request: &DeliverRequest) -> Bytes {
    let length = request.encoded_len();
    let mut framed = BytesMut::with_capacity(HEAD + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    framed.extend_from_slice(&request.encode_to_vec());
    framed.freeze()
}

const DELIVER: &str = "/sidespan.v1.Receiver/Deliver";
const HEAD: usize = 5;
const UNKNOWN: usize = 2;
/// Statuses by their numbers.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Option<Answer> {
        let value = |text| HeaderValue::from_static(text);
        told(&headers.iter().map(|(name, text)| (HeaderName::from_static(name), value(text))).collect())
    }

    #[test]
    fn a_status_is_told_as_the_one_of_http_that_means_the_same() {
        let expected = [200, 500, 500, 400, 500, 500, 409, 403, 500, 400, 500, 400, 404, 500, 503, 500, 401];
        let codes =
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
        for (code, status) in codes.into_iter().zip(expected) {
            assert_eq!(read(&[("grpc-status", code)]).unwrap().status, status, "{code}");
        }
        assert_eq!(read(&[("grpc-status", "99")]).unwrap().status, 500);
        assert_eq!(read(&[]), None);
        let slow = read(&[("grpc-status", "8"), ("grpc-retry-pushback-ms", "1500")]).unwrap();
        assert_eq!((slow.status, slow.retry_after), (429, Some(Duration::from_millis(1500))));
        let told = read(&[("grpc-status", "5"), ("grpc-message", "no%20order%2017")]).unwrap();
        assert_eq!(&told.excerpt[..], b"NOT_FOUND: no order 17");
    }
}
