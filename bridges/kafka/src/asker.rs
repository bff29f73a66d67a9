//! The client that asks about logs on behalf of all subscriptions.
//!
//! A broker answers the requests of a connection one after the other, and a consumer's connection
//! is nearly always taken up by a fetch that waits for messages. So questions go by another.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use sidespan_bridge::{Error, Fault};
use tokio::time::sleep;

use crate::clients::{Clients, Line};
use crate::{blocking, fault};

/// Asks about topics and logs; its client is made when it is first needed.
pub(crate) struct Asker {
    clients: Arc<Clients>,
    client: Mutex<Option<Arc<Asking>>>,
}

/// A consumer that never consumes.
pub(crate) type Asking = BaseConsumer<Line>;

impl Asker {
    pub(crate) fn new(clients: Arc<Clients>) -> Self {
        Self { clients, client: Mutex::default() }
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
            && (!self.clients.link.is_down() || client.context().is_outdated())
        {
            self.forget(client);
        }
        answer
    }

    /// Lets go of a client that got no answer though the cluster can be reached, or other credentials
    /// are at hand: it may have forgotten all brokers for good (librdkafka issue 5301). The next
    /// question makes another.
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
        let (config, line) = self.clients.asker()?;
        let made: Arc<Asking> = Arc::new(config.create_with_context(line).map_err(fault::of_making)?);
        // It may ask for a token at once.
        drop(made.poll(Duration::ZERO));
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
