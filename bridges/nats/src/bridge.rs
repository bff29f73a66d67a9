//! One NATS cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use sidespan_bridge::{
    Bridge, Error, Fault, Guarantee, Guarantees, Lag, Limits, Message, Order, Pattern, Publisher, Registry,
    Settings, Start, Subscribe, Subscription, Topic, TopicInfo, Unsupported,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::api::{Api, round_trip};
use crate::core;
use crate::link::{Change, Link};
use crate::publisher::{self, Engine, NatsPublisher};
use crate::registry::NatsRegistry;
use crate::requests::Asking;
use crate::settings::{NatsSettings, Retention};
use crate::streams::Streams;
use crate::subject::{check_address, check_pattern};
use crate::subscription::{self, Plan};

/// A connection to publish by, and one to receive by: what ends one leaves the other.
pub(crate) struct NatsBridge {
    service: Box<str>,
    settings: Arc<NatsSettings>,
    publisher: Arc<NatsPublisher>,
    publishing: Api,
    streams: Arc<Streams>,
    engine: Mutex<Option<Engine>>,
    receiving: Api,
    /// Without streams only.
    asking: Option<Asking>,
    /// Subscriptions end without a word.
    gone: CancellationToken,
}

impl NatsBridge {
    pub(crate) fn open(settings: &Settings) -> Result<Self, Error> {
        let wrong = |error: sidespan_bridge::SettingsError| {
            Error::new(Fault::Invalid).detail(error.to_string()).because(error)
        };
        let service = &settings.service;
        let settings = Arc::new(NatsSettings::read(settings).map_err(wrong)?);
        let (publisher, publishing, streams, engine) = publisher::open(&settings, service)?;
        let (overflows, bridge) = (AtomicU64::new(0), settings.bridge.clone());
        let hook = move |change| match change {
            Change::Overflowed => {
                let count = overflows.fetch_add(1, Ordering::Relaxed) + 1;
                // One in a while: it comes for each message.
                if count.is_power_of_two() {
                    warn!(
                        bridge = bridge.as_deref(),
                        dropped = count,
                        "messages are dropped: they come faster than they are taken"
                    );
                }
            }
            Change::Denied(_) | Change::Down | Change::Up => {}
        };
        let (client, link) = Link::open(&settings, service, "receiving", QUEUE, Box::new(hook))?;
        let asking = (!settings.stores())
            .then(|| Asking::open(publishing.clone(), Arc::clone(&publisher), Arc::clone(&streams)))
            .transpose()?;
        Ok(Self {
            service: service.clone(),
            settings,
            publisher,
            publishing,
            streams,
            engine: Mutex::new(Some(engine)),
            receiving: Api { client, link },
            asking,
            gone: CancellationToken::new(),
        })
    }

    /// Says what is wrong in the words of whoever runs the cluster.
    fn explain(&self, error: Error) -> Error {
        if error.fault == Fault::Timeout {
            let deaf = self.publishing.link.deaf().or_else(|| self.receiving.link.deaf());
            if let Some(denied) = deaf {
                return denied.because(error);
            }
            return Error::new(Fault::Unavailable)
                .detail("nats does not answer: is the server overloaded, or without a leader?")
                .because(error);
        }
        error
    }

    fn asking(&self) -> Result<&Asking, Error> {
        self.asking.as_ref().ok_or_else(|| {
            let detail = "a stream answers what it stores itself: requests need a bridge with `mode: core`";
            Error::new(Fault::Unsupported).detail(detail)
        })
    }

    async fn reach(&self, deadline: Instant) -> Result<(), Error> {
        if !self.settings.stores() {
            return round_trip(&self.publishing, deadline).await;
        }
        let _: Value = self.publishing.ask("INFO", Value::Null, deadline).await?;
        self.streams.prepare(deadline).await
    }
}

/// Tells what NATS can do for a subscription.
pub(crate) fn limits(settings: &NatsSettings, to: &Subscribe) -> Result<Limits, Unsupported> {
    if !settings.stores() {
        let refused = |text: &str| Err(Unsupported(text.into()));
        if to.order != Order::None {
            return refused("NATS keeps no order without a stream: use `order: none`, or `mode: jetstream`");
        }
        if to.start != Start::End {
            return refused("NATS stores nothing without a stream: use `start: end`, or `mode: jetstream`");
        }
    }
    let releases_to_broker = settings.stores() && to.group.is_some() && to.order == Order::None;
    Ok(Limits { longest_hold: None, releases_to_broker })
}

