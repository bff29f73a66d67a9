//! What happens on one socket.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use sidespan_bridge::Message;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::Message as Frame;

use super::credit::Credit;
use super::frames::{Asked, Codec, Told};
use super::wire::{Ending, Wire};
use crate::delivery::Amount;
use crate::error::Error;
use crate::publish::fields::own;
use crate::publish::{Route, Stored};
use crate::pull::{Consumer, Handed, Settle};
use crate::rest::Door;
use crate::security::caller::Caller;

/// A client and what it was promised.
pub(super) struct Session {
    wire: Wire,
    talk: Talk,
}

/// Everything but the socket itself.
struct Talk {
    door: Arc<Door>,
    caller: Caller,
    codec: Codec,
    consumer: Consumer,
    credit: Credit,
    /// What is yet to be written, in order.
    queue: VecDeque<Item>,
    unanswered: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// How many of the unanswered are publishes.
    publishing: usize,
    /// What the replies among the unanswered weigh.
    replying: usize,
    /// A publish that waits for room at its broker, which those before it will make.
    parked: Option<Publish>,
    /// Nothing more is handed out.
    is_draining: bool,
}

enum Item {
    Handed(Handed),
    Written(Frame),
}

enum Answer {
    Published(u64, Result<Stored, Error>),
    /// A reply of this weight.
    Replied(usize, Option<u64>, String, Result<(), Error>),
    Settled(Option<u64>, Vec<String>, Vec<Result<(), Error>>),
}

struct Publish {
    seq: u64,
    route: Route,
    message: Message,
}

/// What a session waits for.
enum Event {
    Answered(Answer),
    Asked(Frame),
    Draining,
    Fetched(Vec<Handed>),
    /// Nothing would ever be handed out here, or not to this client any more.
    Refused(Error),
    Stop,
    /// To look at everything again.
    Woken,
}

impl Session {
    pub(super) fn new(door: Arc<Door>, caller: Caller, wire: Wire, codec: Codec, consumer: Consumer) -> Self {
        let talk = Talk {
            door,
            caller,
            codec,
            consumer,
            credit: Credit::default(),
            queue: VecDeque::new(),
            unanswered: FuturesUnordered::new(),
            publishing: 0,
            replying: 0,
            parked: None,
            is_draining: false,
        };
        Self { wire, talk }
    }

    /// Serves the client until one of the two ends it.
    pub(super) async fn run(self) {
        let Self { mut wire, mut talk } = self;
        let ending = loop {
            match talk.step(&mut wire).await {
                Ok(()) => {}
                Err(ending) => break ending,
            }
        };
        // Leases end now, and not only when the client has said goodbye.
        drop(talk);
        wire.end(ending).await;
    }
}

impl Talk {
    async fn step(&mut self, wire: &mut Wire) -> Result<(), Ending> {
        self.write(wire)?;
        match self.event(wire).await? {
            Event::Answered(answer) => self.answer(answer),
            Event::Asked(frame) => {
                let asked = self.codec.read(frame).and_then(|asked| self.take(asked));
                if let Err(error) = asked {
                    return Err(self.refuse(wire, &error));
                }
            }
            Event::Draining => {
                self.is_draining = true;
                self.tell(Told::Draining { detail: DRAINING });
            }
            Event::Fetched(handed) => {
                for handed in handed {
                    self.credit.take(handed.letter.message().weight());
                    self.queue.push_back(Item::Handed(handed));
                }
            }
            Event::Refused(error) => return Err(self.refuse(wire, &error)),
            Event::Woken => {}
            Event::Stop => {
                // Whoever does not read what it has asked for is not waited for.
                let told = timeout(PARTING, self.finish(wire)).await;
                return Err(told.unwrap_or(Ok(())).err().unwrap_or_else(Ending::stopping));
            }
        }
        Ok(())
    }

