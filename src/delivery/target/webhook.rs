//! Posts messages to an HTTP endpoint.
//!
//! One deadline covers an attempt: connection, headers and body. Of the answer's body a little is
//! kept for the dead letter, somewhat more is read so that the connection can be used again, and
//! beyond that the connection is dropped. Redirects are never followed: the configuration says where
//! messages go.

mod connection;
mod reply;
mod request;

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use jiff::Timestamp;
use sidespan_bridge::Guarantee;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::{Answer, Reply, Target};
use crate::config::{Push, Subscription};
use crate::delivery::letter::Letter;
use crate::security::signature::SigningError;
use connection::Used;
use request::Writer;

pub(super) use connection::{Connector, client};

/// A webhook with its own pool of connections.
pub(in crate::delivery) struct Webhook {
    client: Client<Connector, Full<Bytes>>,
    writer: Writer,
    timeout: Duration,
    /// Whether a message may be sent twice.
    may_repeat: bool,
    /// The largest reply to a request, in bytes, where answers are replies.
    reply: Option<usize>,
}

/// Why a webhook cannot be called at all.
#[derive(Debug, thiserror::Error)]
pub(in crate::delivery) enum WebhookError {
    /// No certificate authorities are installed.
    #[error("no certificate authorities for https are installed on this machine")]
    Certificates(#[source] io::Error),
    /// A signing secret cannot be used.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The address cannot be posted to.
    #[error("this is no address of a webhook")]
    Url(#[source] http::uri::InvalidUri),
}

impl Webhook {
    /// Prepares a subscription's webhook; connects to nothing.
    ///
    /// # Errors
    ///
    /// Secrets, address or certificates that cannot be used.
    pub(in crate::delivery) fn new(subscription: &Subscription, push: &Push) -> Result<Self, WebhookError> {
        Ok(Self {
            client: client(push, subscription.max_in_flight)?,
            writer: Writer::new(subscription, push)?,
            timeout: push.timeout,
            may_repeat: subscription.guarantee == Guarantee::AtLeastOnce,
            reply: push.reply,
        })
    }

    /// Sends a request and reads the answer. A kept connection that the endpoint closed just then,
    /// before a byte of the answer, is no news about the message: another one is tried at once.
    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        reply: Option<usize>,
        again: impl FnOnce() -> Request<Full<Bytes>>,
    ) -> Result<Answer, Exchange> {
        let response = match self.client.request(request).await {
            Err(error) if self.may_repeat && is_stale(&error) => self.client.request(again()).await?,
            response => response?,
        };
        if let Some(used) = response.extensions().get::<Used>() {
            used.set();
        }
        match reply {
            Some(most) => Ok(reply::read(response, most).await?),
            None => Ok(answer(response).await?),
        }
    }
}

#[async_trait]
impl Target for Webhook {
    async fn post(&self, letter: &Arc<Letter>, attempt: u32, context: Option<HeaderValue>) -> Option<Reply> {
        let write = || self.writer.write(letter, attempt, Timestamp::now(), context.as_ref());
        let mut request = write();
        let connection = capture_connection(&mut request);
        let wanted = self.reply.filter(|_| letter.message.reply_to.is_some());
        let ended = timeout(self.timeout, self.exchange(request, wanted, write)).await;
        Some(came_of(ended.map(|ended| ended.map(Reply::Answered)), &connection, self.timeout))
    }
}

/// Tells what came of an attempt that may have taken so long.
pub(super) fn came_of(
    ended: Result<Result<Reply, Exchange>, Elapsed>,
    connection: &CaptureConnection,
    limit: Duration,
) -> Reply {
    match ended {
        Ok(Ok(reply)) => reply,
        Ok(Err(Exchange::Send(error))) if error.is_connect() => Reply::Unreachable(root(&error)),
        // A wrong port, or a proxy's: nothing that would say something about the message.
        Ok(Err(Exchange::Send(error))) if is_garbage(&error) => {
            Reply::Unreachable(format!("the endpoint does not speak HTTP: {}", root(&error)))
        }
        Ok(Err(Exchange::Send(error))) => Reply::Unanswered(root(&error)),
        Ok(Err(Exchange::Read(error))) => Reply::Unanswered(root(&error)),
        Err(_) if connection.connection_metadata().is_none() => {
            Reply::Unreachable(format!("no connection within {limit:?}"))
        }
        Err(_) => Reply::Unanswered(format!("no answer within {limit:?}")),
    }
}

/// Where an exchange failed.
pub(super) enum Exchange {
    Send(ClientError),
    Read(hyper::Error),
}

impl From<ClientError> for Exchange {
    fn from(error: ClientError) -> Self {
        Self::Send(error)
    }
}

impl From<hyper::Error> for Exchange {
    fn from(error: hyper::Error) -> Self {
        Self::Read(error)
    }
}

fn is_garbage(error: &ClientError) -> bool {
    error.source().and_then(|source| source.downcast_ref()).is_some_and(hyper::Error::is_parse)
}

fn is_stale(error: &ClientError) -> bool {
    let mut extensions = http::Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extensions);
    }
    let closed = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
    let closed = closed.is_some_and(|error| error.is_incomplete_message() || is_reset(error));
    closed && extensions.get::<Used>().is_some_and(Used::is_set)
}

fn is_reset(error: &hyper::Error) -> bool {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    io.is_some_and(|io| matches!(io.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset))
}

pub(super) async fn answer(response: Response<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, body) = response.into_parts();
    Ok(Answer {
        status: head.status.as_u16(),
        retry_after: retry_after(&head.headers),
        excerpt: excerpt(body).await?,
        reply: None,
    })
}

/// Reads a body to its end or a bound, and keeps its beginning.
async fn excerpt(mut body: Incoming) -> Result<Bytes, hyper::Error> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let (mut kept, mut read) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        read += data.len();
        let room = KEPT.saturating_sub(kept.len()).min(data.len());
        kept.extend_from_slice(&data.slice(..room));
        if read > READ {
            break;
        }
    }
    Ok(kept.freeze())
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    // A time that has passed is no wait.
    Some(at.duration_since(Timestamp::now()).try_into().unwrap_or(Duration::ZERO))
}

/// The innermost cause: the layers above it say no more than "error".
fn root(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// How much of an answer's body is kept, in bytes. A dead letter of the largest message that
/// admission lets through still has room for it.
pub(super) const KEPT: usize = 2 << 10;
/// How much of an answer's body is read, in bytes.
pub(super) const READ: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_seconds_or_by_a_date() {
        let wait = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let later = wait("Wed, 21 Oct 2150 07:28:00 GMT").unwrap();
        assert!(later > Duration::from_secs(3600));
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
