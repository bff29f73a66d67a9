//! The client that sends, and the watch over it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::Producer as _;
use sidespan_bridge::{Budget, Error, Fault, Topic};
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::reports::{Reports, Sending, make};
use crate::blocking;
use crate::catalogue::{self, Found};
use crate::clients::Clients;
use crate::fault;
use crate::link::Link;

/// The client of the moment: one that has ended for good, finds no broker any more or has old
/// credentials is replaced.
pub(crate) struct Producer {
    clients: Arc<Clients>,
    pub(crate) link: Arc<Link>,
    client: Mutex<Option<Arc<Sending>>>,
    /// Has the secrets of now and reaches the cluster; takes over once the client has nothing on its way.
    next: Mutex<Option<Arc<Sending>>>,
    /// There is a next one.
    changing: AtomicBool,
    leave: Mutex<Leave>,
}

/// Whether the cluster lets us write.
#[derive(Clone, Copy, Debug, Default)]
enum Leave {
    /// As far as is known.
    #[default]
    Given,
    /// Nowhere, as was heard then.
    Denied(Instant),
    /// It was denied, and another client asks since then.
    Asked(Instant),
}

impl Producer {
    pub(super) fn new(clients: Arc<Clients>) -> Result<Self, Error> {
        let client = make(&clients)?;
        Ok(Self::with(clients, client))
    }

    fn with(clients: Arc<Clients>, client: Arc<Sending>) -> Self {
        let link = Arc::clone(&clients.link);
        let (client, next) = (Mutex::new(Some(client)), Mutex::default());
        Self { clients, link, client, next, changing: AtomicBool::new(false), leave: Mutex::default() }
    }

    /// Returns the client; an error once the bridge is closed.
    fn client(&self) -> Result<Arc<Sending>, Error> {
        self.held().clone().ok_or_else(|| Error::new(Fault::Unavailable).detail("the bridge is closed"))
    }

    /// Returns the client, which is not replaced while this is held; `None` once the bridge is closed.
    pub(super) fn held(&self) -> MutexGuard<'_, Option<Arc<Sending>>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Tells whether the cluster lets us write nowhere.
    pub(super) fn is_denied(&self) -> bool {
        matches!(*self.leave.lock().unwrap_or_else(PoisonError::into_inner), Leave::Denied(_))
    }

