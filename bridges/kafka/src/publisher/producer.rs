//! The client that sends, and the watch over it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::producer::{DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use sidespan_bridge::{Error, Fault, Guarantee, Position, Receipt, Topic};
use tokio::time::sleep;
use tracing::{error, warn};

use super::outcome::{Budget, Ticket};
use crate::blocking;
use crate::catalogue::{self, Found};
use crate::fault;
use crate::link::Link;

/// The client of the moment: an idempotent one may end for good, and is replaced then.
pub(crate) struct Producer {
    config: ClientConfig,
    pub(crate) link: Arc<Link>,
    client: Mutex<Option<Arc<Sending>>>,
}

pub(super) type Sending = ThreadedProducer<Reports>;

/// Takes what the client tells.
pub(crate) struct Reports {
    link: Arc<Link>,
}

impl Producer {
    pub(super) fn new(config: ClientConfig, link: Arc<Link>) -> Result<Self, KafkaError> {
        let client = make(&config, &link)?;
        Ok(Self { config, link, client: Mutex::new(Some(Arc::new(client))) })
    }

    /// Returns the client; an error once the bridge is closed.
    pub(super) fn client(&self) -> Result<Arc<Sending>, Error> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.clone().ok_or_else(|| Error::new(Fault::Unavailable).detail("the bridge is closed"))
    }

    /// Asks the cluster about a topic.
    pub(crate) async fn find(&self, topic: Topic, timeout: Duration) -> Result<Found, Error> {
        self.ask(timeout, move |client, timeout| catalogue::find(client, &topic, timeout)).await
    }

    /// Asks the cluster something that needs no consumer.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        timeout: Duration,
        question: impl FnOnce(&Client<Reports>, Duration) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let client = self.client()?;
        blocking::call(move || question(client.client(), timeout)).await
    }

    /// Tells whether the cluster answers.
    pub(crate) async fn reach(&self, timeout: Duration) -> Result<(), Error> {
        let answered = self
            .ask(timeout, |client, timeout| {
                client.fetch_metadata(Some(ANY_TOPIC), timeout).map(drop).map_err(fault::of_call)
            })
            .await;
        if answered.is_ok() {
            self.link.is_back();
        }
        answered
    }

    /// Puts a new client in the place of one that has ended for good.
    pub(super) fn replace_if_dead(&self) {
        let mut current = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((code, reason)) = current.as_ref().and_then(|client| client.client().fatal_error()) else {
            return;
        };
        error!(%code, reason, "the kafka producer cannot go on and is made anew");
        match make(&self.config, &self.link) {
            Ok(client) => {
                if let Some(dead) = current.replace(Arc::new(client)) {
                    blocking::drop_apart(dead, || {});
                }
            }
            Err(error) => error!(%error, "no new kafka producer can be made"),
        }
    }

    /// Lets go of the cluster. What is still on its way is given up.
    pub(super) fn let_go(&self) {
        let mut current = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = current.take() {
            blocking::drop_apart(client, || {});
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.link.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.link.hear(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let outcome = match result {
            Ok(record) => {
                self.link.is_back();
                Ok(Receipt {
                    position: position(record.partition(), record.offset()),
                    guarantee: Guarantee::AtLeastOnce,
                    duplicate: false,
                    deduplicated: false,
                    local: false,
                })
            }
            Err((error, _)) => {
                if error.rdkafka_error_code() == Some(Code::Fatal) {
                    self.link.doubt.notify_one();
                }
                Err(fault::of_delivery(error.clone()))
            }
        };
        ticket.conclude(outcome);
    }
}

/// Finds out that the cluster is away though nobody said so, and that it is back.
pub(super) async fn watch(producer: Arc<Producer>, budget: Arc<Budget>) {
    let mut before = budget.progress();
    loop {
        tokio::select! {
            () = producer.link.doubt.notified() => {}
            () = sleep(WATCH) => {}
        }
        producer.replace_if_dead();
        let now = budget.progress();
        let stuck = now.0 > 0 && before.0 > 0 && now.1 == before.1;
        before = now;
        if !stuck && !producer.link.is_down() {
            continue;
        }
        if let Err(error) = producer.reach(PATIENCE).await
            && producer.client().is_ok()
        {
            if stuck {
                warn!(%error, messages = now.0, "kafka does not answer while messages are on their way");
            }
            producer.link.is_lost();
            sleep(PAUSE).await;
        }
    }
}

fn make(config: &ClientConfig, link: &Arc<Link>) -> Result<Sending, KafkaError> {
    config.create_with_context(Reports { link: Arc::clone(link) })
}

fn position(partition: i32, offset: i64) -> Option<Position> {
    Some(Position { partition: partition.try_into().ok()?, sequence: offset.try_into().ok()? })
}

/// To ask for any topic is enough to see that the cluster answers, and cheaper than to ask for all.
const ANY_TOPIC: &str = "__consumer_offsets";
const WATCH: Duration = Duration::from_secs(1);
/// How long a cluster may take to answer before it is called away.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);
