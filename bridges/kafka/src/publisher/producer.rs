//! The client that sends, and the watch over it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};
use sidespan_bridge::{Budget, Error, Fault, Guarantee, Position, Receipt, Ticket, Topic};
use tokio::time::sleep;
use tracing::{error, warn};

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

pub(super) type Sending = BaseProducer<Reports>;

/// Takes what the client tells.
pub(crate) struct Reports {
    link: Arc<Link>,
    /// The client has told that all brokers are down, and has not been seen to reach one since.
    alone: AtomicBool,
    /// Another client has taken over: what this one still says of the cluster is old.
    abandoned: AtomicBool,
}

impl Producer {
    pub(super) fn new(config: ClientConfig, link: Arc<Link>) -> Result<Self, KafkaError> {
        let client = make(&config, &link)?;
        Ok(Self { config, link, client: Mutex::new(Some(client)) })
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
                client.fetch_metadata(Some(catalogue::ANY_TOPIC), timeout).map_err(fault::of_call)?;
                client.context().alone.store(false, Ordering::Release);
                Ok(())
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
                if let Some(dead) = current.replace(client) {
                    blocking::drop_apart(dead, || {});
                }
            }
            Err(error) => error!(%error, "no new kafka producer can be made"),
        }
    }

    /// Puts a new client in the place of one that finds no broker though a new one does: a broker that
    /// the cluster takes for gone says for a moment that there are none, and a race within the
    /// client (librdkafka issue 5301) can then keep it from ever looking for them again.
    async fn replace_if_stranded(&self) -> bool {
        let is_alone = |client: Arc<Sending>| client.context().alone.load(Ordering::Acquire);
        if !self.client().is_ok_and(is_alone) {
            return false;
        }
        let (config, link) = (self.config.clone(), Arc::clone(&self.link));
        let made = blocking::call(move || {
            let client = make(&config, &link).map_err(fault::of_call)?;
            let answered = client.client().fetch_metadata(Some(catalogue::ANY_TOPIC), PATIENCE);
            Ok((client, answered.is_ok()))
        });
        let Ok((client, answers)) = made.await else { return false };
        let mut current = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = match current.as_mut() {
            Some(current) if answers => std::mem::replace(current, client),
            // No better than the other, or the bridge was closed meanwhile.
            Some(_) | None => client,
        };
        let replaced = answers && current.is_some();
        drop(current);
        stale.context().abandoned.store(true, Ordering::Release);
        blocking::drop_apart(stale, || {});
        if replaced {
            error!("the kafka client finds no broker though one answers, and was made anew");
            self.link.is_back();
        }
        replaced
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
        if error.rdkafka_error_code() == Some(Code::AllBrokersDown) {
            self.alone.store(true, Ordering::Release);
        }
        if !self.abandoned.load(Ordering::Acquire) {
            self.link.hear(&error, reason);
        }
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
            // It may have been sent long ago, and only its answer is missing.
            Err((error, _)) if self.abandoned.load(Ordering::Acquire) => {
                Err(Error::new(Fault::Timeout).because(error.clone()))
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
    let mut failures: u32 = 0;
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
            failures = 0;
            continue;
        }
        if let Err(error) = producer.reach(PATIENCE).await
            && producer.client().is_ok()
        {
            failures = failures.wrapping_add(1);
            if stuck {
                warn!(%error, messages = now.0, "kafka does not answer while messages are on their way");
            }
            producer.link.is_lost();
            if failures.is_multiple_of(STRANDED) && producer.replace_if_stranded().await {
                continue;
            }
            sleep(PAUSE).await;
        }
    }
}

/// Makes a client, and the thread that hears what becomes of its messages.
///
/// The client library's own thread asks ten times a second, and each time goes round idly for the
/// last millisecond of its wait: a hundredth of a processor with nothing to do.
fn make(config: &ClientConfig, link: &Arc<Link>) -> Result<Arc<Sending>, KafkaError> {
    let reports =
        Reports { link: Arc::clone(link), alone: AtomicBool::new(false), abandoned: AtomicBool::new(false) };
    let client: Arc<Sending> = Arc::new(config.create_with_context(reports)?);
    let heard = Arc::downgrade(&client);
    let started = thread::Builder::new().name("kafka-produce".to_owned()).spawn(move || listen(&heard));
    match started {
        Ok(_) => Ok(client),
        Err(error) => Err(KafkaError::ClientCreation(error.to_string())),
    }
}

/// Hears what becomes of messages. Ends with the client, and may be the one to let go of it.
fn listen(client: &Weak<Sending>) {
    while let Some(client) = client.upgrade() {
        client.poll(TICK);
    }
}

fn position(partition: i32, offset: i64) -> Option<Position> {
    Some(Position { partition: partition.try_into().ok()?, sequence: offset.try_into().ok()? })
}

/// How soon the thread that listens notices that the client is not needed any more.
const TICK: Duration = Duration::from_secs(1);
const WATCH: Duration = Duration::from_secs(1);
/// How long a cluster may take to answer before it is called away.
const PATIENCE: Duration = Duration::from_secs(2);
/// At every so many questions without an answer a new client asks too.
const STRANDED: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use sidespan_test_support::{Kafka, eventually, free_port};

    use super::*;

    #[tokio::test]
    async fn a_client_that_finds_no_broker_is_replaced_once_another_finds_one() {
        let kafka = Kafka::shared().await;
        let link = Arc::new(Link::default());
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", format!("127.0.0.1:{}", free_port()));
        let stranded = make(&config, &link).unwrap();
        config.set("bootstrap.servers", kafka.address());
        let client = Mutex::new(Some(stranded));
        let producer = Arc::new(Producer { config, link: Arc::clone(&link), client });
        let watching = tokio::spawn(watch(Arc::clone(&producer), Budget::new(1)));
        let patience = Duration::from_secs(30);
        eventually(patience, "it is known to reach nobody", async || link.is_down()).await;
        eventually(patience, "it was replaced", async || !link.is_down()).await;
        producer.reach(PATIENCE).await.unwrap();
        watching.abort();
    }
}
