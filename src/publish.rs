//! Publishes: find the route, authorise, admit, send.
//!
//! A publish has two steps, so that a door can refuse before it reads a body: [`Publishing::admit`]
//! reserves room at the broker, [`Publishing::publish`] uses it. The reservation lives until the
//! broker has answered, also when the caller goes away.

mod budget;
mod collect;
pub mod fields;
mod figures;
mod meters;
mod routes;

use std::future::Future;

use sidespan_bridge::{Fault, Message, Receipt};
use tokio::time::Instant;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

pub use budget::{Admission, Budget};
pub use routes::{Outlet, Route, Routes};

use crate::cloudevents::written;
use crate::config::CloudEventsMode;
use crate::error::Error;
use crate::security::caller::Caller;
use crate::security::fingerprint::fingerprint;
use crate::telemetry::metrics::Asking;

/// The publish use case, shared by every door.
#[derive(Debug)]
pub struct Publishing {
    routes: Routes,
}

impl Publishing {
    /// Publishes along these routes.
    pub fn new(routes: Routes) -> Self {
        Self { routes }
    }

    /// Returns the routes.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Finds where a caller's messages of a topic go.
    ///
    /// # Errors
    ///
    /// `Denied`, `UnknownTopic`, or `Invalid` where this cannot be a topic's name.
    pub fn route(&self, caller: &Caller, topic: &str) -> Result<Route, Error> {
        caller.require_publish(topic)?;
        self.routes.find(topic)
    }

    /// Reserves room for `messages` and `bytes` at the route's broker, before they are read.
    ///
    /// # Errors
    ///
    /// `Saturated`, with the name of the limit.
    pub fn admit(&self, route: &Route, messages: usize, bytes: usize) -> Result<Admission, Error> {
        route.outlet().budget().admit(messages, bytes)
    }

    /// Begins to count a request along a route, where that is counted.
    pub fn asking(&self, route: &Route, message: &Message) -> Option<Asking> {
        self.routes.meter(route).map(|meter| meter.ask(message))
    }

    /// Submits a batch, in this call itself, and returns the outcomes to wait for: one a message,
    /// in order. Dropping the future cancels nothing.
    ///
    /// A message's `deduplication` holds the caller's own idempotency key here; the broker sees a
    /// hash of it with the caller and the topic, since some brokers deduplicate across topics, and nobody
    /// can have another one's messages dropped.
    pub fn publish(
        &self,
        caller: &Caller,
        route: &Route,
        admission: Admission,
        mut batch: Vec<Message>,
        deadline: Instant,
    ) -> impl Future<Output = Vec<Result<Stored, Error>>> + Send + use<> {
        let mut asked = Vec::with_capacity(batch.len());
        for message in &mut batch {
            if let Some(key) = message.deduplication.take() {
                let hash = scoped(caller.name(), route.name(), &key);
                message.id.get_or_insert_with(|| hash.clone());
                message.deduplication = Some(hash);
            }
            asked.push((message.id.get_or_insert_with(new_id).clone(), message.deduplication.is_some()));
        }
        if route.cloudevents() != CloudEventsMode::Binary {
            batch = batch.iter().map(|message| written(message, route.cloudevents()).into_owned()).collect();
        }
        let sending = self.routes.meter(route).map(|meter| meter.begin(&batch));
        let outcomes = route.outlet().publisher().publish(route.address(), batch, deadline);
        let outcomes = collect::collect(outcomes, admission, move |outcomes: &Vec<_>| {
            if let Some(sending) = sending {
                sending.end(outcomes);
            }
        });
        async move {
            let told = asked.into_iter().zip(outcomes.await);
            told.map(|((id, provoked), outcome)| stored(id, provoked, outcome)).collect()
        }
    }
}

/// A message that the broker has, by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The id that names the message.
    pub id: Box<str>,
    /// What the broker said.
    pub receipt: Receipt,
}

/// Returns a new message id: a UUID, version 7 (RFC 9562), so that ids sort by time.
pub fn new_id() -> Box<str> {
    let mut text = [0; Hyphenated::LENGTH];
    Box::from(&*Uuid::now_v7().hyphenated().encode_lower(&mut text))
}

/// A `duplicate` that nobody asked for means that the broker dropped another message.
fn stored(
    id: Box<str>,
    provoked: bool,
    outcome: Result<Receipt, sidespan_bridge::Error>,
) -> Result<Stored, Error> {
    match outcome? {
        Receipt { duplicate: true, .. } if !provoked => Err(sidespan_bridge::Error::new(Fault::Rejected)
            .detail("the broker took the message for a repeat of another one and did not store it")
            .into()),
        receipt => Ok(Stored { id, receipt }),
    }
}

fn scoped(caller: &str, topic: &str, key: &str) -> Box<str> {
    fingerprint([caller.as_bytes(), topic.as_bytes(), key.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_on_two_topics_or_of_two_callers_is_two_ids() {
        assert_eq!(scoped("c", "a", "k"), scoped("c", "a", "k"));
        assert_ne!(scoped("c", "a", "k"), scoped("c", "b", "k"));
        assert_ne!(scoped("c", "a", "k"), scoped("d", "a", "k"));
    }

    /// A restart with another release must not store again what a broker has by this id.
    #[test]
    fn the_id_of_a_key_stays_what_it_was() {
        let anyone = Caller::anyone();
        assert_eq!(&*scoped(anyone.name(), "orders", "order-4711"), "dca5f9f1fe5fbcc65530a875b12ab234");
    }
}
