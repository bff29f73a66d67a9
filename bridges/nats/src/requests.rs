//! Requests and replies, as core NATS has them: a subject for each reply, all under one inbox.
//!
//! The client library can ask too, but it keeps what nobody waits for any more, without end. So one
//! subscription takes all replies of the bridge, by the connection that it publishes by.
//!
//! # Why a stream's subject is refused
//!
//! A stream answers whatever it stores, and sooner than any service: its acknowledgement would be taken for
//! the reply. So JetStream is asked whether one captures the subject, and its answer is remembered for a
//! while. Where nobody may ask, or there is no JetStream, there is none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Message as Wire, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use sidespan_bridge::{Error, Fault, Header, Message, REPLY_STATUS, Requests, Topic};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::api::Api;
use crate::link::at_once;
use crate::message;
use crate::publisher::NatsPublisher;
use crate::streams::Streams;
use crate::subject::{check_address, check_reply};

/// Asks, and answers, by the connection that publishes.
pub(crate) struct Asking {
    api: Api,
    publisher: Arc<NatsPublisher>,
    streams: Arc<Streams>,
    requests: Arc<Requests>,
    /// Begins the subjects of all replies.
    inbox: String,
    captured: Mutex<HashMap<Topic, (bool, Instant)>>,
    collecting: JoinHandle<()>,
}

impl Asking {
    /// Subscribes to the inbox. Waits for nobody.
    pub(crate) fn open(
        api: Api,
        publisher: Arc<NatsPublisher>,
        streams: Arc<Streams>,
    ) -> Result<Self, Error> {
        let inbox = format!("{}.", api.client.new_inbox());
        let requests = Requests::new("");
        // It waits in the client's queue until there is a connection, ahead of all requests.
        let Some(Ok(replies)) = at_once(api.client.subscribe(format!("{inbox}*"))) else {
            return Err(Error::new(Fault::Unavailable).detail("the client does not subscribe"));
        };
        let collecting = tokio::spawn(collect(Arc::clone(&requests), inbox.len(), replies));
        Ok(Self { api, publisher, streams, requests, inbox, captured: Mutex::default(), collecting })
    }

    /// Publishes a request, and waits for its reply.
    pub(crate) async fn ask(
        &self,
        topic: &Topic,
        mut request: Message,
        deadline: Instant,
    ) -> Result<Message, Error> {
        check_address(topic.as_str())?;
        let mut awaited = self.requests.take()?;
        self.refuse_captured(topic).await?;
        request.reply_to = Some(format!("{}{}", self.inbox, awaited.correlation()).into());
        request.correlation = Some(awaited.correlation().into());
        let sent = self.publisher.submit(topic, vec![request], deadline);
        let mut reply = std::pin::pin!(awaited.reply(deadline));
        let replied = tokio::select! {
            biased;
            replied = &mut reply => replied,
            sent = sent => match sent.into_iter().find_map(Result::err) {
                Some(error) => return Err(error),
                None => reply.await,
            },
        };
        match replied {
            Err(error) if error.fault == Fault::Timeout => Err(match self.api.link.deaf() {
                Some(denied) => denied.because(error),
                None => error,
            }),
            replied => replied,
        }
    }

    /// Sends a reply; done when the server has seen it.
    pub(crate) async fn answer(&self, to: &str, reply: Message, deadline: Instant) -> Result<(), Error> {
        check_reply(to)?;
        let sent = self.publisher.submit(&Topic::new(to), vec![reply], deadline).await;
        sent.into_iter().try_for_each(|outcome| outcome.map(drop))
    }

    async fn refuse_captured(&self, topic: &Topic) -> Result<(), Error> {
        let known = self.known().get(topic).copied().filter(|(_, since)| since.elapsed() < FRESH);
        let captured = match known {
            Some((captured, _)) => captured,
            None => self.look(topic).await,
        };
        if !captured {
            return Ok(());
        }
        let detail =
            format!("a stream captures {topic} and would answer itself: ask on a subject without one");
        Err(Error::new(Fault::Unsupported).detail(detail))
    }

    async fn look(&self, topic: &Topic) -> bool {
        let captured = self.streams.are_there(topic, Instant::now() + PATIENCE).await.unwrap_or(false);
        let mut known = self.known();
        if known.len() >= TOPICS {
            known.clear();
        }
        known.insert(topic.clone(), (captured, Instant::now()));
        captured
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Topic, (bool, Instant)>> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.collecting.abort();
    }
}

/// Hands replies to who awaits them, until the connection is closed for good.
async fn collect(requests: Arc<Requests>, prefix: usize, mut replies: Subscriber) {
    while let Some(wire) = replies.next().await {
        let correlation = wire.subject.as_str().get(prefix..).unwrap_or_default().to_owned();
        // What nobody awaits is dropped.
        let _ = requests.conclude(&correlation, read(wire));
    }
}

/// Reads a reply, or the server's word that nobody listens.
fn read(wire: Wire) -> Result<Message, Error> {
    if wire.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Error::new(Fault::Unroutable).detail("nobody answers requests on this subject now"));
    }
    // How a service of the NATS services framework says that it failed.
    let failure = wire.headers.as_ref().and_then(|headers| headers.get(SERVICE_ERROR));
    let failure = failure.map(|code| Bytes::copy_from_slice(code.as_str().as_bytes()));
    let mut reply = message::of_map(wire.headers.as_ref(), wire.payload);
    if let Some(code) = failure.filter(|_| reply.header(REPLY_STATUS).is_none()) {
        reply.headers.push(Header::new(REPLY_STATUS, code));
    }
    Ok(reply)
}

const SERVICE_ERROR: &str = "Nats-Service-Error-Code";
/// How long it is believed whether a stream captures a subject.
const FRESH: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_millis(500);
const TOPICS: usize = 1_000;
