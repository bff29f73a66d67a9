//! One batch on its way to the broker.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sidespan_bridge::{CE_PREFIX, Header, Message};
use tokio::time::Instant;

use super::Kind;
use super::split::{Piece, Splitter};
use crate::cloudevents::Format;
use crate::error::Error;
use crate::publish::{Admission, Route, Stored};
use crate::rest::body::Incoming;
use crate::rest::tally::Tally;
use crate::rest::{Door, message};
use crate::security::caller::Caller;

/// Reads items, submits them in chunks, and notes what became of each.
pub(super) struct Run<'a> {
    door: &'a Door,
    caller: Caller,
    route: Route,
    deadline: Instant,
    kind: Kind,
    /// The request's trace context, for messages that have none.
    context: Vec<Header>,
    tally: Tally,
    chunk: Chunk,
    unanswered: VecDeque<(Vec<usize>, Outcomes)>,
    /// Room for what is kept of the body and is no message yet.
    part: Option<Admission>,
}

type Outcomes = BoxFuture<'static, Vec<Result<Stored, Error>>>;

/// Messages that are read and not yet submitted.
#[derive(Default)]
struct Chunk {
    messages: Vec<Message>,
    places: Vec<usize>,
    bytes: usize,
    admission: Option<Admission>,
}

/// Nothing more of the body is to be read.
struct Stop;

impl<'a> Run<'a> {
    /// Begins a batch.
    ///
    /// # Errors
    ///
    /// `Saturated`: not even one message has room now.
    pub(super) fn new(
        door: &'a Door,
        caller: Caller,
        route: Route,
        deadline: Instant,
        kind: Kind,
        context: Vec<Header>,
    ) -> Result<Self, Error> {
        drop(door.publishing.admit(&route, 1, 0)?);
        let tally = Tally::new(route.name());
        let (chunk, unanswered) = (Chunk::default(), VecDeque::new());
        Ok(Self { door, caller, route, deadline, kind, context, tally, chunk, unanswered, part: None })
    }

    /// Publishes what the body holds, until its end or until it cannot be read any further.
    pub(super) async fn read(&mut self, mut body: Incoming) {
        // Base64 takes a third more, and the other fields have their place beside the payload.
        let item = self.door.limits.max_message.saturating_mul(4) / 3 + BESIDE_PAYLOAD;
        let mut splitter = Splitter::new(self.kind.form(), item);
        loop {
            let chunk = match body.chunk().await {
                Ok(chunk) => chunk,
                Err(error) => return self.stop(error),
            };
            let Some(chunk) = chunk else { break };
            self.part = None;
            splitter.push(&chunk);
            loop {
                match splitter.next() {
                    Ok(None) => break,
                    Ok(Some(piece)) => {
                        if let Err(Stop) = self.take(piece).await {
                            return;
                        }
                    }
                    Err(broken) => return self.stop(Error::Invalid(broken.to_string())),
                }
            }
            if let Err(error) = self.hold(splitter.held() + body.window()).await {
                return self.stop(error);
            }
        }
        self.part = None;
        match splitter.finish() {
            Ok(None) => {}
            Ok(Some(piece)) => {
                // Whether or not it was the last: there is no more.
                let _ = self.take(piece).await;
            }
            Err(broken) => self.stop(Error::Invalid(broken.to_string())),
        }
    }

    /// Submits the last chunk and waits for all answers.
    pub(super) async fn finish(mut self) -> Tally {
        self.submit();
        while self.settle_oldest().await {}
        self.tally
    }

    async fn take(&mut self, piece: Piece) -> Result<(), Stop> {
        let most = self.door.limits.max_batch_messages;
        if self.tally.len() >= most {
            self.stop(Error::TooMany { limit: "limits.max_batch_messages", most });
            return Err(Stop);
        }
        let index = self.tally.next();
        let message = match self.message(piece) {
            Ok(message) => message,
            Err(error) => {
                self.tally.tell(index, Err(error));
                return Ok(());
            }
        };
        if let Err(error) = self.reserve(&message).await {
            // Later ones might have room; but then they would overtake this one.
            self.tally.tell(index, Err(error));
            self.tally.stop();
            return Err(Stop);
        }
        self.chunk.bytes += message.weight();
        self.chunk.messages.push(message);
        self.chunk.places.push(index);
        if self.chunk.messages.len() >= CHUNK_MESSAGES || self.chunk.bytes >= CHUNK_BYTES {
            while self.unanswered.len() >= UNANSWERED {
                self.settle_oldest().await;
            }
            self.submit();
        }
        Ok(())
    }