    async fn event(&mut self, wire: &mut Wire) -> Result<Event, Ending> {
        let Self { door, caller, consumer, credit, queue, unanswered, replying, parked, is_draining, .. } =
            self;
        let has_room = unanswered.len() + queue.len() < MOST_UNANSWERED && *replying < MOST_REPLYING;
        let reads = has_room && parked.is_none();
        if !reads && !unanswered.is_empty() {
            // It is us who keep the client waiting.
            wire.excuse();
        }
        let wish = credit.amount(FETCH).filter(|_| queue.is_empty() && !*is_draining);
        let (amount, far) = (wish.unwrap_or(FETCH), Instant::now() + FAR);
        tokio::select! {
            biased;
            () = door.drain.cancelled() => Ok(Event::Stop),
            error = caller.revoked() => Ok(Event::Refused(error)),
            () = consumer.draining(), if !*is_draining => Ok(match consumer.fetching().halted() {
                Error::Draining => Event::Draining,
                error => Event::Refused(error),
            }),
            Some(answer) = unanswered.next() => Ok(Event::Answered(answer)),
            frame = wire.next(reads, !queue.is_empty()) => Ok(frame?.map_or(Event::Woken, Event::Asked)),
            handed = consumer.fetch(amount, far), if wish.is_some() => Ok(match handed {
                Ok(handed) => Event::Fetched(handed),
                Err(Error::Draining) => Event::Draining,
                Err(error) => Event::Refused(error),
            }),
        }
    }

    /// Writes what there is room for.
    fn write(&mut self, wire: &mut Wire) -> Result<(), Ending> {
        // Answers that are there already are written together.
        while let Some(Some(answer)) = self.unanswered.next().now_or_never() {
            self.answer(answer);
        }
        while !self.queue.is_empty() && wire.has_room()? {
            match self.queue.pop_front() {
                Some(Item::Handed(handed)) => {
                    let weight = handed.letter.message().weight();
                    if handed.ends <= Instant::now() {
                        // It waited for so long that it is somebody else's.
                        self.credit.refund(weight);
                    } else {
                        wire.write(self.codec.message(self.consumer.fetching(), &handed, weight))?;
                    }
                }
                Some(Item::Written(frame)) => wire.write(frame)?,
                None => {}
            }
        }
        Ok(())
    }

    fn tell(&mut self, told: Told<'_>) {
        self.queue.push_back(Item::Written(self.codec.write(told)));
    }

    /// Does what a client asks for.
    fn take(&mut self, asked: Asked) -> Result<(), Error> {
        match asked {
            Asked::Credit { messages, bytes } => self.credit.give(messages, bytes)?,
            Asked::Ping { seq } => self.tell(Told::Pong { seq }),
            Asked::Publish { seq, topic, message } => match self.admissible(&topic, message) {
                Ok((route, message)) => self.publish(Publish { seq, route, message }),
                Err(error) => self.tell(Told::Published { seq, outcome: Err(error) }),
            },
            Asked::Reply { seq, ack_id, reply } => {
                match reply.and_then(|(status, reply)| Ok((status, self.within_limit(reply)?))) {
                    Ok((status, reply)) => self.reply(seq, ack_id, status, reply),
                    Err(error) => self.answer(Answer::Settled(seq, vec![ack_id], vec![Err(error)])),
                }
            }
            Asked::Verdict { seq, ack_ids, verdict } => {
                let most = self.door.limits.max_batch_messages;
                if ack_ids.len() > most {
                    return Err(Error::TooMany { limit: "limits.max_batch_messages", most });
                }
                match verdict.check() {
                    Ok(verdict) => self.settle(seq, ack_ids, verdict),
                    Err(_) => {
                        let outcomes = ack_ids.iter().map(|_| verdict.check().map(drop)).collect();
                        self.answer(Answer::Settled(seq, ack_ids, outcomes));
                    }
                }
            }
        }
        Ok(())
    }

    fn admissible(&self, topic: &str, message: Result<Message, Error>) -> Result<(Route, Message), Error> {
        let route = self.door.publishing.route(&self.caller, topic)?;
        Ok((route, self.within_limit(message?)?))
    }

    /// Takes a message that is not too large, out of the frame that it came in.
    fn within_limit(&self, mut message: Message) -> Result<Message, Error> {
        let most = self.door.limits.max_message;
        if message.payload.as_ref().is_some_and(|payload| payload.len() > most) {
            return Err(Error::TooLarge { limit: "limits.max_message", most });
        }
        message.payload = message.payload.map(own);
        Ok(message)
    }

