//! The one publisher that all share.
//!
//! A call checks, admits and queues its messages, in call order. One task ([`post`]) hands them over on
//! one confirm channel, in that order and without waiting for one another ([`pipeline`]), and collects
//! what becomes of each ([`flights`]), whether or not the caller still waits.
//!
//! Nothing is handed over while the broker is known to be away, or to take nothing: once handed
//! over, a message can't be taken back.

mod flights;
mod pipeline;
mod post;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lapin::BasicProperties;
use sidespan_bridge::{Batch, Budget, Error, Fault, Message, Publisher, Receipt, Topic};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::address::{Address, DIRECT};
use crate::link::{self, Link, State};
use crate::message;
use crate::settings::AmqpSettings;

pub(crate) use flights::{Answer, RECEIPT, refused, unroutable};
use flights::{Content, Letter};
pub(crate) use pipeline::publish;
use post::Post;

/// Publishes to one broker.
pub(crate) struct AmqpPublisher {
    link: Arc<Link>,
    queue: mpsc::UnboundedSender<Letter>,
    budget: Arc<Budget>,
    max_message: usize,
    max_deadline: Duration,
    closing: AtomicBool,
    /// The broker was asked, and has not answered since.
    silent: Arc<AtomicBool>,
    post: JoinHandle<()>,
}

impl AmqpPublisher {
    /// Begins to publish over a link. Waits for nobody.
    pub(crate) fn open(settings: &AmqpSettings, link: Arc<Link>) -> Self {
        let (queue, inbox) = mpsc::unbounded_channel();
        Self {
            post: tokio::spawn(Post::new(Arc::clone(&link), inbox).run()),
            link,
            queue,
            budget: Budget::new(MESSAGES),
            max_message: usize::try_from(settings.max_message.0).unwrap_or(usize::MAX),
            max_deadline: settings.max_deadline.0,
            closing: AtomicBool::new(false),
            silent: Arc::default(),
        }
    }

    /// Asks the broker for a sign of life on the publishing connection.
    pub(crate) async fn probe(&self, deadline: Instant) -> Result<(), Error> {
        let begin = Instant::now();
        let wire = self.link.wire(deadline).await.map_err(|error| match self.link.state() {
            State::Down(trouble) => trouble.explain(),
            State::Closed | State::Opening | State::Up(_) => error,
        })?;
        if let Some(reason) = wire.blocked() {
            return Err(blocked(&reason));
        }
        let asked = Arc::clone(&wire);
        // It goes on beyond the deadline: the answer ends the silence. The connection's end is one, too.
        let silent = Arc::clone(&self.silent);
        let mut answer = tokio::spawn(async move {
            let answer = asked.pulse().await;
            silent.store(false, Ordering::Release);
            answer
        });
        match timeout_at(deadline, &mut answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => {
                if begin.elapsed() >= SILENCE {
                    self.silent.store(true, Ordering::Release);
                    // It may have come just now.
                    self.silent.fetch_and(!answer.is_finished(), Ordering::AcqRel);
                }
                Err(Error::new(Fault::Unavailable).detail("rabbitmq does not answer"))
            }
        }
    }

    /// Takes no more, and waits until all that was taken has an outcome.
    pub(crate) async fn drain(&self, deadline: Instant) {
        self.closing.store(true, Ordering::Release);
        let _ = timeout_at(deadline, self.budget.until_empty()).await;
    }

    /// Says why nothing can be handed over now.
    pub(crate) fn refusal(&self) -> Option<Error> {
        if self.closing.load(Ordering::Acquire) {
            return Some(link::closed());
        }
        match self.link.state() {
            State::Up(wire) => match wire.blocked() {
                Some(reason) => Some(blocked(&reason)),
                None => self
                    .silent
                    .load(Ordering::Acquire)
                    .then(|| Error::new(Fault::Unavailable).detail("rabbitmq does not answer")),
            },
            State::Opening => None,
            State::Down(trouble) => Some(trouble.error()),
            State::Closed => Some(link::closed()),
        }
    }

