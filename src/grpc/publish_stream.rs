//! `Publisher.PublishStream`: messages as they come, and outcomes as they are known.
//!
//! One task serves a stream. What has come together is submitted together. A message is taken only when
//! there is a place for its outcome in the queue of answers, so the queue is the window: whoever does
//! not read is not read from, and what the broker has answered gives its room back to others all the
//! same.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use sidespan_bridge::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Door;
use super::message::{Refused, outcome, read};
use super::streaming::{self, Inlet, over};
use super::terms::Terms;
use crate::error::Error;
use crate::proto::{self, PublishStreamRequest, PublishStreamResponse};
use crate::publish::{Admission, Route, Stored};
use crate::rest::OpenStream;
use crate::telemetry::counts;

/// Serves a stream; returns the answers.
pub(super) fn publish_stream(
    door: Arc<Door>,
    terms: Arc<Terms>,
    permit: OpenStream,
    requests: Streaming<PublishStreamRequest>,
) -> ReceiverStream<Answer> {
    let (answers, told) = mpsc::channel(WINDOW + 1);
    let inlet = Inlet::new(requests, answers);
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
    inlet: Inlet<PublishStreamRequest, PublishStreamResponse>,
    unanswered: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// What came together and is not yet submitted.
    lot: Option<Lot>,
}

/// Where the outcome of one message is told.
struct Place {
    sequence: u64,
    permit: streaming::Place<PublishStreamResponse>,
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
        let answers = self.inlet.answers().clone();
        let Ok(last) = answers.clone().try_reserve_owned() else { return };
        let terms = self.terms.clone();
        let mut over = pin!(over(answers.clone(), self.door.drain.clone(), &terms));
        let ended = loop {
            tokio::select! {
                biased;
                over = &mut over => match over {
                    Some(status) => break Err(status),
                    None => return,
                },
                Some((places, results)) = self.unanswered.next() => tell(places, results),
                taken = self.inlet.take() => match taken {
                    Ok(taken) => self.submit(taken).await,
                    Err(ended) => break ended,
                },
            }
        };
        // What was taken has an outcome before the stream has a status.
        loop {
            tokio::select! {
                () = answers.closed() => return,
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
    async fn submit(&mut self, first: (streaming::Place<PublishStreamResponse>, PublishStreamRequest)) {
        let mut next = Some(first);
        let mut count = 0;
        while let Some((permit, PublishStreamRequest { sequence, message })) = next {
            let (place, message) = (Place { sequence, permit }, message.unwrap_or_default());
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

impl Place {
    fn tell(self, result: Result<Stored, Refused>) {
        let Self { sequence, permit } = self;
        if let Err(Refused { error, .. }) = &result {
            counts::Door::Grpc.refused(error.class().slug);
        }
        permit.send(Ok(PublishStreamResponse { sequence, outcome: Some(outcome(result)) }));
    }
}

/// Tells what became of the messages of one lot.
fn tell(places: Vec<Place>, results: Vec<Result<Stored, Error>>) {
    for (place, result) in places.into_iter().zip(results) {
        place.tell(result.map_err(Refused::from));
    }
}

/// Messages of one stream whose outcomes have not been read.
const WINDOW: usize = 1024;
/// Messages that are submitted together: the first is not to wait for a whole window to be read.
const TOGETHER: usize = 256;