#[async_trait]
impl Bridge for NatsBridge {
    fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::clone(&self.publisher) as Arc<dyn Publisher>
    }

    async fn subscribe(&self, to: Subscribe) -> Result<Box<dyn Subscription>, Error> {
        check_pattern(to.pattern.as_str())?;
        limits(&self.settings, &to)?;
        let api = self.receiving.clone();
        let joined = if self.settings.stores() {
            let streams = Arc::clone(&self.streams);
            let (settings, gone) = (Arc::clone(&self.settings), self.gone.child_token());
            subscription::join(Plan { to, settings, api, streams, gone }).await
        } else {
            core::join(to, api, &self.gone).await
        };
        match joined {
            Ok(subscription) => Ok(Box::new(subscription)),
            Err(error) => Err(self.explain(error)),
        }
    }

    async fn request(&self, topic: &Topic, message: Message, deadline: Instant) -> Result<Message, Error> {
        self.asking()?.ask(topic, message, deadline).await
    }

    async fn reply(&self, to: &str, reply: Message, deadline: Instant) -> Result<(), Error> {
        self.asking()?.answer(to, reply, deadline).await
    }

    async fn accept(&self, receipt: &str, deadline: Instant) -> Result<(), Error> {
        self.receiving.acknowledge(receipt, deadline).await
    }

    async fn probe(&self, deadline: Instant) -> Result<(), Error> {
        let begin = Instant::now();
        let known_by = deadline.checked_sub(SILENCE).map_or(deadline, |earlier| earlier.max(begin + SILENCE));
        let reached = timeout_at(known_by, self.reach(known_by)).await;
        let error = match reached {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => Fault::Timeout.into(),
        };
        if error.fault == Fault::Timeout && begin.elapsed() >= SILENCE {
            // A server that hangs keeps its connections; a new one shows whether it does. What is asked
            // before the old one is gone goes down with it.
            let mut state = self.publishing.link.follow();
            let renew = async {
                if self.publishing.client.force_reconnect().await.is_ok() {
                    let _ = state.changed().await;
                }
            };
            let _ = timeout_at(deadline, renew).await;
        }
        Err(self.explain(error))
    }

    fn guarantees(&self) -> Guarantees {
        let stores = self.settings.stores();
        let delivery = if stores { Guarantee::AtLeastOnce } else { Guarantee::AtMostOnce };
        Guarantees {
            delivery,
            deduplicates: stores,
            ordered: stores,
            start: stores,
            seek: stores,
            requests: !stores,
        }
    }

    async fn topics(&self, pattern: &Pattern, deadline: Instant) -> Result<Vec<TopicInfo>, Error> {
        if !self.settings.stores() {
            let detail = "NATS knows no topics without a stream: whoever listens is there";
            return Err(Error::new(Fault::Unsupported).detail(detail));
        }
        self.streams.topics(pattern, deadline).await.map_err(|error| self.explain(error))
    }

    async fn ensure(&self, topic: &Topic, deadline: Instant) -> Result<(), Error> {
        check_address(topic.as_str())?;
        if !self.settings.stores() {
            return Ok(());
        }
        self.streams.ensure(topic, deadline).await.map(drop).map_err(|error| self.explain(error))
    }

    async fn ensure_kept(&self, topic: &Topic, deadline: Instant) -> Result<(), Error> {
        check_address(topic.as_str())?;
        if !self.settings.stores() {
            let detail = "NATS stores nothing without a stream: use a bridge with `mode: jetstream`";
            return Err(Error::new(Fault::Unsupported).detail(detail));
        }
        let stream = self.streams.ensure(topic, deadline).await.map_err(|error| self.explain(error))?;
        match stream.config.retention {
            Retention::Limits | Retention::WorkQueue => Ok(()),
            Retention::Interest => Err(Error::new(Fault::Conflict).detail(format!(
                "the stream {} has `retention: interest`, and keeps nothing that no consumer waits for: \
                 `limits` is wanted for {topic}",
                stream.config.name
            ))),
        }
    }

    async fn seek(&self, to: &Subscribe, deadline: Instant) -> Result<(), Error> {
        check_pattern(to.pattern.as_str())?;
        if !self.settings.stores() {
            let detail = "NATS stores nothing without a stream: there is nowhere to go back to";
            return Err(Error::new(Fault::Unsupported).detail(detail));
        }
        let moved =
            subscription::seek::seek(to, &self.settings, &self.receiving, &self.streams, deadline).await;
        moved.map_err(|error| self.explain(error))
    }

    async fn lag(&self, to: &Subscribe, deadline: Instant) -> Result<Option<Lag>, Error> {
        check_pattern(to.pattern.as_str())?;
        if !self.settings.stores() {
            let detail = "NATS stores nothing without a stream, so nothing is left to settle";
            return Err(Error::new(Fault::Unsupported).detail(detail));
        }
        let counted =
            subscription::lag::lag(to, &self.settings, &self.receiving, &self.streams, deadline).await;
        counted.map_err(|error| self.explain(error))
    }

    fn registry(&self, name: &str) -> Result<Arc<dyn Registry>, Unsupported> {
        if !self.settings.stores() {
            return Err(Unsupported("NATS keeps no registry without a stream: use `mode: jetstream`".into()));
        }
        let (api, replicas) = (self.receiving.clone(), self.settings.registry_replicas);
        Ok(Arc::new(NatsRegistry::new(api, &self.service, name, replicas)))
    }

    async fn close(&self, deadline: Instant) {
        self.publisher.drain(deadline).await;
        let engine = self.engine.lock().await.take();
        if let Some(engine) = engine {
            engine.close(deadline).await;
            // What subscriptions had to say was said when they were closed.
            let _ = timeout_at(deadline, self.receiving.client.drain()).await;
        }
    }
}

impl Drop for NatsBridge {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

/// The client's queues hold all that subscriptions may ask for and say in a turn.
const QUEUE: usize = 65_536;
/// A server that says nothing for so long is away.
const SILENCE: Duration = Duration::from_secs(1);
