//! `Publisher.PublishStream`: messages as they come, and outcomes as they are known.
//!
//! One task serves a stream. What has come together is submitted together. A message is taken only when
//! there is a place for its outcome in the queue of answers, so the queue is the window: whoever does
//! not read is not read from, and what the broker has answered gives its room back to others all the
//! same.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use sidespan_bridge::Message;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{self, OwnedPermit, Sender};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Door;
use super::message::{Refused, read};
use super::outcome::outcome;
use super::status::status;
use super::terms::Terms;
use crate::error::Error;
use crate::proto::{self, PublishStreamRequest, PublishStreamResponse};
use crate::publish::{Admission, Route, Stored};

/// Serves a stream; returns the answers.
pub(super) fn publish_stream(
    door: Arc<Door>,
    terms: Arc<Terms>,
    permit: OwnedSemaphorePermit,
    requests: Streaming<PublishStreamRequest>,
) -> ReceiverStream<Answer> {
    let (answers, told) = mpsc::channel(WINDOW + 1);
    let inlet = Inlet { requests, answers, ended: None };
    let run = Run { door, terms, inlet, unanswered: FuturesUnordered::new(), lot: None };
    let tasks = run.door.tasks.clone();
    tasks.spawn(async move {
        run.serve().await;
        drop(permit);
    });
    ReceiverStream::new(told)
}

type Answer = Result<PublishStreamResponse, Status>;
/// The outcomes of one lot, and where they are told.
type Answered = (Vec<Place>, Vec<Result<Stored, Error>>);

/// A stream that is served.
struct Run {
    door: Arc<Door>,
    terms: Arc<Terms>,
    inlet: Inlet,
    unanswered: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// What came together and is not yet submitted.
    lot: Option<Lot>,
}

/// Where messages come in, each with a place for its outcome.
struct Inlet {
    requests: Streaming<PublishStreamRequest>,
    answers: Sender<Answer>,
    /// How the client ended its side, if it has.
    ended: Option<Result<(), Status>>,
}

/// Where the outcome of one message is told.
struct Place {
    sequence: u64,
    permit: OwnedPermit<Answer>,
}

/// Messages of one topic that came together.
struct Lot {
    topic: String,
    route: Route,
    messages: Vec<Message>,
    places: Vec<Place>,
    admission: Admission,
}

impl Run {
    async fn serve(mut self) {
        // Room for the status is kept until the end.
        let Ok(last) = self.inlet.answers.clone().try_reserve_owned() else { return };
        let (watched, drain, end) = (self.inlet.answers.clone(), self.door.drain.clone(), self.terms.end());
        let mut gone = pin!(watched.closed());
        let mut drained = pin!(drain.cancelled());
        let mut late = pin!(until(end));
        let ended = loop {
            tokio::select! {
                biased;
                () = &mut gone => return,
                Some((places, results)) = self.unanswered.next() => tell(places, results),
                () = &mut drained => break Err(status(&Error::Draining, None)),
                () = &mut late => break Err(status(&Error::RequestTimeout, None)),
                taken = self.inlet.take() => match taken {
                    Ok((place, message)) => self.submit(place, message).await,
                    Err(ended) => break ended,
                },
            }
        };
        // What was taken has an outcome before the stream has a status.
        loop {
            tokio::select! {
                () = &mut gone => return,
                unanswered = self.unanswered.next() => match unanswered {
                    Some((places, results)) => tell(places, results),
                    None => break,
                },
            }
        }
        if let Err(status) = ended {
            last.send(Err(status));
        }
    }

    /// Submits a message, and those that have come with it, in order.
    async fn submit(&mut self, place: Place, message: proto::Message) {
        let mut next = Some((place, message));
        let mut count = 0;
        while let Some((place, message)) = next {
            match (self.admit(message).await, &mut self.lot) {
                (Ok(message), Some(lot)) => {
                    lot.messages.push(message);
                    lot.places.push(place);
                }
                (Ok(_), None) => place.tell(Err(Error::Internal.into())),
                (Err(refused), _) => place.tell(Err(refused)),
            }
            count += 1;
            next = if count < TOGETHER { self.inlet.take_ready() } else { None };
        }
        self.hand_over();
    }

