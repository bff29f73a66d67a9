//! Watching a bucket: a consumer that the server pushes from, newest message of each name first told.
//!
//! Deliveries are counted and the server says every second how many there were, so that one that was lost, or a
//! server that forgot the consumer, ends the watch: whoever watches again is told everything again.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::{HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{Stream, unfold};
use serde::Deserialize;
use serde_json::json;
use sidespan_bridge::{Change, Error, Fault, Revision};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::bucket::{Bucket, MARK, OPERATION, VERSION};
use crate::subscription::received::Received;

/// A watch that has begun.
struct Watch {
    bucket: Bucket,
    deliveries: Subscriber,
    /// How many there were.
    delivered: u64,
    /// `Current` was told.
    current: bool,
    told: VecDeque<Result<Change, Error>>,
    ended: bool,
}

#[derive(Deserialize)]
struct Made {
    #[serde(default)]
    num_pending: u64,
}

/// Begins to watch.
pub(super) async fn open(
    bucket: &Bucket,
    deadline: Instant,
) -> Result<impl Stream<Item = Result<Change, Error>> + Send + 'static, Error> {
    bucket.prepare(deadline).await?;
    let inbox = bucket.api.client.new_inbox();
    let deliveries = bucket.api.client.subscribe(inbox.clone()).await;
    let deliveries = deliveries.map_err(|error| Error::new(Fault::Unavailable).because(error))?;
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let config = json!({
        "deliver_subject": inbox,
        "deliver_policy": "last_per_subject",
        "filter_subject": format!("{}>", bucket.prefix),
        "ack_policy": "none",
        "replay_policy": "instant",
        "idle_heartbeat": nanos(HEARTBEAT),
        "flow_control": true,
        "inactive_threshold": nanos(INACTIVE),
        "mem_storage": true,
        "num_replicas": 1,
    });
    let body = json!({"stream_name": bucket.stream, "config": config});
    let made: Made = bucket.api.ask(&format!("CONSUMER.CREATE.{}", bucket.stream), body, deadline).await?;
    let current = made.num_pending == 0;
    let told = current.then_some(Ok(Change::Current)).into_iter().collect();
    let watch = Watch { bucket: bucket.clone(), deliveries, delivered: 0, current, told, ended: false };
    Ok(unfold(watch, async |mut watch| Some((watch.next().await?, watch))))
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Change, Error>> {
        loop {
            if let Some(change) = self.told.pop_front() {
                self.ended = change.is_err();
                return Some(change);
            }
            if self.ended {
                return None;
            }
            match timeout(HEARTBEAT * MISSED, self.deliveries.next()).await {
                Ok(Some(message)) if message.status == Some(StatusCode::IDLE_HEARTBEAT) => {
                    self.heartbeat(message).await;
                }
                Ok(Some(message)) => self.take(&message),
                Ok(None) | Err(_) => self.lose("nothing is heard of it"),
            }
        }
    }

    /// The server tells how far it is, or asks whether we follow.
    async fn heartbeat(&mut self, message: Message) {
        if let Some(reply) = message.reply {
            // If it is lost the server pauses, and the next heartbeat says so again.
            drop(self.bucket.api.client.publish(reply, Bytes::new()).await);
        }
        let header = |name: &str| Some(message.headers.as_ref()?.get(name)?.as_str().to_owned());
        if let Some(stalled) = header(STALLED) {
            drop(self.bucket.api.client.publish(stalled, Bytes::new()).await);
        }
        let last = header(LAST).and_then(|last| last.parse().ok());
        if last.is_some_and(|last: u64| last != self.delivered) {
            self.lose("changes were missed");
        }
    }

    fn take(&mut self, message: &Message) {
        let Some(about) = message.reply.as_deref().and_then(Received::read) else { return };
        if about.delivery != self.delivered + 1 {
            return self.lose("changes were missed");
        }
        self.delivered = about.delivery;
        if let Some(change) = self.read(message, about.sequence) {
            self.told.push_back(Ok(change));
        }
        if !self.current && about.pending == 0 {
            self.current = true;
            self.told.push_back(Ok(Change::Current));
        }
    }

    fn read(&self, message: &Message, sequence: u64) -> Option<Change> {
        let key = message.subject.strip_prefix(self.bucket.prefix.as_str())?;
        let none = HeaderMap::new();
        let headers = message.headers.as_ref().unwrap_or(&none);
        if headers.get(OPERATION).is_some() {
            // Nobody was told of what was removed before.
            return self.current.then(|| Change::Removed { key: key.into() });
        }
        if headers.get(MARK).is_none_or(|version| version.as_str() != VERSION) {
            warn!(
                stream = self.bucket.stream,
                key, sequence, "skipped a record that no registry of this release wrote"
            );
            return None;
        }
        let (value, revision) = (message.payload.clone(), Revision(sequence));
        Some(Change::Put { key: key.into(), value, revision })
    }

    fn lose(&mut self, why: &str) {
        let detail = format!("the registry cannot be followed, {why}: watch it again");
        self.told.push_back(Err(Error::new(Fault::Unavailable).detail(detail)));
    }
}

const LAST: &str = "Nats-Last-Consumer";
const STALLED: &str = "Nats-Consumer-Stalled";
/// How often the server says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Without so many it is away.
const MISSED: u32 = 3;
/// How long the server keeps a consumer that nobody listens to.
const INACTIVE: Duration = Duration::from_secs(10);
