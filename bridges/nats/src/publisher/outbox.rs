//! Hands messages to the client, and knows which of them are not answered for.
//!
//! Every message asks for its answer at an inbox of this bridge, with a number; the numbers that are
//! out stand in a map, in order. The client's queue is longer than what may be out, so that handing
//! over never waits, and so happens in the order of the calls.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_nats::client::PublishError;
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use sidespan_bridge::{Error, Fault, Ticket, Topic};
use tokio::time::Instant;

use crate::fault;
use crate::link::{Denied, at_once};

/// What leaves the bridge, and what is awaited for it.
pub(super) struct Outbox {
    client: Client,
    /// Streams answer for what is published; else our own messages do.
    stores: bool,
    inbox: String,
    gate: Mutex<Gate>,
    awaited: Mutex<Awaited>,
}

/// One message, ready to go.
pub(super) struct Parcel {
    pub(super) topic: Topic,
    pub(super) reply_to: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
    pub(super) deduplicated: bool,
    pub(super) ticket: Ticket,
}

enum Gate {
    /// Nobody knows yet whether there is a broker: these wait for that.
    Connecting(Vec<Vec<Parcel>>),
    /// Nothing is handed over.
    Shut,
    Open,
}

#[derive(Default)]
struct Awaited {
    last: u64,
    answers: BTreeMap<u64, Awaiting>,
}

/// Something that was handed over and not answered for.
pub(super) struct Awaiting {
    pub(super) topic: Topic,
    pub(super) since: Instant,
    pub(super) of: Of,
}

pub(super) enum Of {
    /// A stream's acknowledgement.
    Stored { ticket: Ticket, deduplicated: bool },
    /// Our own message, which the server has seen after these.
    Seen(Vec<Ticket>),
}

impl Outbox {
    pub(super) fn new(client: Client, stores: bool) -> Self {
        let inbox = client.new_inbox();
        Self {
            client,
            stores,
            inbox,
            gate: Mutex::new(Gate::Connecting(Vec::new())),
            awaited: Mutex::new(Awaited::default()),
        }
    }

    /// Where answers come.
    pub(super) fn answers_at(&self) -> String {
        format!("{}.*", self.inbox)
    }

    /// Returns what an answer is for.
    pub(super) fn answered(&self, subject: &str) -> Option<Awaiting> {
        let number = subject.strip_prefix(&self.inbox)?.strip_prefix('.')?.parse().ok()?;
        self.awaited().answers.remove(&number)
    }

    /// Hands over what is to be stored, or holds it until it is known whether there is a broker.
    pub(super) fn submit(&self, batch: Vec<Parcel>) {
        let mut gate = self.gate();
        match &mut *gate {
            Gate::Connecting(early) => early.push(batch),
            Gate::Shut => refuse(batch),
            Gate::Open => self.hand_over(batch),
        }
    }

    /// The connection is there: what waited for it goes first.
    pub(super) fn open(&self) {
        let mut gate = self.gate();
        if let Gate::Connecting(early) = std::mem::replace(&mut *gate, Gate::Open) {
            early.into_iter().for_each(|batch| self.hand_over(batch));
        }
    }

    /// The connection is gone, or the bridge closes. What was handed over may be stored.
    pub(super) fn shut(&self) {
        let mut gate = self.gate();
        if let Gate::Connecting(early) = std::mem::replace(&mut *gate, Gate::Shut) {
            early.into_iter().for_each(refuse);
        }
    }

    /// Nobody will answer for what is out now: it may be stored.
    pub(super) fn give_up(&self) {
        // Tickets that are dropped say so.
        let answers = std::mem::take(&mut self.awaited().answers);
        drop(answers);
    }

    /// Gives up what was handed over before a time; tells when the next would be.
    pub(super) fn expire(&self, before: Instant) -> Option<Instant> {
        let mut expired = Vec::new();
        let mut awaited = self.awaited();
        let next = loop {
            match awaited.answers.first_entry() {
                Some(first) if first.get().since <= before => expired.push(first.remove()),
                first => break first.map(|first| first.get().since),
            }
        };
        drop(awaited);
        next
    }

