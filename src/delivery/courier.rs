//! One delivery: attempt, wait, settle.
//!
//! A courier carries one message until its target accepts it, its dead letter is stored, or it is
//! told to stop. Attempts take one of the subscription's slots; waits don't, so messages that fail
//! never stop those that would be accepted.

mod telling;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sidespan_bridge::{Guarantee, Settlement, Verdict};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::breaker::{Breaker, Pass};
use super::dead_letters::{DeadLetters, History};
use super::letter::{Letter, Parcel};
use super::replies::{self, Replies, Unsent};
use super::retry::{self, Meaning, Reason, Step, Tally};
use super::status::Board;
use super::target::{Reply, Target};
use super::traces;
use crate::config::Subscription;
use crate::telemetry::metrics::TraceId;
use crate::telemetry::traces::{Processing, Tracer};

/// What the couriers of one subscription share.
pub(super) struct Desk {
    pub(super) subscription: Subscription,
    pub(super) target: Arc<dyn Target>,
    pub(super) dead_letters: Option<DeadLetters>,
    /// Where answers to requests go; none if answers are no replies.
    pub(super) replies: Option<Replies>,
    pub(super) breaker: Breaker,
    pub(super) slots: Arc<Semaphore>,
    pub(super) board: Arc<Board>,
    /// Makes spans of attempts, where there are traces.
    pub(super) tracer: Option<Tracer>,
}

impl Desk {
    pub(super) fn new(
        subscription: Subscription,
        target: Arc<dyn Target>,
        dead_letters: Option<DeadLetters>,
        replies: Option<Replies>,
        board: Arc<Board>,
        tracer: Option<Tracer>,
    ) -> Self {
        Self {
            tracer,
            target,
            dead_letters,
            replies,
            breaker: Breaker::new(subscription.retry.base, subscription.retry.cap),
            slots: Arc::new(Semaphore::new(subscription.max_in_flight)),
            board,
            subscription,
        }
    }
}

/// Delivers a parcel and settles it. A parcel that comes back was stopped on its way.
pub(super) async fn deliver(desk: Arc<Desk>, parcel: Parcel, slot: OwnedSemaphorePermit) -> Option<Parcel> {
    let courier = Courier { desk: &desk, letter: &parcel.letter };
    let ended = match desk.subscription.guarantee {
        Guarantee::AtLeastOnce => courier.carry(slot).await,
        Guarantee::AtMostOnce => match courier.unless_stopped(desk.breaker.pass()).await {
            Ok(pass) => return settle_first(&desk, parcel, pass).await,
            Err(halt) => Err(halt),
        },
    };
    match ended {
        Ok(()) => parcel.accept(),
        Err(Halt::Lost) => {}
        Err(Halt::Stopped) => return Some(parcel),
    }
    None
}

/// Settles, and delivers only what the broker has confirmed: it never comes again. Whatever comes
/// of the one attempt, the message is done with.
async fn settle_first(desk: &Desk, parcel: Parcel, pass: Pass<'_>) -> Option<Parcel> {
    let Parcel { letter, ack, .. } = parcel;
    let began = Instant::now();
    let settled = timeout(CONFIRM, ack.settle(Verdict::Accept)).await.ok();
    if let Some(meter) = &desk.board.meter {
        meter.settled(began.elapsed(), settled, TraceId::sampled(&letter.message));
    }
    if settled != Some(Settlement::Confirmed) {
        return None;
    }
    let courier = Courier { desk, letter: &letter };
    let mut history = History::default();
    let Ok((reply, meaning)) = courier.attempt(1, &mut history).await else { return None };
    courier.learn(pass.report(meaning, asked(&reply)), &reply);
    if meaning == Meaning::Accepted {
        let _ = courier.answer(&reply).await;
    } else {
        let _ = courier.give_up(&reply).await;
        desk.board.drop_one();
        courier.tell_dropped(&reply);
    }
    None
}

/// Why a courier stopped before the end.
#[derive(Clone, Copy, Debug)]
enum Halt {
    /// Nothing may be done with the message any more.
    Lost,
    /// No new attempt may begin.
    Stopped,
}

struct Courier<'a> {
    desk: &'a Desk,
    letter: &'a Arc<Letter>,
}

