//! The one producer that all publishes share.
//!
//! A call checks, admits and queues its batch, in call order. One task ([`sender`]) takes all that
//! is queued and hands it to librdkafka in one go: a hand-over wakes the client's threads, and one
//! wake for many messages doubles the rate. The same task concludes the ticket of each message
//! ([`flight`]), whether or not the caller still waits.
//!
//! Nothing is handed over while the cluster is known to be away, or for a topic that does not
//! exist: once handed over, a message can't be taken back.

mod flight;
mod largest;
mod producer;
mod reports;
mod sender;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sidespan_bridge::{Batch, Budget, Error, Fault, Message, Publisher, Receipt, Topic};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::catalogue::check_name;
use crate::clients::Clients;
use crate::link::Link;

use flight::{Flight, Tell};
use largest::Largest;
pub(crate) use producer::Producer;
use sender::{Sender, Submission};

/// Publishes to one cluster.
pub(crate) struct KafkaPublisher {
    queue: mpsc::UnboundedSender<Submission>,
    tell: Tell,
    budget: Arc<Budget>,
    link: Arc<Link>,
    max_message: usize,
    largest: Arc<Largest>,
    closing: AtomicBool,
}

/// What a publisher runs on; ends with the bridge.
pub(crate) struct Engine {
    pub(crate) producer: Arc<Producer>,
    tasks: Vec<JoinHandle<()>>,
}

/// Makes the publisher. Waits for nobody.
pub(crate) fn open(clients: &Arc<Clients>, max_message: u64) -> Result<(Arc<KafkaPublisher>, Engine), Error> {
    let producer = Arc::new(Producer::new(Arc::clone(clients))?);
    let budget = Budget::new(MESSAGES);
    // Bounded by the budget: what is in the queue has been admitted.
    let (queue, inbox) = mpsc::unbounded_channel();
    let (tell, heard) = flight::channel();
    let sender = Sender::new(Arc::clone(&producer), inbox, tell.clone(), heard);
    let tasks = vec![
        tokio::spawn(sender.run()),
        tokio::spawn(producer::watch(Arc::clone(&producer), Arc::clone(&budget))),
    ];
    let publisher = KafkaPublisher {
        queue,
        tell,
        budget,
        link: Arc::clone(&clients.link),
        max_message: usize::try_from(max_message).unwrap_or(usize::MAX),
        largest: Arc::new(Largest::new(Arc::clone(clients))),
        closing: AtomicBool::new(false),
    };
    Ok((Arc::new(publisher), Engine { producer, tasks }))
}

impl KafkaPublisher {
    /// Takes no more, and waits until all that was taken has an outcome.
    pub(crate) async fn drain(&self, deadline: Instant) {
        self.closing.store(true, Ordering::Release);
        let _ = timeout_at(deadline, self.budget.until_empty()).await;
    }

    fn refusal(&self, topic: &Topic) -> Option<Fault> {
        if self.closing.load(Ordering::Acquire) || self.link.is_down() {
            return Some(Fault::Unavailable);
        }
        check_name(topic.as_str()).err().map(|error| error.fault)
    }
}

impl Publisher for KafkaPublisher {
    fn publish(
        &self,
        topic: &Topic,
        messages: Vec<Message>,
        deadline: Instant,
    ) -> BoxFuture<'static, Vec<Result<Receipt, Error>>> {
        if let Some(fault) = self.refusal(topic) {
            let error = || match check_name(topic.as_str()) {
                Err(error) if fault == Fault::Invalid => error,
                _ => fault.into(),
            };
            let outcomes = messages.iter().map(|_| Err(error())).collect();
            return futures_util::future::ready(outcomes).boxed();
        }
        let batch = Batch::new(messages.len());
        let mut accepted = Vec::with_capacity(messages.len());
        // Of what is refused here nothing is to be asked.
        let size = |message: &Message| {
            if message.weight() > self.max_message { usize::MAX } else { largest::alone(message) }
        };
        let sizes: Vec<usize> = messages.iter().map(size).collect();
        let mut full = false;
        for (index, message) in messages.into_iter().enumerate() {
            let weight = message.weight();
            if weight > self.max_message {
                let detail = format!(
                    "the message is larger than `max_message` of the bridge, {} bytes",
                    self.max_message
                );
                batch.conclude(index, Err(Error::new(Fault::TooLarge).detail(detail)));
                continue;
            }
            // Once one is refused so are those behind it: none may overtake.
            match self.budget.admit(weight).filter(|_| !full) {
                Some(share) => accepted.push((message, Flight::new(batch.ticket(index, share), &self.tell))),
                None => {
                    full = true;
                    batch.conclude(index, Err(Fault::Overloaded.into()));
                }
            }
        }
        if !accepted.is_empty() {
            let submission = Submission { topic: topic.clone(), messages: accepted };
            if let Err(mpsc::error::SendError(submission)) = self.queue.send(submission) {
                submission.refuse(|| Fault::Unavailable.into());
            }
        }
        let (topic, largest) = (topic.clone(), Arc::clone(&self.largest));
        async move {
            let _ = timeout_at(deadline, batch.until_concluded()).await;
            let mut outcomes = batch.outcomes();
            let in_doubt = |(outcome, size): (&Result<Receipt, Error>, &usize)| {
                *size < usize::MAX && matches!(outcome, Err(error) if error.fault == Fault::TooLarge)
            };
            if outcomes.iter().zip(&sizes).any(in_doubt) {
                let _ = timeout_at(deadline, largest.judge(&topic, &sizes, &mut outcomes)).await;
            }
            outcomes
        }
        .boxed()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.producer.let_go();
    }
}

/// As many as the client's own queue takes.
const MESSAGES: usize = 100_000;
