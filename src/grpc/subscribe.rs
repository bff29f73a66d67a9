//! `Subscriber.Subscribe`: messages as they come, as far as there is credit, and verdicts on them.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Door;
use super::message::{self, Refused, received, settled};
use super::status::status;
use super::streaming::{Inlet, Place, over};
use super::subscriber::{few, find};
use super::terms::Terms;
use crate::config::CloudEventsMode;
use crate::delivery::Amount;
use crate::error::Error;
use crate::proto::subscribe_request::Request;
use crate::proto::{self, Settled, SubscribeRequest, SubscribeResponse};
use crate::pull::{Consumer, Handed, Settle};
use crate::rest::OpenStream;
use crate::telemetry::counts;

/// Serves a stream; returns the answers.
pub(super) fn subscribe(
    door: Arc<Door>,
    terms: Arc<Terms>,
    permit: OpenStream,
    requests: Streaming<SubscribeRequest>,
) -> ReceiverStream<Answer> {
    let (answers, told) = mpsc::channel(WINDOW + 1);
    let tasks = door.tasks.clone();
    let inlet = Inlet::new(requests, answers);
    let run = Run { door, terms, inlet, unsettled: FuturesUnordered::new(), replying: 0 };
    tasks.spawn(async move {
        run.serve().await;
        drop(permit);
    });
    ReceiverStream::new(told)
}

type Answer = Result<SubscribeResponse, Status>;

/// A stream that is served.
struct Run {
    door: Arc<Door>,
    terms: Arc<Terms>,
    inlet: Inlet<SubscribeRequest, SubscribeResponse>,
    unsettled: FuturesUnordered<BoxFuture<'static, Outcome>>,
    /// What the replies among the unsettled weigh.
    replying: usize,
}

/// What became of a verdict.
struct Outcome {
    place: Place<SubscribeResponse>,
    settled: Vec<Settled>,
    /// What the reply weighs, if it is one.
    weight: usize,
}

impl Run {
    async fn serve(mut self) {
        // Room for the status is kept until the end.
        let answers = self.inlet.answers().clone();
        let Ok(last) = answers.clone().try_reserve_owned() else { return };
        let terms = self.terms.clone();
        let mut over = pin!(over(answers.clone(), self.door.drain.clone(), &terms));
        let ended = tokio::select! {
            ended = self.deliver() => ended,
            over = &mut over => match over {
                Some(status) => Err(status),
                None => return,
            },
        };
        // Verdicts that were taken have an outcome before the stream has a status.
        loop {
            tokio::select! {
                () = answers.closed() => return,
                unsettled = self.unsettled.next() => match unsettled {
                    Some(outcome) => outcome.tell(),
                    None => break,
                },
            }
        }
        if let Err(status) = ended {
            last.send(Err(status));
        }
    }

    /// Hands out and settles until the client ends its side. Leases end with it.
    async fn deliver(&mut self) -> Result<(), Status> {
        let (consumer, mut credit, mode) = match self.inlet.take().await {
            Ok((_, request)) => self.begin(request)?,
            Err(ended) => return ended,
        };
        let answers = self.inlet.answers().clone();
        let mut draining = false;
        loop {
            let wish = credit.wish().filter(|_| !draining);
            tokio::select! {
                Some(outcome) = self.unsettled.next() => {
                    self.replying -= outcome.weight;
                    outcome.tell();
                }
                handed = hand(&consumer, wish, &answers) => match handed {
                    Ok((place, handed)) => {
                        credit.spend(&handed);
                        let fetching = consumer.fetching();
                        let messages = handed.iter().map(|handed| received(fetching, handed, mode)).collect();
                        place.send(Ok(SubscribeResponse { messages, settled: Vec::new() }));
                    }
                    // What was handed out can still be settled.
                    Err(Error::Draining) => draining = true,
                    // Another replica has it: here nothing would ever come.
                    Err(error) => return Err(status(&error, None)),
                },
                taken = self.inlet.take(), if self.replying < REPLIES => match taken {
                    Ok((place, SubscribeRequest { request })) => {
                        self.heed(&consumer, &mut credit, place, request)?;
                    }
                    Err(ended) => return ended,
                },
            }
        }
    }

    fn begin(
        &self,
        SubscribeRequest { request }: SubscribeRequest,
    ) -> Result<(Consumer, Credit, CloudEventsMode), Status> {
        let Some(Request::Begin(proto::Begin { subscription, credit, cloudevents })) = request else {
            return Err(status(&Error::Invalid("the first request of a stream is `begin`".into()), None));
        };
        let consumer = find(&self.door, &self.terms, &subscription)?.consumer();
        let mut first = Credit::default();
        if let Some(credit) = credit {
            first.add(credit)?;
        }
        let mode =
            message::cloudevents(cloudevents).map_err(|error| status(&error, Some("begin.cloudevents")))?;
        Ok((consumer, first, mode))
    }