    /// Submits a message in this call itself, so that messages stay in order. Where there is no room for it,
    /// the client's messages before it make some.
    fn publish(&mut self, publish: Publish) {
        let Publish { seq, route, message } = &publish;
        let seq = *seq;
        match self.door.publishing.admit(route, 1, message.weight()) {
            Ok(admission) => {
                let deadline = Instant::now() + self.door.limits.timeout;
                let Publish { route, message, .. } = publish;
                let publishing = &self.door.publishing;
                let outcomes = publishing.publish(&self.caller, &route, admission, vec![message], deadline);
                self.publishing += 1;
                let outcome = outcomes.map(|mut outcomes| outcomes.pop().unwrap_or(Err(Error::Internal)));
                self.unanswered.push(outcome.map(move |outcome| Answer::Published(seq, outcome)).boxed());
            }
            Err(Error::Saturated { .. }) if self.publishing > 0 => self.parked = Some(publish),
            Err(error) => self.tell(Told::Published { seq, outcome: Err(error) }),
        }
    }

    fn settle(&mut self, seq: Option<u64>, ack_ids: Vec<String>, verdict: Settle) {
        let fetching = self.consumer.fetching().clone();
        let deadline = Instant::now() + self.door.limits.timeout;
        let settled = async move {
            let outcomes = fetching.settle(&ack_ids, verdict, deadline).await;
            Answer::Settled(seq, ack_ids, outcomes)
        };
        self.give(settled.boxed());
    }

    /// Gives a verdict at once, so that they stay in order.
    fn give(&mut self, mut verdict: BoxFuture<'static, Answer>) {
        match (&mut verdict).now_or_never() {
            Some(answer) => self.answer(answer),
            None => self.unanswered.push(verdict),
        }
    }

    fn reply(&mut self, seq: Option<u64>, ack_id: String, status: u16, reply: Message) {
        let (fetching, weight) = (self.consumer.fetching().clone(), reply.weight());
        let deadline = Instant::now() + self.door.limits.timeout;
        self.replying += weight;
        let replying = async move {
            let outcome = fetching.reply(&ack_id, status, reply, deadline).await;
            Answer::Replied(weight, seq, ack_id, outcome)
        };
        self.give(replying.boxed());
    }

    fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Published(seq, outcome) => {
                self.publishing -= 1;
                self.tell(Told::Published { seq, outcome });
                if let Some(parked) = self.parked.take() {
                    self.publish(parked);
                }
            }
            Answer::Replied(weight, seq, ack_id, outcome) => {
                self.replying -= weight;
                self.answer(Answer::Settled(seq, vec![ack_id], vec![outcome]));
            }
            Answer::Settled(seq, ack_ids, outcomes) => {
                let told = ack_ids.into_iter().zip(outcomes);
                let outcomes: Vec<_> =
                    told.filter(|(_, outcome)| seq.is_some() || outcome.is_err()).collect();
                if seq.is_some() || !outcomes.is_empty() {
                    self.tell(Told::Settled { seq, outcomes });
                }
            }
        }
    }

    /// Tells why the socket is closed, as far as there is room for that.
    fn refuse(&mut self, wire: &mut Wire, error: &Error) -> Ending {
        wire.say(self.codec.write(Told::Error(error)));
        Ending::of(error)
    }

    /// Waits for what is unanswered, and tells it.
    async fn finish(&mut self, wire: &mut Wire) -> Result<(), Ending> {
        while let Some(answer) = self.unanswered.next().await {
            self.answer(answer);
        }
        loop {
            self.write(wire)?;
            if self.queue.is_empty() {
                return Ok(());
            }
            wire.next(false, true).await?;
        }
    }
}

const DRAINING: &str =
    "this server is stopping and hands out nothing more: settle what you have, and come back";
/// What is fetched at a time. Until it is written its leases run, and nobody else has it.
const FETCH: Amount = Amount { messages: 64, bytes: 256 << 10 };
/// Requests of one client that may be unanswered, or answered and not yet written.
const MOST_UNANSWERED: usize = 512;
/// What the replies of one client may weigh that are on their way.
const MOST_REPLYING: usize = 1 << 20;
/// Whenever a message comes will do.
const FAR: Duration = Duration::from_secs(3600);
/// How long what is unanswered is waited for at the end.
const PARTING: Duration = Duration::from_secs(30);