    /// The server forbids a subject: what went there is not stored.
    pub(super) fn deny(&self, denied: &Denied) {
        let Denied::Publish(subject) = denied else { return };
        let error = || denied.error();
        let refused: Vec<Awaiting> = self
            .awaited()
            .answers
            .extract_if(.., |_, it| it.topic.as_str() == *subject)
            .map(|it| it.1)
            .collect();
        for awaiting in refused {
            awaiting.of.refuse(error());
        }
    }

    fn hand_over(&self, batch: Vec<Parcel>) {
        if self.stores {
            batch.into_iter().for_each(|parcel| self.hand_over_to_a_stream(parcel));
        } else {
            self.hand_over_and_ask(batch);
        }
    }

    fn hand_over_to_a_stream(&self, parcel: Parcel) {
        if !parcel.ticket.hand_over() {
            return;
        }
        let Parcel { topic, headers, payload, deduplicated, ticket, .. } = parcel;
        let (number, reply) = self.number();
        let subject = topic.to_string();
        self.awaits(number, topic, Of::Stored { ticket, deduplicated });
        let sending = self.client.publish_with_reply_and_headers(subject, reply, headers, payload);
        if let Err(refusal) = send(sending)
            && let Some(awaiting) = self.awaited().answers.remove(&number)
        {
            awaiting.of.refuse(refusal);
        }
    }

    /// The server handles what comes by one connection in order: when our own message comes back, it
    /// has seen those ahead of it.
    fn hand_over_and_ask(&self, batch: Vec<Parcel>) {
        let mut seen = Vec::with_capacity(batch.len());
        let mut to = None;
        for parcel in batch {
            if !parcel.ticket.hand_over() {
                continue;
            }
            let Parcel { topic, reply_to, headers, payload, ticket, .. } = parcel;
            let subject = topic.to_string();
            let sent = match reply_to {
                Some(reply) => {
                    send(self.client.publish_with_reply_and_headers(subject, reply, headers, payload))
                }
                None => send(self.client.publish_with_headers(subject, headers, payload)),
            };
            match sent {
                Ok(()) => seen.push(ticket),
                Err(refusal) => ticket.conclude(Err(refusal)),
            }
            to = Some(topic);
        }
        if let Some(topic) = to.filter(|_| !seen.is_empty()) {
            let (number, echo) = self.number();
            self.awaits(number, topic, Of::Seen(seen));
            if send(self.client.publish(echo, Bytes::new())).is_err() {
                // What was handed over may be seen though nobody will say so.
                drop(self.awaited().answers.remove(&number));
            }
        }
    }

    fn awaits(&self, number: u64, topic: Topic, of: Of) {
        self.awaited().answers.insert(number, Awaiting { topic, since: Instant::now(), of });
    }

    /// Numbers an answer; returns where it is to come.
    fn number(&self) -> (u64, String) {
        let mut awaited = self.awaited();
        awaited.last += 1;
        (awaited.last, format!("{}.{}", self.inbox, awaited.last))
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn awaited(&self) -> MutexGuard<'_, Awaited> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Of {
    fn refuse(self, error: Error) {
        match self {
            Self::Stored { ticket, .. } => ticket.conclude(Err(error)),
            Self::Seen(tickets) => {
                let fault = error.fault;
                tickets.into_iter().for_each(|ticket| ticket.conclude(Err(fault.into())));
            }
        }
    }
}

/// The client's queue is longer than what may be out.
fn send(sending: impl Future<Output = Result<(), PublishError>>) -> Result<(), Error> {
    match at_once(sending) {
        Some(sent) => sent.map_err(fault::of_handover),
        None => Err(Fault::Overloaded.into()),
    }
}

fn refuse(batch: Vec<Parcel>) {
    for parcel in batch {
        parcel.ticket.conclude(Err(
            Error::new(Fault::Unavailable).detail("nats cannot be reached; nothing was handed over")
        ));
    }
}
