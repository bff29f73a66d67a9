//! The client that asks about logs on behalf of all subscriptions.
//!
//! A broker answers the requests of a connection one after the other, and a consumer's connection
//! is nearly always taken up by a fetch that waits for messages. So questions go by another.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use sidespan_bridge::{Error, Fault};
use tokio::time::sleep;

use crate::link::Link;
use crate::{blocking, fault};

/// Asks about topics and logs; its client is made when it is first needed.
pub(crate) struct Asker {
    config: ClientConfig,
    link: Arc<Link>,
    client: Mutex<Option<Arc<Asking>>>,
}

/// A consumer that never consumes.
pub(crate) type Asking = BaseConsumer<Ears>;

/// Takes what the client tells.
pub(crate) struct Ears(Arc<Link>);

impl Asker {
    pub(crate) fn new(config: ClientConfig, link: Arc<Link>) -> Self {
        Self { config, link, client: Mutex::default() }
    }

    /// Asks something that may block for a known time.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Asking) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let client = self.client()?;
        let asked = Arc::clone(&client);
        let answer = blocking::call(move || question(&asked)).await;
        if let Err(error) = &answer
            && matches!(error.fault, Fault::Timeout | Fault::Unavailable)
            && !self.link.is_down()
        {
            self.forget(client);
        }
        answer
    }

    /// Lets go of a client that got no answer though the cluster can be reached: it may have
    /// forgotten all brokers for good (librdkafka issue 5301). The next question makes another.
    fn forget(&self, client: Arc<Asking>) {
        let mut current = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = current.take_if(|current| Arc::ptr_eq(current, &client));
        drop(current);
        blocking::drop_apart((client, taken), || {});
    }

    /// Returns the client, for questions that are asked off the executor anyway.
    pub(crate) fn client(&self) -> Result<Arc<Asking>, Error> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(Arc::clone(client));
        }
        let ears = Ears(Arc::clone(&self.link));
        let made: Arc<Asking> = Arc::new(self.config.create_with_context(ears).map_err(fault::of_call)?);
        tokio::spawn(listen(Arc::downgrade(&made)));
        Ok(Arc::clone(client.insert(made)))
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let client = self.client.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = client.take() {
            blocking::drop_apart(client, || {});
        }
    }
}

impl ClientContext for Ears {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    // The producer's connections tell whether the cluster is there; these idle for long.
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client error");
    }
}

impl ConsumerContext for Ears {}

/// Reads what the client says by itself, so that it does not pile up. Ends with the client.
async fn listen(client: Weak<Asking>) {
    loop {
        sleep(LISTEN).await;
        let Some(client) = client.upgrade() else { return };
        for _ in 0..BURST {
            drop(client.poll(Duration::ZERO));
        }
    }
}

const LISTEN: Duration = Duration::from_secs(1);
const BURST: usize = 16;