    /// Finds room for a message in the lot, which is of its topic then. Where there is none, what this
    /// stream has unanswered makes some.
    async fn admit(&mut self, message: proto::Message) -> Result<Message, Refused> {
        let route = match &self.lot {
            Some(lot) if lot.topic == message.topic => lot.route.clone(),
            Some(_) | None => {
                self.hand_over();
                self.door.route(&self.terms.caller, &message.topic)?
            }
        };
        let topic = message.topic.clone();
        let message = read(message, &self.terms.context, self.door.limits.max_message)?;
        loop {
            let admitted = match &mut self.lot {
                Some(lot) => lot.admission.grow(1, message.weight()),
                None => self.door.publishing.admit(&route, 1, message.weight()).map(|admission| {
                    let (topic, route) = (topic.clone(), route.clone());
                    self.lot =
                        Some(Lot { topic, route, messages: Vec::new(), places: Vec::new(), admission });
                }),
            };
            let Err(error) = admitted else { return Ok(message) };
            self.hand_over();
            let Some((places, results)) = self.unanswered.next().await else { return Err(error.into()) };
            tell(places, results);
        }
    }

    /// Hands the lot over, in this call.
    fn hand_over(&mut self) {
        let Some(Lot { route, messages, places, admission, .. }) = self.lot.take() else { return };
        let deadline = match self.terms.deadline() {
            Ok(deadline) => deadline,
            Err(_) => {
                let late = places.into_iter().map(|place| (place, Err(Error::RequestTimeout.into())));
                return late.for_each(|(place, result)| place.tell(result));
            }
        };
        let outcomes =
            self.door.publishing.publish(&self.terms.caller, &route, admission, messages, deadline);
        self.unanswered.push(async move { (places, outcomes.await) }.boxed());
    }
}

impl Inlet {
    /// Waits for a message, and for a place for its outcome; fails with how the client's side ended.
    /// Cancel-safe.
    async fn take(&mut self) -> Result<(Place, proto::Message), Result<(), Status>> {
        if let Some(ended) = self.ended.take() {
            return Err(ended);
        }
        let permit = self.answers.clone().reserve_owned().await.map_err(|_| Ok(()))?;
        match self.requests.next().await {
            Some(Ok(request)) => Ok(placed(permit, request)),
            Some(Err(status)) => Err(Err(status)),
            None => Err(Ok(())),
        }
    }

    /// Takes a further message if one is there, and a place.
    fn take_ready(&mut self) -> Option<(Place, proto::Message)> {
        let permit = self.answers.clone().try_reserve_owned().ok()?;
        match self.requests.next().now_or_never()? {
            Some(Ok(request)) => Some(placed(permit, request)),
            Some(Err(status)) => {
                self.ended = Some(Err(status));
                None
            }
            None => {
                self.ended = Some(Ok(()));
                None
            }
        }
    }
}

impl Place {
    fn tell(self, result: Result<Stored, Refused>) {
        let Self { sequence, permit } = self;
        permit.send(Ok(PublishStreamResponse { sequence, outcome: Some(outcome(result)) }));
    }
}

/// Tells what became of the messages of one lot.
fn tell(places: Vec<Place>, results: Vec<Result<Stored, Error>>) {
    for (place, result) in places.into_iter().zip(results) {
        place.tell(result.map_err(Refused::from));
    }
}

fn placed(permit: OwnedPermit<Answer>, request: PublishStreamRequest) -> (Place, proto::Message) {
    let PublishStreamRequest { sequence, message } = request;
    (Place { sequence, permit }, message.unwrap_or_default())
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => pending().await,
    }
}

/// Messages of one stream whose outcomes have not been read.
const WINDOW: usize = 1024;
/// Messages that are submitted together: the first is not to wait for a whole window to be read.
const TOGETHER: usize = 256;
