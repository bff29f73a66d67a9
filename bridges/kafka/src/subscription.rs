//! A membership in a consumer group, or a cursor of its own.
//!
//! Each subscription has a consumer of its own. Records wait in one queue a partition, inside the
//! client; [`next`](sidespan_bridge::Subscription::next) reads them when the window has room and
//! leaves them there when it has not. Beside it a thread serves the client's main queue, which must
//! never be left unread, and two tasks run: one takes partitions over and gives them up
//! ([`ownership`]); one hands to the broker what is settled ([`commit`]).

mod commit;
mod control;
pub(crate) mod lag;
mod member;
mod memory;
mod oldest;
mod ownership;
mod shard;
mod shared;
mod start;
mod token;
mod turn;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use sidespan_bridge::{
    Control, Error, Event, Fault, Pattern, Position, Start, Subscribe, Subscription, Topic,
};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::asker::{Asker, Asking};
use crate::catalogue::{self, Found, Partition};
use crate::clients::Line;
use crate::stranded::Stranded;
use crate::{blocking, fault};

use commit::Committer;
use control::{KafkaControl, Running, Serving};
use member::{Change, Member};
use ownership::{CALL, Ownership};
use shared::Shared;
use start::Begin;
use turn::Turn;

/// Reads what a group, or a cursor, is to get.
pub(crate) struct KafkaSubscription {
    shared: Arc<Shared>,
    /// Where a cursor began.
    begun: Option<Vec<(Topic, Position)>>,
    control: Arc<KafkaControl>,
}

/// What a subscription is made from.
pub(crate) struct Plan {
    pub(crate) config: ClientConfig,
    pub(crate) to: Subscribe,
    pub(crate) line: Line,
    pub(crate) asker: Arc<Asker>,
    /// Set once the bridge is gone without a word.
    pub(crate) mute: Arc<AtomicBool>,
}

/// Joins a group, or opens a cursor.
pub(crate) async fn join(plan: Plan) -> Result<KafkaSubscription, Error> {
    let Plan { config, line, to, asker, mute } = plan;
    let (sender, changes) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared::new((to.window, to.order), to.group.is_some(), mute, sender.clone()));
    let reader = (config.clone(), line.clone());
    let member = Member::new(sender, line);
    let consumer: Arc<BaseConsumer<Member>> =
        blocking::call(move || Ok(Arc::new(config.create_with_context(member).map_err(fault::of_making)?)))
            .await?;
    let over = CancellationToken::new();
    let (served, serves, end) = (Arc::clone(&consumer), Arc::clone(&shared), CancellationToken::new());
    let quit = end.clone();
    let ended = blocking::thread("kafka-serve", move || {
        serve(&served, &serves, &quit);
        drop(served);
    })?;
    let serving = Serving { end: end.drop_guard(), ended };
    let begun = begin(&consumer, &shared, changes, &over, &to, &asker).await;
    let Begun { committer, ownership, tasks, positions } = match begun {
        Ok(begun) => begun,
        Err(error) => {
            serving.end().await;
            consumer.context().close();
            blocking::drop_apart(consumer, || {});
            // The client tells by itself that it may not join, and leaves questions unanswered.
            return Err(shared.take_end().unwrap_or(error));
        }
    };
    let running = Running { consumer, committer, serving, over, tasks, ownership };
    let pattern = to.pattern;
    let running = Mutex::new(Some(running));
    let control = KafkaControl { shared: Arc::clone(&shared), pattern, asker, reader, running };
    Ok(KafkaSubscription { shared, begun: positions, control: Arc::new(control) })
}

/// What runs once reading has begun.
struct Begun {
    committer: Arc<Committer>,
    ownership: JoinHandle<Ownership>,
    tasks: Vec<JoinHandle<()>>,
    /// Where a cursor begins.
    positions: Option<Vec<(Topic, Position)>>,
}