    /// Returns what a message is on the wire, if AMQP and the settings have room for it.
    pub(crate) fn carried(&self, message: Message) -> Result<(BasicProperties, Bytes), Error> {
        if message.weight() > self.max_message {
            let most = self.max_message;
            let detail = format!("the message is larger than `max_message` of the bridge, {most} bytes");
            return Err(Error::new(Fault::TooLarge).detail(detail));
        }
        let properties = message::properties(&message, SystemTime::now())?;
        let payload = message.payload.ok_or_else(|| {
            let detail = "AMQP has no message without a body: a tombstone cannot be published";
            Error::new(Fault::Unsupported).detail(detail)
        })?;
        if message.partition.is_some_and(|partition| partition != 0) {
            return Err(Error::new(Fault::Unsupported).detail("AMQP has no partitions"));
        }
        Ok((properties, payload))
    }

    /// Admits a message and queues it.
    fn submit(
        &self,
        address: &Arc<Address>,
        mandatory: bool,
        message: Message,
        place: (&Arc<Batch>, usize),
    ) -> Result<(), Error> {
        if message.reply_to.as_deref() == Some(DIRECT) {
            let detail = "the broker ends the channel of who names this reply address without waiting there: \
                          send a request";
            return Err(Error::new(Fault::Invalid).detail(detail));
        }
        let weight = message.weight();
        let (properties, payload) = self.carried(message)?;
        let share = self.budget.admit(weight).ok_or_else(|| Error::new(Fault::Overloaded))?;
        let (batch, index) = place;
        let ticket = batch.ticket(index, share);
        let content = Content { address: Arc::clone(address), properties, payload, mandatory };
        // A letter that comes back says by its ticket that it was not handed over.
        let _ = self.queue.send(Letter { content, ticket });
        Ok(())
    }

    /// Publishes to an address. What is not `mandatory` is lost, and not said to be, where the broker has
    /// nowhere to put it.
    pub(crate) fn publish_to(
        &self,
        address: Result<Address, Error>,
        mandatory: bool,
        messages: Vec<Message>,
        deadline: Instant,
    ) -> BoxFuture<'static, Vec<Result<Receipt, Error>>> {
        let batch = Batch::new(messages.len());
        let address = address.map(Arc::new);
        let mut full = false;
        for (index, message) in messages.into_iter().enumerate() {
            let submitted = match (&address, self.refusal()) {
                (Err(error), _) => Err(Error::new(error.fault).detail(error.to_string())),
                (Ok(_), Some(refusal)) => Err(refusal),
                // Once one is refused so are those behind it: none may overtake.
                (Ok(_), None) if full => Err(Fault::Overloaded.into()),
                (Ok(address), None) => self.submit(address, mandatory, message, (&batch, index)),
            };
            if let Err(error) = submitted {
                full |= error.fault == Fault::Overloaded;
                batch.conclude(index, Err(error));
            }
        }
        let deadline = deadline.min(Instant::now() + self.max_deadline);
        async move {
            let _ = timeout_at(deadline, batch.until_concluded()).await;
            batch.outcomes()
        }
        .boxed()
    }
}

impl Publisher for AmqpPublisher {
    fn publish(
        &self,
        topic: &Topic,
        messages: Vec<Message>,
        deadline: Instant,
    ) -> BoxFuture<'static, Vec<Result<Receipt, Error>>> {
        self.publish_to(Address::of(topic), true, messages, deadline)
    }
}

impl Drop for AmqpPublisher {
    fn drop(&mut self) {
        self.post.abort();
    }
}

fn blocked(reason: &str) -> Error {
    let detail = format!("rabbitmq takes no messages for now: {reason}");
    Error::new(Fault::Overloaded).detail(detail)
}

/// A broker that says nothing for so long is away.
const SILENCE: Duration = Duration::from_secs(1);
/// How many messages may be on their way at a time.
const MESSAGES: usize = 1 << 16;