impl Courier<'_> {
    /// Makes attempts until the message is delivered or its dead letter stored.
    async fn carry(&self, slot: OwnedSemaphorePermit) -> Result<(), Halt> {
        let mut slot = Some(slot);
        let mut tally = Tally::default();
        let mut history = History::default();
        let mut undeliverable = None;
        loop {
            let taken = match slot.take() {
                Some(slot) => slot,
                None => self.unless_stopped(self.slot()).await??,
            };
            let pass = self.unless_stopped(self.desk.breaker.pass()).await?;
            let number = tally.counted + 1;
            let attempt = self.attempt(number, &mut history);
            let (reply, meaning) = self.unless_lost(attempt).await??;
            self.learn(pass.report(meaning, asked(&reply)), &reply);
            tally.add(meaning);
            history.attempts = tally.counted;
            drop(taken);
            let meaning = match meaning {
                Meaning::Accepted => self.answer(&reply).await?,
                Meaning::Failed | Meaning::Gone | Meaning::Refused | Meaning::Unavailable => meaning,
            };
            match retry::step(meaning, &reply, tally, &self.desk.subscription.retry, retry::roll()) {
                Step::Accept => return Ok(()),
                // In a box, as every message on its way has room for what is awaited here.
                Step::Again { after } => Box::pin(self.wait(number, after, meaning, &reply)).await?,
                Step::Bury(reason) => {
                    let reply = history.reply.insert(reply).clone();
                    match &self.desk.dead_letters {
                        Some(place) => {
                            self.bury(place, reason, &history).await?;
                            return self.give_up(&reply).await;
                        }
                        // Who asked is told, and nobody else waits for it.
                        None if self.replies().is_some_and(Replies::tell_silence) => {
                            self.desk.board.drop_one();
                            return self.give_up(&reply).await;
                        }
                        None => {
                            if undeliverable.is_none() {
                                undeliverable = Some(self.desk.board.undeliverable.mark());
                                self.alert(reason, &history);
                            }
                            self.hold(&history).await?;
                        }
                    }
                }
                // The breaker lets nobody pass any more.
                Step::Pause => {}
            }
        }
    }

    /// Where the reply to this message goes, if it is a request that its target answers.
    fn replies(&self) -> Option<&Replies> {
        self.desk.replies.as_ref().filter(|_| self.letter.message.reply_to.is_some())
    }

    /// Sends an answer to who asked, before the request is settled. An answer that cannot be sent within some time
    /// is lost, and the attempt has failed.
    async fn answer(&self, reply: &Reply) -> Result<Meaning, Halt> {
        let message = match reply {
            Reply::Answered(answer) => answer.reply.as_deref(),
            Reply::Acked | Reply::Nacked(_) | Reply::Unanswered(_) | Reply::Unreachable(_) => None,
        };
        match message {
            Some(message) => self.send(message.clone()).await,
            None => Ok(Meaning::Accepted),
        }
    }

    /// Tells who asked that there will be no answer.
    async fn give_up(&self, reply: &Reply) -> Result<(), Halt> {
        if !self.replies().is_some_and(Replies::tell_silence) {
            return Ok(());
        }
        let message = match reply {
            Reply::Unanswered(_) => replies::told(504, "the service did not answer in time"),
            Reply::Acked | Reply::Answered(_) | Reply::Nacked(_) | Reply::Unreachable(_) => {
                replies::told(503, "the service did not handle the request")
            }
        };
        self.send(message).await.map(drop)
    }

    async fn send(&self, message: sidespan_bridge::Message) -> Result<Meaning, Halt> {
        let Some(replies) = self.replies() else { return Ok(Meaning::Accepted) };
        for count in 1..=REPLY_TRIES {
            let Unsent(error) = match self.unless_lost(replies.send(self.letter, message.clone())).await? {
                Ok(()) => return Ok(Meaning::Accepted),
                Err(unsent) => unsent,
            };
            if count == REPLY_TRIES {
                self.tell_unsent(&error);
                break;
            }
            let after = retry::backoff(STORE_BASE, STORE_CAP, count, retry::roll());
            self.unless_stopped(sleep(after)).await?;
        }
        Ok(Meaning::Failed)
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, Halt> {
        // The semaphore is never closed.
        self.desk.slots.clone().acquire_owned().await.map_err(|_| Halt::Stopped)
    }

    async fn attempt(&self, number: u32, history: &mut History) -> Result<(Reply, Meaning), Halt> {
        let now = Timestamp::now();
        let metered = self.desk.board.meter.as_ref().map(|meter| (meter, Instant::now()));
        let running = self.desk.board.in_flight.mark();
        let span = traces::begin(self.desk, self.letter, number);
        let context = span.as_ref().and_then(Processing::header);
        let mut reply = self.desk.target.post(self.letter, number, context).await.ok_or(Halt::Stopped)?;
        drop(running);
        let meaning = retry::meaning(&reply, &self.desk.subscription.retry);
        if let Some((meter, began)) = metered {
            let pushed = self.desk.subscription.target.push().map(|_| &self.letter.message);
            meter.attempted(meaning, &reply, history.first.is_some(), began, pushed);
        }
        history.first.get_or_insert(now);
        history.last = Some(now);
        traces::end(span, &mut reply, meaning);
        match meaning {
            Meaning::Accepted => {
                self.desk.board.delivered.count();
                self.tell_delivered(number, &reply);
            }
            Meaning::Failed | Meaning::Gone | Meaning::Refused | Meaning::Unavailable => {
                self.desk.board.failed_attempts.count();
            }
        }
        Ok((reply, meaning))
    }

    /// Waits for the next attempt. One that the endpoint kept waiting is not left waiting when the
    /// endpoint is back.
    async fn wait(&self, attempt: u32, after: Duration, meaning: Meaning, reply: &Reply) -> Result<(), Halt> {
        let Desk { subscription, breaker, .. } = self.desk;
        self.tell_retry(attempt, after, meaning, reply);
        let recovery = async {
            match meaning {
                Meaning::Unavailable => {
                    // That another message was taken does not lift what was asked for this one.
                    let asked = asked(reply).unwrap_or_default().min(subscription.retry.cap);
                    sleep(asked).await;
                    breaker.recovery().await;
                }
                Meaning::Accepted | Meaning::Failed | Meaning::Gone | Meaning::Refused => {
                    std::future::pending().await
                }
            }
        };
        self.unless_stopped(async {
            tokio::select! {
                () = sleep(after) => {}
                () = recovery => {}
            }
        })
        .await
    }

    /// Stores the dead letter, however often that takes.
    async fn bury(&self, place: &DeadLetters, reason: Reason, history: &History) -> Result<(), Halt> {
        let board = &self.desk.board;
        for count in 1.. {
            match place.store(self.letter, reason, history).await {
                Ok(()) => break,
                Err(error) => {
                    if board.dead_letters(Some(error.to_string())) {
                        self.tell_unstored(&error);
                    }
                }
            }
            let after = retry::backoff(STORE_BASE, STORE_CAP, count, retry::roll());
            self.unless_stopped(sleep(after)).await?;
        }
        board.dead_letters(None);
        board.dead_lettered.count();
        if let Some(meter) = &board.meter {
            meter.buried(reason);
        }
        self.tell_buried(reason, history);
        Ok(())
    }

    /// Keeps such a message until its next attempt.
    async fn hold(&self, history: &History) -> Result<(), Halt> {
        let retry = &self.desk.subscription.retry;
        let after = retry::backoff(retry.base, retry.cap, history.attempts, retry::roll());
        self.unless_stopped(sleep(after)).await
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Halt> {
        tokio::select! {
            biased;
            () = self.letter.lost.cancelled() => Err(Halt::Lost),
            () = self.letter.stop.cancelled() => Err(Halt::Stopped),
            done = work => Ok(done),
        }
    }

    async fn unless_lost<T>(&self, work: impl Future<Output = T>) -> Result<T, Halt> {
        tokio::select! {
            biased;
            () = self.letter.lost.cancelled() => Err(Halt::Lost),
            done = work => Ok(done),
        }
    }
}

fn asked(reply: &Reply) -> Option<Duration> {
    match reply {
        Reply::Answered(answer) => answer.retry_after,
        Reply::Acked | Reply::Nacked(_) | Reply::Unanswered(_) | Reply::Unreachable(_) => None,
    }
}

/// How long the broker may take to confirm a settlement.
const CONFIRM: Duration = Duration::from_secs(10);
/// The first and the longest wait before a dead letter is stored again.
const STORE_BASE: Duration = Duration::from_millis(200);
const STORE_CAP: Duration = Duration::from_secs(30);
/// How often a reply is tried to be sent.
const REPLY_TRIES: u32 = 5;
