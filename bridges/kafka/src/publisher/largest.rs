//! What a topic takes at most, asked once the broker has refused something as too large.
//!
//! The broker refuses a request as a whole, and does not say which message was too large, or that
//! all were small and only shared a request. So the topic's limit is compared with each message.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use sidespan_bridge::{Error, Fault, Message, Receipt, Topic};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clients::{Clients, Line};
use crate::{blocking, fault};

/// Knows topics' limits; asks for one at a time.
pub(super) struct Largest {
    clients: Arc<Clients>,
    known: Mutex<HashMap<Topic, (Instant, Option<usize>)>>,
}

impl Largest {
    pub(super) fn new(clients: Arc<Clients>) -> Self {
        Self { clients, known: Mutex::default() }
    }

    /// Says of what the broker refused as too large what is small enough by itself.
    pub(super) async fn judge(
        &self,
        topic: &Topic,
        sizes: &[usize],
        outcomes: &mut [Result<Receipt, Error>],
    ) {
        let Some(limit) = self.of(topic).await else { return };
        for (size, outcome) in sizes.iter().zip(outcomes) {
            let refused = outcome.as_ref().is_err_and(|error| error.fault == Fault::TooLarge);
            if refused && *size <= limit {
                *outcome = Err(Error::new(Fault::Rejected).detail(format!(
                    "the message shared a request with others that was larger than the topic's \
                     `max.message.bytes`, {limit}: set `batch.size` below that in `properties` of the bridge"
                )));
            }
        }
    }

    async fn of(&self, topic: &Topic) -> Option<usize> {
        let mut known = self.known.lock().await;
        if let Some((since, limit)) = known.get(topic)
            && since.elapsed() < FRESH
        {
            return *limit;
        }
        let limit = self.ask(topic).await.unwrap_or_else(|error| {
            tracing::warn!(%topic, %error, "kafka does not tell how large a topic's messages may be");
            None
        });
        known.retain(|_, (since, _)| since.elapsed() < FRESH);
        known.insert(topic.clone(), (Instant::now(), limit));
        limit
    }

    async fn ask(&self, topic: &Topic) -> Result<Option<usize>, Error> {
        let (config, line) = self.clients.asker()?;
        let admin: AdminClient<Line> =
            blocking::call(move || config.create_with_context(line).map_err(fault::of_making)).await?;
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let asked = [ResourceSpecifier::Topic(topic.as_str())];
        let answer = admin.describe_configs(&asked, &options).await;
        blocking::drop_apart(admin, || {});
        let entries = answer.map_err(fault::of_call)?.into_iter().flatten().flat_map(|topic| topic.entries);
        let mut limits = entries.filter(|entry| entry.name == "max.message.bytes");
        Ok(limits.next().and_then(|entry| entry.value?.parse().ok()))
    }
}

/// Returns how large a request is at most that holds only this message.
pub(super) fn alone(message: &Message) -> usize {
    let texts = [&message.id, &message.content_type, &message.reply_to, &message.correlation];
    let texts: usize = texts.into_iter().flatten().map(|text| text.len() + HEADER).sum();
    FRAME + message.weight() + texts + message.headers.len() * HEADER
}

/// A batch's own fields and a record's, rounded up.
const FRAME: usize = 128;
/// A header's lengths, and the names that fields have as headers, rounded up.
const HEADER: usize = 32;
/// How long an answer is taken for true.
const FRESH: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(2);
