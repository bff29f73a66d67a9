//! Moves a group that has no members.
//!
//! Kafka takes offsets from somebody who is no member only while a group has none, so that nobody is moved under
//! its hands. What is committed here has no metadata: nothing beyond it counts as settled any more.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sidespan_bridge::{Error, Fault, Subscribe};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::asker::{Asker, Asking};
use crate::clients::Clients;
use crate::subscription::beginnings;
use crate::{blocking, fault};

/// Moves a group to where `to` says; waits for its members to leave until `deadline`.
pub(crate) async fn seek(
    clients: &Clients,
    asker: &Asker,
    to: &Subscribe,
    deadline: Instant,
) -> Result<(), Error> {
    let Some(group) = &to.group else {
        let detail = "a cursor of its own is not moved: open another where it is to begin";
        return Err(Error::new(Fault::Unsupported).detail(detail));
    };
    let (config, line) = clients.consumer(group)?;
    let stranger: Arc<Asking> =
        blocking::call(move || Ok(Arc::new(config.create_with_context(line).map_err(fault::of_making)?)))
            .await?;
    let moved = loop {
        let tried = timeout_at(deadline, try_once(&stranger, asker, to)).await;
        let error = match tried {
            Ok(Ok(())) => break Ok(()),
            Ok(Err(error)) => error,
            Err(_) => break Err(Fault::Timeout.into()),
        };
        let passes = matches!(error.fault, Fault::Conflict | Fault::Unavailable);
        if !passes || Instant::now() + PAUSE >= deadline {
            break Err(error);
        }
        sleep(PAUSE).await;
    };
    blocking::drop_apart(stranger, || {});
    moved
}

/// Finds where the group is to go on, and has the broker record it.
async fn try_once(stranger: &Arc<Asking>, asker: &Asker, to: &Subscribe) -> Result<(), Error> {
    let (pattern, start) = (to.pattern.clone(), to.start.clone());
    let begins = asker.ask(move |asking| beginnings(asking, &pattern, &start)).await?;
    // The client tells of an error only where it befalls all that is committed together.
    for topic in begins.chunk_by(|(one, _), (next, _)| one.topic == next.topic) {
        let mut list = TopicPartitionList::with_capacity(topic.len());
        for (partition, offset) in topic {
            let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            list.add_partition_offset(partition.topic.as_str(), partition.number, offset)
                .map_err(fault::of_call)?;
        }
        commit(Arc::clone(stranger), list).await?;
    }
    Ok(())
}

/// Commits, on a thread that may wait for it: a broker that is away keeps the client waiting without end.
async fn commit(stranger: Arc<Asking>, list: TopicPartitionList) -> Result<(), Error> {
    let (reply, answer) = oneshot::channel();
    drop(blocking::thread("kafka-seek", move || {
        let committed = stranger.commit(&list, CommitMode::Sync);
        // Let go first: whoever awaits the answer may be about to drop the consumer.
        drop(stranger);
        let _ = reply.send(committed);
    })?);
    match answer.await {
        Ok(committed) => committed.map_err(refused),
        Err(_) => Err(Fault::Unavailable.into()),
    }
}

fn refused(error: KafkaError) -> Error {
    match error.rdkafka_error_code() {
        Some(
            Code::FencedInstanceId
            | Code::IllegalGeneration
            | Code::RebalanceInProgress
            | Code::UnknownMemberId,
        ) => {
            let detail = "the group has members: it is moved once they have left";
            Error::new(Fault::Conflict).detail(detail).because(error)
        }
        _ => fault::of_call(error),
    }
}

/// How long to wait before it is tried again.
const PAUSE: Duration = Duration::from_millis(200);