    /// Puts a new client in the place of one that has ended for good. One that may write nowhere is
    /// kept for a while: to those who only read it is no trouble.
    pub(super) fn replace_if_dead(&self) {
        let mut current = self.held();
        let fatal = current.as_ref().and_then(|client| client.client().fatal_error());
        let mut leave = self.leave.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((code, reason)) = fatal else {
            *leave = match *leave {
                // One with other credentials has taken over.
                Leave::Denied(_) => Leave::Asked(Instant::now()),
                Leave::Asked(since) if since.elapsed() > ASKED => Leave::Given,
                same @ (Leave::Given | Leave::Asked(_)) => same,
            };
            return;
        };
        match *leave {
            Leave::Denied(since) if since.elapsed() < DENIED => return,
            Leave::Given | Leave::Asked(_) if code == Code::ClusterAuthorizationFailed => {
                if matches!(*leave, Leave::Given) {
                    warn!(
                        bridge = self.link.bridge(),
                        reason, "kafka lets us publish to no topic: each publish is denied"
                    );
                }
                *leave = Leave::Denied(Instant::now());
                return;
            }
            Leave::Denied(_) => *leave = Leave::Asked(Instant::now()),
            Leave::Given | Leave::Asked(_) => {
                error!(bridge = self.link.bridge(), %code, reason, "the kafka producer cannot go on and is made anew");
                *leave = Leave::Given;
            }
        }
        match make(&self.clients) {
            Ok(client) => {
                if let Some(dead) = current.replace(client) {
                    blocking::drop_apart(dead, || {});
                }
            }
            Err(error) => error!(bridge = self.link.bridge(), %error, "no new kafka producer can be made"),
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
        let Some(client) = self.candidate().await else { return false };
        error!(
            bridge = self.link.bridge(),
            "the kafka client finds no broker though one answers, and was made anew"
        );
        self.abandon_for(client);
        true
    }

    /// Sees to it that a client with the secrets of now takes over, if they have changed and the
    /// cluster takes them: at once from one that cannot reach it, else as soon as nothing is on its way,
    /// so that no message overtakes another.
    async fn renew(&self) -> bool {
        if self.changing.load(Ordering::Acquire) {
            return self.change_over();
        }
        if !self.client().is_ok_and(|client| client.context().line.is_outdated()) {
            return false;
        }
        let Some(client) = self.candidate().await else { return false };
        info!(bridge = self.link.bridge(), "the secrets for kafka have changed: a new client takes over");
        if self.link.is_down() {
            self.abandon_for(client);
            return true;
        }
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
        self.changing.store(true, Ordering::Release);
        self.change_over()
    }

    /// Makes a client, and returns it if it reaches the cluster.
    async fn candidate(&self) -> Option<Arc<Sending>> {
        let clients = Arc::clone(&self.clients);
        let made = blocking::call(move || {
            let client = make(&clients)?;
            match client.client().fetch_metadata(Some(catalogue::ANY_TOPIC), PATIENCE) {
                Ok(_) => Ok(Some(client)),
                Err(_) => {
                    client.context().abandoned.store(true, Ordering::Release);
                    Ok(None)
                }
            }
        });
        match made.await {
            Ok(client) => client,
            Err(error) => {
                warn!(bridge = self.link.bridge(), %error, source = std::error::Error::source(&error), "no new kafka client can be made");
                None
            }
        }
    }

    /// Gives up a client, with what is on its way.
    fn abandon_for(&self, client: Arc<Sending>) {
        let mut current = self.held();
        let stale = match current.as_mut() {
            Some(current) => std::mem::replace(current, client),
            // The bridge was closed meanwhile.
            None => client,
        };
        drop(current);
        stale.context().abandoned.store(true, Ordering::Release);
        blocking::drop_apart(stale, || {});
        self.link.is_back();
    }

    /// Waits until a client that is to take over has done so, if there is one, for a moment at most.
    pub(super) async fn until_changed(&self) {
        let end = Instant::now() + CHANGE;
        while self.changing.load(Ordering::Acquire) && !self.change_over() && Instant::now() < end {
            sleep(CHANGE_PAUSE).await;
        }
    }

    /// Lets the next client take over if this one has nothing on its way.
    fn change_over(&self) -> bool {
        let mut current = self.held();
        let Some(client) = current.as_mut().filter(|client| client.in_flight_count() == 0) else {
            return false;
        };
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        self.changing.store(false, Ordering::Release);
        let Some(next) = next.take() else { return false };
        let old = std::mem::replace(client, next);
        drop(current);
        old.context().abandoned.store(true, Ordering::Release);
        blocking::drop_apart(old, || {});
        true
    }

    /// Lets go of the cluster. What is still on its way is given up.
    pub(super) fn let_go(&self) {
        let mut current = self.held();
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        for client in current.take().into_iter().chain(next) {
            blocking::drop_apart(client, || {});
        }
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
        producer.renew().await;
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
                warn!(bridge = producer.link.bridge(), %error, messages = now.0, "kafka does not answer while messages are on their way");
            }
            producer.link.is_lost();
            producer.link.diagnose().await;
            producer.link.say();
            if failures.is_multiple_of(STRANDED) && producer.replace_if_stranded().await {
                continue;
            }
            sleep(PAUSE).await;
        }
    }
}

const WATCH: Duration = Duration::from_secs(1);
/// How long a cluster may take to answer before it is called away.
const PATIENCE: Duration = Duration::from_secs(2);
/// At every so many questions without an answer a new client asks too.
const STRANDED: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);
/// How long new messages wait for those on their way before another client takes over; longer only
/// where the cluster is slow, and then it is tried again.
const CHANGE: Duration = Duration::from_secs(1);
/// How long it is believed that the cluster lets us write nowhere.
const DENIED: Duration = Duration::from_secs(30);
/// How long a client that is let in after all may take to be told otherwise.
const ASKED: Duration = Duration::from_secs(10);
const CHANGE_PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sidespan_bridge::Settings;
    use sidespan_test_support::{Kafka, eventually, free_port};

    use super::*;
    use crate::settings::KafkaSettings;

    #[tokio::test]
    async fn a_client_that_finds_no_broker_is_replaced_once_another_finds_one() {
        let kafka = Kafka::shared().await;
        let clients = |address: &str| {
            let settings = Settings::new("s", json!({"brokers": [address]}));
            Clients::new(KafkaSettings::read(&settings).unwrap(), "s".into())
        };
        let reaching = Arc::new(clients(kafka.address()));
        let link = Arc::clone(&reaching.link);
        let mut astray = clients(&format!("127.0.0.1:{}", free_port()));
        astray.link = Arc::clone(&link);
        let producer = Arc::new(Producer::with(reaching, make(&astray).unwrap()));
        let watching = tokio::spawn(watch(Arc::clone(&producer), Budget::new(1)));
        let patience = Duration::from_secs(30);
        eventually(patience, "it is known to reach nobody", async || link.is_down()).await;
        eventually(patience, "it was replaced", async || !link.is_down()).await;
        producer.reach(PATIENCE).await.unwrap();
        watching.abort();
    }
}
