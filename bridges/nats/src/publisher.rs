//! The one connection that all publishes share.
//!
//! A call checks its batch, takes its share of the budget, and hands it to the client ([`outbox`]), in
//! call order and without waiting. One task reads the answers ([`answers`]). A connection that is lost
//! takes along whatever was not answered: that is a timeout at once, for it may be stored.
//!
//! The client library's own publishing waits once 5,000 acknowledgements are out, and lets go of
//! those whose caller has gone; hence the inbox of our own.

mod absent;
mod answers;
mod kept;
mod outbox;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::Client;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use sidespan_bridge::{Batch, Budget, Error, Fault, Message, Publisher, Receipt, Share, Topic};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::api::Api;
use crate::link::{Change, Link, State, at_once};
use crate::settings::{Mode, NatsSettings};
use crate::streams::Streams;
use crate::{message, subject};

use absent::Absent;
use answers::Known;
use kept::Kept;
use outbox::{Outbox, Parcel};

/// Publishes to one cluster.
pub(crate) struct NatsPublisher {
    outbox: Arc<Outbox>,
    budget: Arc<Budget>,
    stores: bool,
    max_message: usize,
    closing: AtomicBool,
}

/// What a publisher runs on; ends with the bridge.
pub(crate) struct Engine {
    client: Client,
    collecting: JoinHandle<()>,
}

/// Makes the publisher. Waits for nobody.
pub(crate) fn open(
    settings: &Arc<NatsSettings>,
    service: &str,
) -> Result<(Arc<NatsPublisher>, Api, Arc<Streams>, Engine), Error> {
    let stores = settings.mode == Mode::Jetstream;
    let place: Arc<std::sync::OnceLock<Arc<Outbox>>> = Arc::default();
    let hooked = Arc::clone(&place);
    let hook = move |change| {
        let Some(outbox) = hooked.get() else { return };
        match change {
            Change::Up => outbox.open(),
            Change::Down => {
                outbox.shut();
                outbox.give_up();
            }
            Change::Denied(denied) => outbox.deny(&denied),
            // There is room for the answers of all that may be out.
            Change::Overflowed => {}
        }
    };
    let (client, link) = Link::open(settings, service, "publishing", QUEUE, Box::new(hook))?;
    let outbox = Arc::new(Outbox::new(client.clone(), stores));
    let _ = place.set(Arc::clone(&outbox));
    // What the hook missed until now.
    match link.state() {
        State::Up(_) => outbox.open(),
        State::Down => outbox.shut(),
        State::Connecting => {}
    }
    let api = Api { client: client.clone(), link: Arc::clone(&link) };
    let streams = Arc::new(Streams::new(api.clone(), Arc::clone(settings)));
    let known = Known {
        kept: Arc::new(Kept::new(Arc::clone(&streams))),
        absent: Arc::new(Absent::new(Arc::clone(&streams))),
    };
    // A subscription waits in the client's queue until there is a connection, ahead of all publishes.
    let subscribing = at_once(client.subscribe(outbox.answers_at()));
    let Some(Ok(answers)) = subscribing else {
        return Err(Error::new(Fault::Unavailable).detail("the client does not subscribe"));
    };
    let patience = settings.max_deadline.0;
    let collecting = tokio::spawn(answers::collect(Arc::clone(&outbox), known, answers, patience));
    let publisher = NatsPublisher {
        outbox,
        budget: Budget::new(MESSAGES),
        stores,
        max_message: usize::try_from(settings.max_message.0).unwrap_or(usize::MAX),
        closing: AtomicBool::new(false),
    };
    Ok((Arc::new(publisher), api, streams, Engine { client, collecting }))
}

impl NatsPublisher {
    /// Takes no more, and waits until all that was taken has an outcome.
    pub(crate) async fn drain(&self, deadline: Instant) {
        self.closing.store(true, Ordering::Release);
        let _ = timeout_at(deadline, self.budget.until_empty()).await;
        self.outbox.shut();
        self.outbox.give_up();
    }

