//! The task that hands messages to the client.
//!
//! A topic is looked up before the first message goes to it; what comes meanwhile for it waits in
//! order. Other topics do not wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::BaseRecord;
use sidespan_bridge::{Error, Fault, Message, Ticket, Topic};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::producer::{Producer, Sending};
use crate::catalogue::Found;
use crate::{fault, message};

/// One publish, admitted.
pub(super) struct Submission {
    pub(super) topic: Topic,
    pub(super) messages: Vec<(Message, Ticket)>,
}

/// Hands over in order what is submitted.
pub(super) struct Sender {
    producer: Arc<Producer>,
    inbox: mpsc::UnboundedReceiver<Submission>,
    topics: HashMap<Topic, Known>,
    lookups: JoinSet<(Topic, Result<Found, Error>)>,
}

enum Known {
    /// Exists, with so many partitions.
    Exists(u32),
    /// Is being looked up for these.
    Sought(Vec<Submission>),
}

impl Submission {
    /// Answers for all: not handed over.
    pub(super) fn refuse(self, error: impl Fn() -> Error) {
        self.messages.into_iter().for_each(|(_, ticket)| ticket.conclude(Err(error())));
    }

    /// Hands all over, and tells whether the topic is to be looked up again.
    fn send(self, client: &Sending, partitions: u32) -> bool {
        let Self { topic, messages } = self;
        let (mut full, mut in_doubt) = (false, false);
        for (message, ticket) in messages {
            // None may overtake one that the client had no room for.
            if full {
                ticket.conclude(Err(Fault::Overloaded.into()));
                continue;
            }
            if let Some(asked) = message.partition.filter(|asked| *asked >= partitions) {
                let detail =
                    format!("the topic has no partition {asked}: it has {partitions}, counted from 0");
                ticket.conclude(Err(Error::new(Fault::Invalid).detail(detail)));
                continue;
            }
            match hand_over(client, &topic, &message, ticket) {
                Some(Code::QueueFull) => full = true,
                Some(Code::Fatal | Code::UnknownTopic) => in_doubt = true,
                Some(_) | None => {}
            }
        }
        in_doubt
    }

    /// Tells whether a partition is asked for beyond those that are known.
    fn exceeds(&self, partitions: u32) -> bool {
        self.messages.iter().any(|(message, _)| message.partition.is_some_and(|asked| asked >= partitions))
    }
}

impl Sender {
    pub(super) fn new(producer: Arc<Producer>, inbox: mpsc::UnboundedReceiver<Submission>) -> Self {
        Self { producer, inbox, topics: HashMap::new(), lookups: JoinSet::new() }
    }

    /// Runs until the publisher is gone.
    pub(super) async fn run(mut self) {
        let mut turn = Vec::with_capacity(TURN);
        loop {
            tokio::select! {
                biased;
                Some(found) = self.lookups.join_next() => {
                    if let Ok((topic, found)) = found {
                        self.found(&topic, found);
                    }
                }
                taken = self.inbox.recv_many(&mut turn, TURN) => {
                    if taken == 0 {
                        return;
                    }
                    self.producer.until_changed().await;
                    turn.drain(..).for_each(|submission| self.submit(submission));
                }
            }
        }
    }

    fn submit(&mut self, submission: Submission) {
        if self.producer.link.is_down() {
            return submission.refuse(|| Fault::Unavailable.into());
        }
        if self.producer.is_denied() {
            return submission.refuse(|| Fault::Denied.into());
        }
        match self.topics.get_mut(&submission.topic) {
            Some(Known::Exists(partitions)) if !submission.exceeds(*partitions) => {
                let partitions = *partitions;
                self.send(submission, partitions);
            }
            Some(Known::Sought(waiting)) => waiting.push(submission),
            Some(Known::Exists(_)) | None => self.seek(submission),
        }
    }

    fn seek(&mut self, submission: Submission) {
        // Each takes a thread until the cluster answers, and anybody may make up names.
        if self.lookups.len() >= LOOKUPS {
            return submission.refuse(|| Fault::Overloaded.into());
        }
        let (producer, topic) = (Arc::clone(&self.producer), submission.topic.clone());
        self.topics.insert(topic.clone(), Known::Sought(vec![submission]));
        self.lookups.spawn(async move {
            let found = producer.find(topic.clone(), LOOKUP).await;
            (topic, found)
        });
    }

    fn found(&mut self, topic: &Topic, found: Result<Found, Error>) {
        let Some(Known::Sought(waiting)) = self.topics.remove(topic) else { return };
        match found {
            Ok(found) => {
                self.producer.link.is_back();
                self.topics.insert(topic.clone(), Known::Exists(found.partitions));
                waiting.into_iter().for_each(|submission| self.send(submission, found.partitions));
            }
            Err(error) => {
                // Whatever the reason: nothing was handed over.
                let fault = if error.fault == Fault::Timeout { Fault::Unavailable } else { error.fault };
                if fault == Fault::Unavailable {
                    self.producer.link.doubt.notify_one();
                }
                tracing::debug!(%topic, %error, cause = ?std::error::Error::source(&error), "topic not found");
                for submission in waiting {
                    submission.refuse(|| fault.into());
                }
            }
        }
    }

    fn send(&mut self, submission: Submission, partitions: u32) {
        let client = self.producer.held();
        let Some(client) = &*client else { return submission.refuse(|| Fault::Unavailable.into()) };
        let topic = submission.topic.clone();
        if submission.send(client, partitions) {
            self.topics.remove(&topic);
            self.producer.link.doubt.notify_one();
        }
    }
}

/// Hands one message over. What the client refuses is answered here, and told.
fn hand_over(client: &Sending, topic: &Topic, message: &Message, ticket: Ticket) -> Option<Code> {
    let headers = match message::headers(message) {
        Ok(headers) => headers,
        Err(error) => {
            ticket.conclude(Err(error));
            return None;
        }
    };
    if !ticket.hand_over() {
        return None;
    }
    let mut record: BaseRecord<'_, [u8], [u8], Box<Ticket>> =
        BaseRecord::with_opaque_to(topic.as_str(), Box::new(ticket));
    record.partition = message.partition.and_then(|partition| i32::try_from(partition).ok());
    record.key = message.key.as_deref();
    record.payload = message.payload.as_deref();
    record.headers = headers;
    match client.send(record) {
        Ok(()) => None,
        Err((error, record)) => {
            let code = match &error {
                KafkaError::MessageProduction(code) => Some(*code),
                _ => None,
            };
            record.delivery_opaque.conclude(Err(fault::of_handover(error)));
            code
        }
    }
}

/// As many submissions as are handed over before the executor gets its turn again.
const TURN: usize = 1024;
/// How long the cluster may take to say whether it has a topic.
const LOOKUP: Duration = Duration::from_millis(900);
/// As many topics are looked up at a time.
const LOOKUPS: usize = 64;
