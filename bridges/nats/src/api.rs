//! Questions to JetStream: JSON, by request and reply.
//!
//! The client library has an API of its own for this. It is left out because it hides what this
//! bridge must see (error codes, settings of others that are to be kept), and brings four crates.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, Request};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sidespan_bridge::{Error, Fault};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::fault::ApiError;
use crate::link::{Denied, Link};

/// Asks over one connection.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) client: Client,
    pub(crate) link: Arc<Link>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// JetStream refused.
    Api(ApiError),
    /// It was not reached, or not understood.
    Other(Error),
}

#[derive(Deserialize)]
struct Answer {
    error: Option<ApiError>,
}

impl Api {
    /// Counts connections, at once; that there is a new one is told later.
    pub(crate) fn connections(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Asks one question; `subject` is what stands behind `$JS.API.`.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        subject: &str,
        body: Value,
        deadline: Instant,
    ) -> Result<T, Refusal> {
        self.link.until_up(deadline).await.map_err(Refusal::Other)?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::new().payload(body.into()).timeout(None);
        let subject = format!("{PREFIX}{subject}");
        let denied = self.link.denial_of(Denied::Publish(subject.clone()));
        let asked = tokio::select! {
            asked = self.client.send_request(subject, request) => asked,
            error = denied => return Err(Refusal::Other(error)),
            // The client counts only from when it has room for the question.
            () = sleep_until(deadline) => {
                let silent = Error::new(Fault::Timeout).detail("JetStream did not answer in time");
                return Err(Refusal::Other(silent));
            }
        };
        let answer = match asked {
            Ok(message) => message.payload,
            Err(error) => {
                let silent = match error.kind() {
                    RequestErrorKind::NoResponders => Error::new(Fault::Unavailable)
                        .detail("JetStream does not answer: is it enabled at the server (`-js`)?"),
                    RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                        Error::new(Fault::Invalid)
                    }
                    RequestErrorKind::TimedOut | RequestErrorKind::Other => self.link.explain(),
                };
                return Err(Refusal::Other(silent.because(error)));
            }
        };
        Refusal::read(&answer)
    }
}

impl Api {
    /// Acknowledges a delivery by its reply subject, and waits until the broker says that it has it.
    pub(crate) async fn acknowledge(&self, reply: &str, deadline: Instant) -> Result<(), Error> {
        if !reply.starts_with(ACKS) {
            return Err(Error::new(Fault::Invalid).detail("this is no receipt of a delivery"));
        }
        self.link.until_up(deadline).await?;
        let request = Request::new().payload(Bytes::from_static(b"+ACK")).timeout(None);
        let asked = self.client.send_request(reply.to_owned(), request);
        match timeout_at(deadline, asked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(match error.kind() {
                RequestErrorKind::NoResponders => {
                    Error::new(Fault::Unroutable).detail("the consumer is gone, and the delivery with it")
                }
                RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                    Error::new(Fault::Invalid)
                }
                RequestErrorKind::TimedOut | RequestErrorKind::Other => self.link.explain(),
            }
            .because(error)),
            Err(_) => Err(Error::new(Fault::Timeout).detail("JetStream did not confirm in time")),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Api(error) => error.into(),
            Refusal::Other(error) => error,
        }
    }
}

impl Refusal {
    /// Reads what was answered.
    pub(crate) fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Self> {
        let unreadable = |error: serde_json::Error| {
            let detail = "JetStream's answer cannot be understood";
            Self::Other(Error::new(Fault::Rejected).detail(detail).because(error))
        };
        let checked: Answer = serde_json::from_slice(answer).map_err(unreadable)?;
        match checked.error {
            Some(error) => Err(Self::Api(error)),
            None => serde_json::from_slice(answer).map_err(unreadable),
        }
    }

    /// Tells whether somebody else has written meanwhile.
    pub(crate) fn is_outdated(&self) -> bool {
        matches!(self, Self::Api(error) if error.is_outdated())
    }

    /// Tells whether the thing that was asked about does not exist.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Api(error) if error.is_missing())
    }

    /// Tells whether asking again may help.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Api(error) => error.passes(),
            Self::Other(error) => matches!(error.fault, Fault::Timeout | Fault::Unavailable),
        }
    }

    /// Tells whether it exists already.
    pub(crate) fn exists(&self) -> bool {
        matches!(self, Self::Api(error) if error.exists())
    }
}

/// Waits until the server has handled everything that this connection had said before.
///
/// The client's own flush only reaches the socket. A message to ourselves comes back by the server.
pub(crate) async fn round_trip(api: &Api, deadline: Instant) -> Result<(), Error> {
    api.link.until_up(deadline).await?;
    let silent = || Error::new(Fault::Timeout).detail("nats did not answer in time");
    let there = async {
        let inbox = api.client.new_inbox();
        let mut echo = api.client.subscribe(inbox.clone()).await.ok()?;
        api.client.publish(inbox, Bytes::new()).await.ok()?;
        echo.next().await
    };
    match timeout_at(deadline, there).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(api.link.explain()),
        Err(_) => Err(silent()),
    }
}

pub(crate) const PREFIX: &str = "$JS.API.";
/// Begins the reply subjects of deliveries.
const ACKS: &str = "$JS.ACK.";