    /// Publishes to a subject that was checked.
    pub(crate) fn submit(
        &self,
        topic: &Topic,
        messages: Vec<Message>,
        deadline: Instant,
    ) -> BoxFuture<'static, Vec<Result<Receipt, Error>>> {
        let closed = || {
            let closing = self.closing.load(Ordering::Acquire);
            closing.then(|| Error::new(Fault::Unavailable).detail("the bridge is closed"))
        };
        let batch = Batch::new(messages.len());
        let mut parcels = Vec::with_capacity(messages.len());
        let mut full = false;
        for (index, message) in messages.into_iter().enumerate() {
            let checked = closed().map_or_else(|| self.parcel(topic, message, deadline), Err);
            let unsent = match checked {
                Ok(unsent) => unsent,
                Err(error) => {
                    batch.conclude(index, Err(error));
                    continue;
                }
            };
            // Once one is refused so are those behind it: none may overtake.
            let share: Option<Share> = self.budget.admit(unsent.weight).filter(|_| !full);
            let Some(share) = share else {
                full = true;
                batch.conclude(index, Err(Fault::Overloaded.into()));
                continue;
            };
            let Unsent { reply_to, headers, payload, deduplicated, .. } = unsent;
            let ticket = batch.ticket(index, share);
            parcels.push(Parcel { topic: topic.clone(), reply_to, headers, payload, deduplicated, ticket });
        }
        if !parcels.is_empty() {
            self.outbox.submit(parcels);
        }
        async move {
            let _ = timeout_at(deadline, batch.until_concluded()).await;
            batch.outcomes()
        }
        .boxed()
    }

    fn parcel(&self, topic: &Topic, message: Message, deadline: Instant) -> Result<Unsent, Error> {
        let weight = message.weight();
        if weight > self.max_message {
            let detail =
                format!("the message is larger than `max_message` of the bridge, {} bytes", self.max_message);
            return Err(Error::new(Fault::TooLarge).detail(detail));
        }
        if deadline <= Instant::now() {
            return Err(Error::new(Fault::Unavailable)
                .detail("the deadline had passed before anything was handed over"));
        }
        let mut message = message;
        // Without a stream NATS has a field for it, and whoever replies looks there.
        let reply_to = message
            .reply_to
            .take_if(|reply| !self.stores && subject::check_reply(reply).is_ok())
            .map(String::from);
        let mut headers = message::headers(&message)?;
        if let (true, Some(id)) = (self.stores, &message.deduplication) {
            // A stream remembers ids over all its subjects; ours count for one topic.
            headers.insert("Nats-Msg-Id", subject::hash(&[topic.as_str(), id], 16));
        }
        let deduplicated = self.stores && message.deduplication.is_some();
        Ok(Unsent { weight, reply_to, headers, payload: message.payload.unwrap_or_default(), deduplicated })
    }
}

/// A message that was checked.
struct Unsent {
    weight: usize,
    reply_to: Option<String>,
    headers: async_nats::HeaderMap,
    payload: bytes::Bytes,
    deduplicated: bool,
}

impl Publisher for NatsPublisher {
    fn publish(
        &self,
        topic: &Topic,
        messages: Vec<Message>,
        deadline: Instant,
    ) -> BoxFuture<'static, Vec<Result<Receipt, Error>>> {
        match subject::check_address(topic.as_str()) {
            Ok(()) => self.submit(topic, messages, deadline),
            Err(error) => {
                let again = |_| Err(Error::new(error.fault).detail(error.to_string()));
                ready(messages.iter().map(again).collect()).boxed()
            }
        }
    }
}

impl Engine {
    /// Ends the connection, once what it was told has left.
    pub(crate) async fn close(self, deadline: Instant) {
        let _ = timeout_at(deadline, self.client.drain()).await;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.collecting.abort();
    }
}

/// The client's queues hold all that may be on its way, and whatever else is asked.
const QUEUE: usize = 2 * MESSAGES;
/// How many messages may be on their way at a time.
const MESSAGES: usize = 32_768;
