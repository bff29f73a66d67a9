//! Streams: which one captures a topic, and how one comes to be.

mod make;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sidespan_bridge::{Error, Fault, Pattern, Topic, TopicInfo};
use tokio::time::Instant;

use crate::api::{Api, Refusal};
use crate::settings::{NatsSettings, Retention};
use crate::subject::plain_name;

/// Finds streams, and makes those that the settings name.
pub(crate) struct Streams {
    api: Api,
    settings: Arc<NatsSettings>,
    /// The streams of the settings are there.
    prepared: AtomicBool,
}

/// What the bridge needs to know of a stream.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Stream {
    pub(crate) config: Config,
    pub(crate) state: Contents,
    /// When it was made: tells one that was made anew from the one before.
    pub(crate) created: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Config {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) subjects: Vec<String>,
    pub(crate) retention: Retention,
    #[serde(default)]
    pub(crate) sealed: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Contents {
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    num_subjects: u64,
    #[serde(default)]
    subjects: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    streams: Option<Vec<String>>,
    #[serde(default)]
    total: usize,
}

#[derive(Deserialize)]
struct Found {
    message: Taken,
}

#[derive(Deserialize)]
struct Taken {
    time: String,
}

#[derive(Deserialize)]
struct Consumers {
    #[serde(default)]
    consumers: Option<Vec<Consumer>>,
    #[serde(default)]
    total: usize,
}

#[derive(Deserialize)]
struct Consumer {
    config: Filters,
}

#[derive(Deserialize)]
struct Filters {
    filter_subject: Option<String>,
    filter_subjects: Option<Vec<String>>,
}

impl Streams {
    pub(crate) fn new(api: Api, settings: Arc<NatsSettings>) -> Self {
        Self { api, settings, prepared: AtomicBool::new(false) }
    }

