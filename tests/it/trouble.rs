//! The embedded log with a broker's troubles: what a message's header `trouble` asks for happens to it.
//!
//! Real brokers have these troubles too, but not all of them, and not on demand.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use sidespan_bridge::{
    Bridge, Driver, Error, Fault, Guarantees, Lag, Limits, Message, Pattern, Publisher, Receipt, Registry,
    Settings, SettingsError, Subscribe, Subscription, Topic, TopicInfo, Unsupported,
};
use sidespan_bridge_embedded::Embedded;
use tokio::time::{Instant, sleep_until};

/// Every fault, by the name that the header gives it.
pub(crate) const FAULTS: [(&str, Fault); 13] = [
    ("conflict", Fault::Conflict),
    ("denied", Fault::Denied),
    ("invalid", Fault::Invalid),
    ("limited", Fault::Limited),
    ("overloaded", Fault::Overloaded),
    ("rejected", Fault::Rejected),
    ("storage-full", Fault::StorageFull),
    ("timeout", Fault::Timeout),
    ("too-large", Fault::TooLarge),
    ("unavailable", Fault::Unavailable),
    ("unknown-topic", Fault::UnknownTopic),
    ("unroutable", Fault::Unroutable),
    ("unsupported", Fault::Unsupported),
];

/// Tells whether the trouble of this name, which begins with `hang`, has come to a broker.
pub(crate) fn hangs(name: &str) -> bool {
    HANGING.lock().unwrap().contains(name)
}

static HANGING: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The driver of `kind: trouble`.
pub(crate) struct Trouble;

impl Driver for Trouble {
    fn name(&self) -> &'static str {
        "trouble"
    }

    fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        Embedded.check(settings)
    }

    fn schema(&self) -> schemars::Schema {
        Embedded.schema()
    }

    fn limits(&self, settings: &Settings, to: &Subscribe) -> Result<Limits, Unsupported> {
        Embedded.limits(settings, to)
    }

    fn stores(&self, settings: &Settings) -> bool {
        Embedded.stores(settings)
    }

    fn keeps_registry(&self, settings: &Settings) -> bool {
        Embedded.keeps_registry(settings)
    }

    fn open(&self, settings: &Settings) -> Result<Arc<dyn Bridge>, Error> {
        Ok(Arc::new(Troubled(Embedded.open(settings)?)))
    }
}

struct Troubled(Arc<dyn Bridge>);

#[async_trait]
impl Bridge for Troubled {
    fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::new(TroubledPublisher(self.0.publisher()))
    }

    async fn subscribe(&self, to: Subscribe) -> Result<Box<dyn Subscription>, Error> {
        self.0.subscribe(to).await
    }

    async fn probe(&self, deadline: Instant) -> Result<(), Error> {
        self.0.probe(deadline).await
    }

    fn guarantees(&self) -> Guarantees {
        self.0.guarantees()
    }

    async fn topics(&self, pattern: &Pattern, deadline: Instant) -> Result<Vec<TopicInfo>, Error> {
        self.0.topics(pattern, deadline).await
    }

    async fn ensure(&self, topic: &Topic, deadline: Instant) -> Result<(), Error> {
        self.0.ensure(topic, deadline).await
    }

    async fn request(&self, topic: &Topic, message: Message, deadline: Instant) -> Result<Message, Error> {
        match message.header("trouble") {
            None => self.0.request(topic, message, deadline).await,
            Some(name) if name == "reply" => Ok(echo(message)),
            Some(name) => {
                let known = FAULTS.iter().find(|(known, _)| name == known.as_bytes());
                Err(Error::new(known.expect("a known fault").1))
            }
        }
    }

    async fn reply(&self, to: &str, reply: Message, deadline: Instant) -> Result<(), Error> {
        self.0.reply(to, reply, deadline).await
    }

    async fn seek(&self, to: &Subscribe, deadline: Instant) -> Result<(), Error> {
        self.0.seek(to, deadline).await
    }

    async fn lag(&self, to: &Subscribe, deadline: Instant) -> Result<Option<Lag>, Error> {
        self.0.lag(to, deadline).await
    }

    fn registry(&self, name: &str) -> Result<Arc<dyn Registry>, Unsupported> {
        self.0.registry(name)
    }

    async fn close(&self, deadline: Instant) {
        self.0.close(deadline).await;
    }
}

/// A reply that says what was asked. What only who replies may say is asked for by another name.
fn echo(mut message: Message) -> Message {
    for header in &mut message.headers {
        if *header.name == *"status" {
            header.name = "sidespan-status".into();
        }
    }
    message
}

struct TroubledPublisher(Arc<dyn Publisher>);

impl Publisher for TroubledPublisher {
    fn publish(
        &self,
        topic: &Topic,
        batch: Vec<Message>,
        deadline: Instant,
    ) -> BoxFuture<'static, Vec<Result<Receipt, Error>>> {
        let outcomes: Vec<BoxFuture<'static, Result<Receipt, Error>>> = batch
            .into_iter()
            .map(|message| {
                let trouble =
                    message.header("trouble").map(|value| String::from_utf8_lossy(value).into_owned());
                match trouble.as_deref() {
                    // Handed over, and never answered.
                    Some(name) if name.starts_with("hang") => {
                        HANGING.lock().unwrap().insert(name.to_owned());
                        async move {
                            sleep_until(deadline).await;
                            Err(Fault::Timeout.into())
                        }
                        .boxed()
                    }
                    Some("panic") => panic!("a bridge with a bug"),
                    // What a broker says whose window drops other messages than repeats.
                    Some("duplicate") => {
                        let one = self.0.publish(topic, vec![message], deadline);
                        async move {
                                one.await.remove(0).map(|receipt| Receipt { duplicate: true, ..receipt })
                            }
                            .boxed()
                    }
                    Some(name) => {
                        let fault = FAULTS.iter().find(|(known, _)| *known == name).expect("a known fault").1;
                        async move { Err(Error::new(fault)) }.boxed()
                    }
                    None => {
                        let one = self.0.publish(topic, vec![message], deadline);
                        async move { one.await.remove(0) }.boxed()
                    }
                }
            })
            .collect();
        join_all(outcomes).boxed()
    }
}
