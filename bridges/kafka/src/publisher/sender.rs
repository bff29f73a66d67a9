//! The task that hands messages to the client, and concludes them.
//!
//! # When they are handed over
//!
//! The client sends at once what it is given, and a request costs it and the broker as much as some
//! ten messages in it. So with nothing on its way a message goes at once; else what comes is gathered
//! until most of what was on its way has its outcome, or a moment has passed. The longer the broker
//! takes, the more goes together.
//!
//! # Which topics
//!
//! A topic is looked up before the first message goes to it; what comes meanwhile for it waits in
//! order. Other topics do not wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::BaseRecord;
use sidespan_bridge::{Error, Fault, Message, Topic};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::flight::{Flight, Heard, Tell};
use super::producer::Producer;
use super::reports::{Sending, is_shut_out};
use crate::catalogue::Found;
use crate::{fault, message};

/// One publish, admitted.
pub(super) struct Submission {
    pub(super) topic: Topic,
    pub(super) messages: Vec<(Message, Flight)>,
}

/// Hands over in order what is submitted.
pub(super) struct Sender {
    producer: Arc<Producer>,
    inbox: mpsc::UnboundedReceiver<Submission>,
    tell: Tell,
    heard: Heard,
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
    pub(super) fn new(
        producer: Arc<Producer>,
        inbox: mpsc::UnboundedReceiver<Submission>,
        tell: Tell,
        heard: Heard,
    ) -> Self {
        Self { producer, inbox, tell, heard, topics: HashMap::new(), lookups: JoinSet::new() }
    }

    /// Runs until the publisher is gone.
    pub(super) async fn run(mut self) {
        let (mut turn, mut landings) = (Vec::new(), Vec::with_capacity(TURN));
        // What comes is gathered until no more than so many are on their way, or until then.
        let (mut few, mut end) = (0, Instant::now());
        loop {
            let gathers = self.tell.aloft() > few;
            tokio::select! {
                biased;
                Some(found) = self.lookups.join_next() => {
                    if let Ok((topic, found)) = found {
                        self.found(&topic, found);
                    }
                }
                () = self.heard.conclude(&mut landings) => {}
                () = sleep_until(end), if gathers => few = usize::MAX,
                taken = self.inbox.recv_many(&mut turn, TURN), if !gathers => {
                    if taken == 0 {
                        return;
                    }
                    self.producer.until_changed().await;
                    turn.drain(..).for_each(|submission| self.submit(submission));
                    (few, end) = (self.tell.aloft() / PART, Instant::now() + MOMENT);
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
                let fault = match error.fault {
                    Fault::Timeout | Fault::Unavailable if self.producer.is_denied() => Fault::Denied,
                    Fault::Timeout => Fault::Unavailable,
                    fault => fault,
                };
                if fault == Fault::Unavailable {
                    self.producer.link.doubt.notify_one();
                }
                tracing::debug!(%topic, %error, source = std::error::Error::source(&error), "topic not found");
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
fn hand_over(client: &Sending, topic: &Topic, message: &Message, ticket: Flight) -> Option<Code> {
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
    let mut record: BaseRecord<'_, [u8], [u8], Box<Flight>> =
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
            let refused = match code {
                Some(Code::Fatal) if is_shut_out(client) => Error::new(Fault::Denied).because(error),
                _ => fault::of_handover(error),
            };
            record.delivery_opaque.conclude(Err(refused));
            code
        }
    }
}

/// As many submissions as are handed over before the executor gets its turn again.
const TURN: usize = 1024;
/// What part of what is on its way may be so while what comes is handed over. Half of it, and all of
/// it, cost more processor time a message.
const PART: usize = 4;
/// How long messages are gathered at most.
const MOMENT: Duration = Duration::from_millis(1);
/// How long the cluster may take to say whether it has a topic.
const LOOKUP: Duration = Duration::from_millis(900);
/// As many topics are looked up at a time.
const LOOKUPS: usize = 64;