    /// Makes sure of the streams that the settings name. Done once; two at a time do no harm.
    pub(crate) async fn prepare(&self, deadline: Instant) -> Result<(), Error> {
        if self.prepared.load(Ordering::Acquire) {
            return Ok(());
        }
        for wanted in &self.settings.streams {
            make::sure_of(&self.api, wanted, deadline).await?;
        }
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    /// Finds the one stream that captures what a pattern stands for.
    pub(crate) async fn find(&self, pattern: &Pattern, deadline: Instant) -> Result<Stream, Error> {
        self.prepare(deadline).await?;
        let names = self.names(pattern, deadline).await?;
        match &names[..] {
            [] => Err(Error::new(Fault::UnknownTopic)
                .detail(format!("no stream captures {pattern}: create one, or set `create_streams`"))),
            [name] => Ok(self.info(name, deadline).await?),
            [one, other, ..] => Err(Error::new(Fault::Unsupported).detail(format!(
                "{pattern} is spread over several streams ({one}, {other}): a subscription reads one"
            ))),
        }
    }

    /// Makes sure that a stream captures a topic.
    pub(crate) async fn ensure(&self, topic: &Topic, deadline: Instant) -> Result<Stream, Error> {
        let pattern = Pattern::exactly(topic);
        let error = match self.find(&pattern, deadline).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        match (&self.settings.create_streams, error.fault) {
            (Some(create), Fault::UnknownTopic) => {
                let wanted = create.stream(plain_name(topic.as_str()), topic.as_str());
                make::sure_of(&self.api, &wanted, deadline).await?;
                self.find(&pattern, deadline).await
            }
            _ => Err(error),
        }
    }

    /// Tells whether a stream captures a topic.
    pub(crate) async fn are_there(&self, topic: &Topic, deadline: Instant) -> Result<bool, Error> {
        Ok(!self.names(&Pattern::exactly(topic), deadline).await?.is_empty())
    }

    /// Returns one stream.
    pub(crate) async fn info(&self, name: &str, deadline: Instant) -> Result<Stream, Refusal> {
        self.api.ask(&format!("STREAM.INFO.{name}"), Value::Null, deadline).await
    }

    /// Tells when a stream took the first message of a pattern behind a sequence, if there is one.
    pub(crate) async fn taken_behind(
        &self,
        stream: &str,
        pattern: &Pattern,
        sequence: u64,
        deadline: Instant,
    ) -> Result<Option<SystemTime>, Error> {
        let body = json!({"seq": sequence.saturating_add(1), "next_by_subj": pattern.as_str()});
        let found: Result<Found, Refusal> =
            self.api.ask(&format!("STREAM.MSG.GET.{stream}"), body, deadline).await;
        match found {
            Ok(found) => Ok(found.message.time.parse::<jiff::Timestamp>().ok().map(SystemTime::from)),
            Err(refusal) if refusal.is_missing() => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Lists the topics that a pattern stands for: subjects that have messages, and those that a stream
    /// names in full.
    pub(crate) async fn topics(&self, pattern: &Pattern, deadline: Instant) -> Result<Vec<TopicInfo>, Error> {
        self.prepare(deadline).await?;
        let mut found = std::collections::BTreeMap::new();
        for name in self.names(pattern, deadline).await? {
            let mut offset = 0;
            loop {
                let filter = json!({"subjects_filter": pattern.as_str(), "offset": offset});
                let subject = format!("STREAM.INFO.{name}");
                let stream: Stream = self.api.ask(&subject, filter, deadline).await?;
                if offset == 0 {
                    let named = stream.config.subjects.iter().map(|subject| Topic::new(subject.as_str()));
                    let literal = |topic: &Topic| !Pattern::exactly(topic).is_wildcard();
                    found.extend(named.filter(literal).map(|topic| (topic, (0, None))));
                }
                // A stream tells its own size, and no subject's.
                let bytes = (stream.state.num_subjects == 1).then_some(stream.state.bytes);
                let page = stream.state.subjects.unwrap_or_default();
                if page.is_empty() {
                    break;
                }
                offset += page.len();
                found.extend(
                    page.into_iter().map(|(name, n)| (Topic::new(name), (n.as_u64().unwrap_or(0), bytes))),
                );
                if found.len() >= MOST {
                    break;
                }
            }
        }
        let info =
            |(topic, (messages, bytes))| TopicInfo { topic, partitions: 1, messages: Some(messages), bytes };
        Ok(found.into_iter().filter(|(topic, _)| pattern.matches(topic)).map(info).collect())
    }

    /// Tells whether some consumer of a stream waits for a topic's messages.
    pub(crate) async fn is_awaited(
        &self,
        stream: &str,
        topic: &Topic,
        deadline: Instant,
    ) -> Result<bool, Refusal> {
        let mut offset = 0;
        loop {
            let subject = format!("CONSUMER.LIST.{stream}");
            let page: Consumers = self.api.ask(&subject, json!({"offset": offset}), deadline).await?;
            let consumers = page.consumers.unwrap_or_default();
            if consumers.iter().any(|consumer| consumer.config.cover(topic)) {
                return Ok(true);
            }
            offset += consumers.len();
            if consumers.is_empty() || offset >= page.total {
                return Ok(false);
            }
        }
    }

    async fn names(&self, pattern: &Pattern, deadline: Instant) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        loop {
            let body = json!({"subject": pattern.as_str(), "offset": names.len()});
            let page: Names = self.api.ask("STREAM.NAMES", body, deadline).await?;
            let more = page.streams.unwrap_or_default();
            let end = more.is_empty();
            names.extend(more);
            if end || names.len() >= page.total {
                return Ok(names);
            }
        }
    }
}

impl Filters {
    fn cover(&self, topic: &Topic) -> bool {
        let many = self.filter_subjects.iter().flatten();
        let mut all = self.filter_subject.iter().chain(many).filter(|filter| !filter.is_empty()).peekable();
        all.peek().is_none()
            || all.any(|filter| Pattern::parse(filter).is_ok_and(|pattern| pattern.matches(topic)))
    }
}

/// Subjects of one stream after which no more are asked for: a list of topics is cut far below.
const MOST: usize = 100_000;