/// Finds what to read and from where, then begins.
async fn begin(
    consumer: &Arc<BaseConsumer<Member>>,
    shared: &Arc<Shared>,
    changes: mpsc::UnboundedReceiver<Change>,
    over: &CancellationToken,
    to: &Subscribe,
    asker: &Arc<Asker>,
) -> Result<Begun, Error> {
    let pattern = to.pattern.clone();
    let looking = asker.ask(move |asking| {
        let partitions = partitions(asking, &pattern)?;
        if partitions.is_empty() && !pattern.is_wildcard() {
            return Err(Fault::UnknownTopic.into());
        }
        Ok((asking.client().fetch_cluster_id(CALL), partitions))
    });
    let (cluster, partitions) = looking.await?;
    if cluster.is_none() {
        warn!("the cluster does not tell its id: more messages are repeated after a crash");
    }
    let committer = Arc::new(Committer::new(Arc::clone(consumer), Arc::clone(shared), cluster.clone())?);
    let ownership = Ownership {
        consumer: Arc::clone(consumer),
        asker: Arc::clone(asker),
        shared: Arc::clone(shared),
        committer: Arc::clone(&committer),
        cluster,
        changes,
        over: over.clone(),
    };
    let mut tasks = Vec::new();
    let mut positions = None;
    if to.group.is_some() {
        record_start(&ownership, partitions, &to.start).await?;
        let expression = catalogue::expression(&to.pattern);
        consumer.subscribe(&[&expression]).map_err(fault::of_call)?;
        let committing = Arc::clone(&committer);
        tasks.push(tokio::spawn(async move { committing.run().await }));
    } else {
        let (known, start) = (partitions.clone(), to.start.clone());
        let begins = asker.ask(move |asking| start::fresh(asking, &known, &start, CALL)).await?;
        positions = Some(begins.iter().filter_map(Begin::position).collect());
        ownership.take(begins).await;
        let changes = shared.changes.clone();
        tasks.push(tokio::spawn(follow(Arc::clone(asker), to.pattern.clone(), partitions, changes)));
    }
    Ok(Begun { committer, ownership: tokio::spawn(ownership.run()), tasks, positions })
}

/// Has the broker keep the start of a group that it does not know.
///
/// The broker takes this only while the group has no members. If another member was quicker, it
/// has done the same.
async fn record_start(ownership: &Ownership, partitions: Vec<Partition>, start: &Start) -> Result<(), Error> {
    let (asked, start) = (Arc::clone(&ownership.consumer), start.clone());
    let looked_at = partitions.clone();
    let looking = ownership.asker.ask(move |asking| {
        if !start::is_new(&asked, &looked_at, CALL)? {
            return Ok(Vec::new());
        }
        let begins = start::fresh(asking, &looked_at, &start, CALL)?;
        Ok(if start::is_new(&asked, &looked_at, CALL)? { begins } else { Vec::new() })
    });
    let begins = looking.await?;
    let Err(error) = ownership.record(&begins).await else { return Ok(()) };
    let asked = Arc::clone(&ownership.consumer);
    match blocking::call(move || start::is_new(&asked, &partitions, CALL)).await {
        Ok(false) => Ok(()),
        Ok(true) | Err(_) => Err(error),
    }
}

fn partitions(asking: &Asking, pattern: &Pattern) -> Result<Vec<Partition>, Error> {
    let found = catalogue::list(asking.client(), pattern, CALL)?;
    Ok(found.iter().flat_map(Found::each).collect())
}