    fn message(&self, piece: Piece) -> Result<Message, Error> {
        let most = self.door.limits.max_message;
        let too_large = Error::TooLarge { limit: "limits.max_message", most };
        let Piece::Item(item) = piece else { return Err(too_large) };
        let mut message = match self.kind {
            Kind::Array | Kind::Lines => message::parse(&item)?,
            Kind::Events => event(&item)?,
        };
        if message.payload.as_ref().is_some_and(|payload| payload.len() > most) {
            return Err(too_large);
        }
        if message.header("traceparent").is_none() {
            message.headers.extend(self.context.iter().cloned());
        }
        Ok(message)
    }

    /// Finds room for a message; where there is none, what we have unanswered makes some.
    async fn reserve(&mut self, message: &Message) -> Result<(), Error> {
        loop {
            let wanted = (1, message.weight());
            let reserved = match &mut self.chunk.admission {
                Some(admission) => admission.grow(wanted.0, wanted.1),
                none => {
                    self.door.publishing.admit(&self.route, wanted.0, wanted.1).map(|new| *none = Some(new))
                }
            };
            let Err(error) = reserved else { return Ok(()) };
            self.make_room(error).await?;
        }
    }

    /// Keeps room for what the body takes until its next piece comes. Nothing takes more than there
    /// is: alone, every batch passes.
    async fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        let bytes = bytes.min(self.door.limits.max_in_flight_bytes);
        loop {
            match self.door.publishing.admit(&self.route, 0, bytes) {
                Ok(part) => {
                    self.part = Some(part);
                    return Ok(());
                }
                Err(error) => self.make_room(error).await?,
            }
        }
    }

    /// Waits for the oldest messages of this batch to be answered; returns the error where there
    /// are none.
    async fn make_room(&mut self, error: Error) -> Result<(), Error> {
        self.submit();
        if self.settle_oldest().await { Ok(()) } else { Err(error) }
    }

    /// Hands the chunk over, in this call.
    fn submit(&mut self) {
        let Chunk { messages, places, admission, .. } = std::mem::take(&mut self.chunk);
        if let Some(admission) = admission {
            let outcomes =
                self.door.publishing.publish(&self.caller, &self.route, admission, messages, self.deadline);
            self.unanswered.push_back((places, outcomes.boxed()));
        }
    }

    /// Waits for the oldest chunk; tells whether there was one.
    async fn settle_oldest(&mut self) -> bool {
        let Some((places, outcomes)) = self.unanswered.pop_front() else { return false };
        for (index, outcome) in places.into_iter().zip(outcomes.await) {
            self.tally.tell(index, outcome);
        }
        true
    }

    /// Tells why nothing more is read, in the place of the next message.
    fn stop(&mut self, error: Error) {
        let index = self.tally.next();
        self.tally.tell(index, Err(error));
        self.tally.stop();
    }
}

/// An event's repeats are known by its source and id, which name it (CloudEvents 1.0.2).
fn event(item: &Bytes) -> Result<Message, Error> {
    let mut message = Format::Json.read(item)?;
    let part = |name: &str| {
        let value = message.header(&format!("{CE_PREFIX}{name}")).map_or(&b""[..], |value| value);
        String::from_utf8_lossy(value).into_owned()
    };
    message.deduplication = Some(format!("{} {}", part("source"), part("id")).into());
    Ok(message)
}

const BESIDE_PAYLOAD: usize = 64 << 10;
const CHUNK_BYTES: usize = 1 << 20;
const CHUNK_MESSAGES: usize = 500;
/// Chunks of one batch that may be unanswered at a time.
const UNANSWERED: usize = 4;