    /// Does what a request says; a verdict is answered once it is settled.
    fn heed(
        &mut self,
        consumer: &Consumer,
        credit: &mut Credit,
        place: Place<SubscribeResponse>,
        request: Option<Request>,
    ) -> Result<(), Status> {
        let read = match request {
            Some(Request::Credit(more)) => return credit.add(more),
            Some(Request::Acknowledge(proto::Acknowledge { ack_ids })) => Ok((ack_ids, Settle::Ack)),
            Some(Request::Nack(nack)) => message::nack(nack),
            Some(Request::Extend(extend)) => message::extend(extend),
            Some(Request::Reply(answer)) => return self.reply(consumer, place, answer),
            Some(Request::Begin(_)) => {
                return Err(status(&Error::Invalid("the stream has begun already".into()), Some("begin")));
            }
            None => {
                let unknown = Error::Invalid("the request says nothing that is known here".into());
                return Err(status(&unknown, None));
            }
        };
        let (ack_ids, verdict) = read.map_err(|Refused { error, field }| status(&error, field))?;
        let asked = few(&self.door, &ack_ids).and_then(|()| Ok((verdict.check()?, self.terms.deadline()?)));
        let (verdict, deadline) = asked.map_err(|error| status(&error, None))?;
        let fetching = consumer.fetching().clone();
        let settling = async move {
            let outcomes = fetching.settle(&ack_ids, verdict, deadline).await;
            let settled = ack_ids.into_iter().zip(&outcomes).map(|(ack_id, outcome)| told(ack_id, outcome));
            Outcome { place, settled: settled.collect(), weight: 0 }
        };
        self.unsettled.push(settling.boxed());
        Ok(())
    }

    /// Answers a request. What cannot be is told of that alone: the client has more to settle.
    fn reply(
        &mut self,
        consumer: &Consumer,
        place: Place<SubscribeResponse>,
        proto::Answer { ack_id, reply }: proto::Answer,
    ) -> Result<(), Status> {
        let deadline = self.terms.deadline().map_err(|error| status(&error, None))?;
        let (code, reply) = match message::reply(reply, self.door.limits.max_message) {
            Ok(read) => read,
            Err(Refused { error, .. }) => {
                Outcome { place, settled: vec![told(ack_id, &Err(error))], weight: 0 }.tell();
                return Ok(());
            }
        };
        let (fetching, weight) = (consumer.fetching().clone(), reply.weight());
        self.replying += weight;
        let replying = async move {
            let outcome = fetching.reply(&ack_id, code, reply, deadline).await;
            Outcome { place, settled: vec![told(ack_id, &outcome)], weight }
        };
        self.unsettled.push(replying.boxed());
        Ok(())
    }
}

impl Outcome {
    fn tell(self) {
        self.place.send(Ok(SubscribeResponse { messages: Vec::new(), settled: self.settled }));
    }
}

/// Tells what became of a verdict, and counts one that is refused.
fn told(ack_id: String, outcome: &Result<(), Error>) -> Settled {
    if let Err(error) = outcome {
        counts::Door::Grpc.refused(error.class().slug);
    }
    settled(ack_id, outcome)
}

/// Waits for messages, and for a place to say so. Cancel-safe: what is handed out has its place.
async fn hand(
    consumer: &Consumer,
    wish: Option<Amount>,
    answers: &Sender<Answer>,
) -> Result<(Place<SubscribeResponse>, Vec<Handed>), Error> {
    let Some(most) = wish else { return std::future::pending().await };
    // Nobody is there to read: the stream is about to end.
    let Ok(place) = answers.clone().reserve_owned().await else { return std::future::pending().await };
    loop {
        let handed = consumer.fetch(most, Instant::now() + LONG).await?;
        if !handed.is_empty() {
            return Ok((place, handed));
        }
    }
}

/// What may still be handed out.
#[derive(Debug, Default)]
struct Credit {
    messages: u64,
    bytes: u64,
    /// Whether bytes count; unknown until the first credit.
    counts_bytes: Option<bool>,
}

impl Credit {
    fn add(&mut self, proto::Credit { messages, bytes }: proto::Credit) -> Result<(), Status> {
        if messages == 0 && bytes == 0 {
            let none = Error::Invalid("a credit is for at least one message, or one byte".into());
            return Err(status(&none, Some("credit")));
        }
        self.messages = self.messages.saturating_add(messages.into());
        self.bytes = self.bytes.saturating_add(bytes);
        self.counts_bytes.get_or_insert(bytes > 0);
        Ok(())
    }

    fn wish(&self) -> Option<Amount> {
        let bytes = if self.counts_bytes == Some(true) { self.bytes } else { u64::MAX };
        let within = |credit: u64, most: usize| usize::try_from(credit).unwrap_or(most).min(most);
        let wish = Amount { messages: within(self.messages, TOGETHER), bytes: within(bytes, BYTES) };
        (wish.messages > 0 && wish.bytes > 0).then_some(wish)
    }

    fn spend(&mut self, handed: &[Handed]) {
        let bytes: usize = handed.iter().map(|handed| handed.letter.message().weight()).sum();
        self.messages = self.messages.saturating_sub(handed.len() as u64);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }
}

/// Answers of one stream that have not been read.
const WINDOW: usize = 64;
/// What the replies of one stream may weigh that are on their way: more is not read until they are sent.
const REPLIES: usize = 1 << 20;
/// What is handed out at a time.
const TOGETHER: usize = 100;
const BYTES: usize = 256 << 10;
/// How long a wait for messages is, before the next.
const LONG: Duration = Duration::from_secs(3600);
