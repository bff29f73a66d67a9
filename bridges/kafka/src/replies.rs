//! Asks, and waits for the one reply; and answers others who ask.
//!
//! Replies come to a topic of the service, each to the partition that its request names. Each bridge reads one
//! partition of it, chosen at random, by a consumer in no group ([`desk`]): so a reply comes to the
//! replica that asked, and what is for others in the same partition is passed over by its correlation. The
//! desk is open, and knows where it begins to read, before the first request goes.
//!
//! Kafka does not tell whether anybody reads a topic: a request that nobody answers is a `Timeout`.

mod desk;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use sidespan_bridge::{Awaited, Error, Fault, Message, Publisher, Requests, Topic};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::asker::Asker;
use crate::clients::Clients;
use crate::publisher::KafkaPublisher;
use crate::reply_to::ReplyTo;
use crate::topics::Topics;

use desk::Desk;

/// Asks and answers by one cluster.
pub(crate) struct Replies {
    /// Where replies to this service come.
    topic: Topic,
    clients: Arc<Clients>,
    asker: Arc<Asker>,
    topics: Arc<Topics>,
    publisher: Arc<KafkaPublisher>,
    requests: Arc<Requests>,
    desk: Mutex<Option<Opening>>,
    over: CancellationToken,
}

/// A desk that is open, or about to be: all who ask at first wait for the same one.
type Opening = Shared<BoxFuture<'static, Result<Arc<Desk>, Arc<Error>>>>;

impl Replies {
    /// Does nothing until somebody asks.
    pub(crate) fn new(
        (topic, most): (Topic, u32),
        (clients, asker): (Arc<Clients>, Arc<Asker>),
        (topics, publisher): (Arc<Topics>, Arc<KafkaPublisher>),
    ) -> Self {
        // Replies to others of this service come to the same topic.
        let prefix = format!("{:016x}-", RandomState::new().hash_one(0));
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self {
            topic,
            clients,
            asker,
            topics,
            publisher,
            requests: Requests::bounded(prefix, most),
            desk: Mutex::default(),
            over: CancellationToken::new(),
        }
    }

    /// Publishes a request and waits for its reply.
    pub(crate) async fn request(
        &self,
        topic: &Topic,
        mut message: Message,
        deadline: Instant,
    ) -> Result<Message, Error> {
        if self.over.is_cancelled() || self.clients.link.is_down() {
            return Err(Fault::Unavailable.into());
        }
        let awaited = self.requests.take()?;
        let own = message.correlation.replace(awaited.correlation().into());
        let desk = tokio::select! {
            desk = timeout_at(deadline, self.desk()) => match desk {
                Ok(desk) => desk?,
                Err(_) => return Err(not_ready()),
            },
            () = self.over.cancelled() => return Err(Fault::Unavailable.into()),
        };
        message.reply_to = Some(desk.address().into());
        let mut reply = tokio::select! {
            reply = self.ask(topic, message, awaited, deadline) => reply?,
            () = self.over.cancelled() => {
                let detail = "the bridge was closed before a reply came; the request may have been handled";
                return Err(Error::new(Fault::Timeout).detail(detail));
            }
        };
        if own.is_some() {
            reply.correlation = own;
        }
        Ok(reply)
    }

    async fn ask(
        &self,
        topic: &Topic,
        request: Message,
        mut awaited: Awaited,
        deadline: Instant,
    ) -> Result<Message, Error> {
        let mut published = self.publisher.publish(topic, vec![request], deadline);
        let outcome = tokio::select! {
            biased;
            reply = awaited.reply(deadline) => match reply {
                Ok(reply) => return Ok(reply),
                Err(late) => return match published.await.pop() {
                    // It was never handed over.
                    Some(Err(error)) if error.fault == Fault::Unavailable => Err(error),
                    _ => Err(late),
                },
            },
            mut outcomes = &mut published => outcomes.pop(),
        };
        match outcome {
            Some(Err(error)) if error.fault != Fault::Timeout => Err(error),
            // It may be stored all the same, and answered.
            _ => awaited.reply(deadline).await,
        }
    }

    /// Publishes a reply to where it is awaited.
    pub(crate) async fn reply(&self, to: &str, reply: Message, deadline: Instant) -> Result<(), Error> {
        let ReplyTo { topic, partition } = ReplyTo::parse(to)?;
        let reply = Message { partition, ..reply };
        let mut outcomes = self.publisher.publish(&topic, vec![reply], deadline).await;
        match outcomes.pop() {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) if error.fault == Fault::UnknownTopic => {
                let detail =
                    "nobody waits for this reply: kafka does not have the topic that the request names";
                Err(Error::new(Fault::Unroutable).detail(detail).because(error))
            }
            Some(Err(error)) => Err(error),
            None => Err(Fault::Timeout.into()),
        }
    }

    /// Ends all waiting.
    pub(crate) async fn close(&self, deadline: Instant) {
        self.over.cancel();
        let opening = self.lock().take();
        if let Some(opening) = opening
            && let Ok(Ok(desk)) = timeout_at(deadline, opening).await
        {
            desk.close(deadline).await;
        }
    }

    /// Returns the desk; opens one where there is none, or none that still reads.
    async fn desk(&self) -> Result<Arc<Desk>, Error> {
        let opening = {
            let mut current = self.lock();
            match &*current {
                Some(opening) if is_of_use(opening) => opening.clone(),
                Some(_) | None => current.insert(self.open()).clone(),
            }
        };
        opening.await.map_err(|error| Error::new(error.fault).detail(error.to_string()))
    }

    /// Begins to open a desk, which goes on though who asked goes away.
    fn open(&self) -> Opening {
        let (clients, asker, topics) =
            (Arc::clone(&self.clients), Arc::clone(&self.asker), Arc::clone(&self.topics));
        let (topic, requests, over) =
            (self.topic.clone(), Arc::clone(&self.requests), self.over.child_token());
        let opening = tokio::spawn(async move {
            let deadline = Instant::now() + OPENING;
            let ended = over.clone();
            let open = Desk::open(&topic, (&clients, &asker, &topics), requests, over, deadline);
            let opened = tokio::select! {
                opened = timeout_at(deadline, open) => opened,
                () = ended.cancelled() => return Err(Arc::new(not_ready())),
            };
            match opened {
                Ok(Ok(desk)) => Ok(Arc::new(desk)),
                // Whatever the reason: nothing was handed over.
                Ok(Err(error)) if error.fault != Fault::Timeout => Err(Arc::new(error)),
                Ok(Err(_)) | Err(_) => Err(Arc::new(not_ready())),
            }
        });
        opening.map(|opened| opened.unwrap_or_else(|_| Err(Arc::new(not_ready())))).boxed().shared()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Opening>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

fn is_of_use(opening: &Opening) -> bool {
    match opening.peek() {
        None => true,
        Some(Ok(desk)) => desk.is_open(),
        Some(Err(_)) => false,
    }
}

fn not_ready() -> Error {
    Error::new(Fault::Unavailable)
        .detail("kafka was not ready to bring replies before the deadline; nothing was handed over")
}

/// How long opening a desk may take.
const OPENING: Duration = Duration::from_secs(10);
