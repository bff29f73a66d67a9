//! One cluster, shared by everyone in the process.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use rdkafka::consumer::Consumer as _;
use sidespan_bridge::{
    Bridge, Error, Fault, Guarantee, Guarantees, Lag, Message, Pattern, Publisher, Registry, Settings,
    Subscribe, Subscription, Topic, TopicInfo, Unsupported,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::asker::{Asker, Asking};
use crate::catalogue::{self, Found, Partition, check_name};
use crate::clients::Clients;
use crate::link::Link;
use crate::publisher::{self, Engine, KafkaPublisher, Producer};
use crate::registry::{KafkaRegistry, Parts};
use crate::replies::Replies;
use crate::seek;
use crate::settings::KafkaSettings;
use crate::subscription::{self, Plan, lag};
use crate::topics::{Topics, left};

/// A connection to one Kafka cluster.
pub(crate) struct KafkaBridge {
    registry_prefix: Box<str>,
    service: Box<str>,
    clients: Arc<Clients>,
    link: Arc<Link>,
    publisher: Arc<KafkaPublisher>,
    asker: Arc<Asker>,
    topics: Arc<Topics>,
    replies: Replies,
    producer: Arc<Producer>,
    engine: Mutex<Option<Engine>>,
    /// Set when the bridge is dropped: subscriptions that still stand say nothing more.
    mute: Arc<AtomicBool>,
    cursors: AtomicU64,
}

impl KafkaBridge {
    pub(crate) fn open(settings: &Settings) -> Result<Self, Error> {
        let service = settings.service.clone();
        let settings = KafkaSettings::read(settings)
            .map_err(|error| Error::new(Fault::Invalid).detail(error.to_string()))?;
        let (max_message, create_topics) = (settings.max_message.0, settings.create_topics);
        let reply_topic = settings.reply_topic.clone().unwrap_or_else(|| format!("{service}.replies"));
        let replying = (Topic::new(reply_topic), settings.max_requests);
        let registry_prefix =
            settings.registry_prefix.clone().unwrap_or_else(|| format!("{service}.").into());
        let clients = Arc::new(Clients::new(settings, service.clone()));
        let (publisher, engine) = publisher::open(&clients, max_message)
            .map_err(|error| Error::new(Fault::Invalid).detail(error.to_string()).because(error))?;
        let asker = Arc::new(Asker::new(Arc::clone(&clients)));
        let topics = Topics::new(Arc::clone(&clients), Arc::clone(&engine.producer), create_topics);
        let topics = Arc::new(topics);
        let asking = (Arc::clone(&clients), Arc::clone(&asker));
        let replies = Replies::new(replying, asking, (Arc::clone(&topics), Arc::clone(&publisher)));
        Ok(Self {
            asker,
            topics,
            replies,
            link: Arc::clone(&clients.link),
            registry_prefix,
            service,
            clients,
            publisher,
            producer: Arc::clone(&engine.producer),
            engine: Mutex::new(Some(engine)),
            mute: Arc::default(),
            cursors: AtomicU64::new(0),
        })
    }

    /// Names a cursor of its own: the client wants a group's name, and never joins the group.
    fn cursor(&self) -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let count = self.cursors.fetch_add(1, Ordering::Relaxed);
        format!("{}.cursor.{:x}.{since:x}.{count}", self.service, process::id())
    }

    /// Says what is wrong in the words of whoever runs the cluster.
    fn explain(&self, error: Error) -> Error {
        match error.fault {
            Fault::Unavailable | Fault::Timeout => self.clients.explain().because(error),
            Fault::Conflict
            | Fault::Denied
            | Fault::Invalid
            | Fault::Limited
            | Fault::Overloaded
            | Fault::Rejected
            | Fault::StorageFull
            | Fault::TooLarge
            | Fault::UnknownTopic
            | Fault::Unroutable
            | Fault::Unsupported => error,
        }
    }
}