/// Tells at which offset each partition of a pattern is to begin. Blocks.
pub(crate) fn beginnings(
    asking: &Asking,
    pattern: &Pattern,
    start: &Start,
) -> Result<Vec<(Partition, u64)>, Error> {
    let partitions = partitions(asking, pattern)?;
    if partitions.is_empty() && !pattern.is_wildcard() {
        return Err(Fault::UnknownTopic.into());
    }
    let begins = start::fresh(asking, &partitions, start, CALL)?;
    Ok(begins.into_iter().map(|begin| (begin.partition, begin.offset)).collect())
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        // A reader that always finds something must not keep the executor to itself.
        tokio::task::coop::consume_budget().await;
        loop {
            let woken = self.shared.ready.wake.notified();
            let due = match self.shared.turn() {
                Turn::Event(event) => return Some(Ok(event)),
                Turn::End(end) => return end.map(Err),
                Turn::Wait(due) => due,
            };
            match due {
                None => woken.await,
                Some(due) => tokio::select! {
                    () = woken => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    fn begun(&self) -> Option<Vec<(Topic, Position)>> {
        self.begun.clone()
    }

    fn control(&self) -> Arc<dyn Control> {
        Arc::clone(&self.control) as Arc<dyn Control>
    }
}

impl Drop for KafkaSubscription {
    fn drop(&mut self) {
        self.shared.stop_intake();
        self.shared.lock().remove_all();
        let control = Arc::clone(&self.control);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = control.close(Instant::now() + DROPPED).await {
                    debug!(%error, "a subscription that was dropped could not settle everything");
                }
            });
        }
    }
}

/// Serves the client's main queue: changes of ownership, errors, logs.
///
/// On a thread of its own, because the client does not tell an empty queue from an event that it
/// has dealt with: only a poll that waits is sure to leave nothing behind.
fn serve(consumer: &BaseConsumer<Member>, shared: &Shared, over: &CancellationToken) {
    let mut stranded = Stranded::default();
    while !over.is_cancelled() {
        match consumer.poll(TICK) {
            None => {}
            Some(Ok(_)) => {
                // Its partition's queue would skip it without a word.
                error!("a message came by the wrong queue: the subscription begins anew");
                shared.end(Err(Fault::Unavailable.into()));
                return;
            }
            Some(Err(error)) => {
                stranded.hear(&error);
                if let Some(error) = end_of(error) {
                    shared.end(Err(error));
                }
            }
        }
        if let Some(reason) = stranded.is_certain(consumer, &consumer.context().line) {
            error!(reason, "the subscription begins anew");
            shared.end(Err(Fault::Unavailable.into()));
            return;
        }
    }
}

/// Tells whether an error ends the subscription.
fn end_of(error: KafkaError) -> Option<Error> {
    if let KafkaError::MessageConsumptionFatal(_) = error {
        return Some(fault::of_call(error));
    }
    match error.rdkafka_error_code() {
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::InconsistentGroupProtocol
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout,
        ) => Some(fault::of_call(error)),
        Some(Code::UnknownTopicOrPartition) => {
            warn!(%error, "a topic of a subscription does not exist for now");
            None
        }
        _ => {
            debug!(%error, "trouble that heals by itself");
            None
        }
    }
}

/// Finds topics and partitions that appear, for a cursor of its own.
async fn follow(
    asker: Arc<Asker>,
    pattern: Pattern,
    mut known: Vec<Partition>,
    changes: mpsc::UnboundedSender<Change>,
) {
    loop {
        tokio::time::sleep(FOLLOW).await;
        let pattern = pattern.clone();
        match asker.ask(move |asking| partitions(asking, &pattern)).await {
            Ok(mut found) => {
                found.retain(|partition| !known.contains(partition));
                if !found.is_empty() {
                    known.extend(found.iter().cloned());
                    let _ = changes.send(Change::Assigned(found));
                }
            }
            Err(error) => debug!(%error, "kafka does not list its topics for now"),
        }
    }
}

/// How soon the thread of the main queue notices that it is not needed any more.
const TICK: Duration = Duration::from_millis(50);
/// How soon a cursor notices a new topic.
const FOLLOW: Duration = Duration::from_secs(5);
/// How long a subscription that is dropped has to settle what it can.
const DROPPED: Duration = Duration::from_secs(5);