#[async_trait]
impl Bridge for KafkaBridge {
    fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::clone(&self.publisher) as Arc<dyn Publisher>
    }

    async fn subscribe(&self, to: Subscribe) -> Result<Box<dyn Subscription>, Error> {
        check_pattern(&to.pattern)?;
        if self.link.is_down() {
            return Err(self.clients.explain());
        }
        let group = to.group.as_deref().map_or_else(|| self.cursor(), str::to_owned);
        let (mut config, line) = self.clients.consumer(&group)?;
        if to.pattern.is_wildcard() {
            config.set("topic.blacklist", format!("^{}.*", catalogue::INTERNAL_PREFIX));
        }
        let asker = Arc::clone(&self.asker);
        let plan = Plan { config, line, to, asker, mute: Arc::clone(&self.mute) };
        match subscription::join(plan).await {
            Ok(subscription) => Ok(Box::new(subscription)),
            Err(error) => Err(self.explain(error)),
        }
    }

    async fn probe(&self, deadline: Instant) -> Result<(), Error> {
        let begin = Instant::now();
        // Who asks waits no longer than that, and is to hear why nobody answers.
        let diagnosis = (left(deadline) / 2).min(DIAGNOSIS);
        let known_by = deadline.checked_sub(diagnosis).unwrap_or(deadline).max(begin + SILENCE).min(deadline);
        let error = match timeout_at(known_by, self.producer.reach(left(known_by))).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => Fault::Timeout.into(),
        };
        let silent = matches!(error.fault, Fault::Timeout | Fault::Unavailable);
        if silent && begin.elapsed() >= SILENCE {
            self.link.is_lost();
        }
        let _ = timeout_at(deadline, self.link.diagnose()).await;
        Err(self.explain(error))
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees {
            delivery: Guarantee::AtLeastOnce,
            deduplicates: false,
            ordered: true,
            start: true,
            seek: true,
            requests: true,
        }
    }

    async fn topics(&self, pattern: &Pattern, deadline: Instant) -> Result<Vec<TopicInfo>, Error> {
        let (pattern, timeout) = (pattern.clone(), left(deadline));
        let asking = self.asker.ask(move |asking| infos(asking, &pattern, timeout));
        match timeout_at(deadline, asking).await {
            Ok(infos) => infos.map_err(|error| self.explain(error)),
            Err(_) => Err(self.explain(Fault::Timeout.into())),
        }
    }

    async fn ensure(&self, topic: &Topic, deadline: Instant) -> Result<(), Error> {
        let found = self.topics.ensure(topic, None, &[], deadline).await;
        found.map(drop).map_err(|error| self.explain(error))
    }

    async fn request(&self, topic: &Topic, message: Message, deadline: Instant) -> Result<Message, Error> {
        self.replies.request(topic, message, deadline).await
    }

    async fn reply(&self, to: &str, reply: Message, deadline: Instant) -> Result<(), Error> {
        self.replies.reply(to, reply, deadline).await
    }

    async fn seek(&self, to: &Subscribe, deadline: Instant) -> Result<(), Error> {
        check_pattern(&to.pattern)?;
        if self.link.is_down() {
            return Err(self.clients.explain());
        }
        let moved = seek::seek(&self.clients, &self.asker, to, deadline).await;
        moved.map_err(|error| self.explain(error))
    }

    async fn lag(&self, to: &Subscribe, deadline: Instant) -> Result<Option<Lag>, Error> {
        check_pattern(&to.pattern)?;
        if self.link.is_down() {
            return Err(self.clients.explain());
        }
        let counted = lag::lag(&self.clients, &self.asker, to, deadline).await;
        counted.map_err(|error| self.explain(error))
    }

    fn registry(&self, name: &str) -> Result<Arc<dyn Registry>, Unsupported> {
        let parts = Parts {
            prefix: self.registry_prefix.clone(),
            cursor: self.cursor(),
            clients: Arc::clone(&self.clients),
            asker: Arc::clone(&self.asker),
            topics: Arc::clone(&self.topics),
            publisher: Arc::clone(&self.publisher),
            mute: Arc::clone(&self.mute),
        };
        Ok(Arc::new(KafkaRegistry::open(parts, name)))
    }

    async fn close(&self, deadline: Instant) {
        self.publisher.drain(deadline).await;
        self.replies.close(deadline).await;
        self.engine.lock().await.take();
    }
}

impl Drop for KafkaBridge {
    fn drop(&mut self) {
        let closed = self.engine.get_mut().is_none();
        if !closed {
            self.mute.store(true, Ordering::Release);
        }
    }
}

/// Tells whether Kafka takes this as a pattern.
fn check_pattern(pattern: &Pattern) -> Result<(), Error> {
    if let Some(topic) = pattern.literal() {
        check_name(topic.as_str())?;
    }
    // What no name holds would be read as an expression, and match more than the pattern does.
    check_name(&pattern.as_str().replace(['*', '>'], "-"))
}

fn infos(asking: &Asking, pattern: &Pattern, timeout: Duration) -> Result<Vec<TopicInfo>, Error> {
    let found = catalogue::list(asking.client(), pattern, timeout)?;
    let partitions: Vec<Partition> = found.iter().flat_map(Found::each).collect();
    // A topic is listed though its partitions can't be asked.
    let bounds = catalogue::bounds(asking, &partitions, timeout).ok();
    let stored = |topic: &Topic| {
        let each = partitions.iter().zip(bounds.as_ref()?);
        Some(each.filter(|(partition, _)| partition.topic == *topic).map(|(_, b)| b.high - b.low).sum())
    };
    let info = |found: &Found| TopicInfo {
        topic: found.topic.clone(),
        partitions: found.partitions,
        messages: stored(&found.topic),
        bytes: None,
    };
    Ok(found.iter().map(info).collect())
}

/// A cluster that says nothing for so long is away.
const SILENCE: Duration = Duration::from_secs(1);
/// How much of the time to answer in is kept for finding out why nobody does, at most.
const DIAGNOSIS: Duration = Duration::from_secs(2);
