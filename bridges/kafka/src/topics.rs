//! Makes topics where something needs one and the settings allow it.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use sidespan_bridge::{Error, Fault, Topic};
use tokio::time::{Instant, sleep, timeout_at};

use crate::catalogue::{Found, check_name};
use crate::clients::{Clients, Line};
use crate::publisher::Producer;
use crate::settings::CreateTopics;
use crate::{blocking, fault};

/// The topics of one cluster.
pub(crate) struct Topics {
    clients: Arc<Clients>,
    producer: Arc<Producer>,
    create: Option<CreateTopics>,
}

impl Topics {
    pub(crate) fn new(clients: Arc<Clients>, producer: Arc<Producer>, create: Option<CreateTopics>) -> Self {
        Self { clients, producer, create }
    }

    /// Looks a topic up, and makes one with such settings where there is none: with so many partitions, or as
    /// many as topics usually get.
    pub(crate) async fn ensure(
        &self,
        topic: &Topic,
        partitions: Option<i32>,
        settings: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<Found, Error> {
        check_name(topic.as_str())?;
        let mut created = false;
        loop {
            let found = timeout_at(deadline, self.producer.find(topic.clone(), left(deadline))).await;
            let error = match found {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(error)) => error,
                Err(_) => return Err(Fault::Timeout.into()),
            };
            match (error.fault, self.create) {
                (Fault::UnknownTopic, Some(how)) if !created => {
                    let replication = TopicReplication::Fixed(i32::from(how.replication_factor));
                    let partitions = partitions.unwrap_or_else(|| i32::from(how.partitions));
                    let new = NewTopic::new(topic.as_str(), partitions, replication);
                    let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
                    self.create(&new, deadline).await?;
                    created = true;
                }
                // Brokers learn of a new topic one after the other.
                (Fault::UnknownTopic | Fault::Unavailable, Some(_))
                    if created && Instant::now() < deadline =>
                {
                    sleep(PAUSE).await;
                }
                _ => return Err(error),
            }
        }
    }

    async fn create(&self, new: &NewTopic<'_>, deadline: Instant) -> Result<(), Error> {
        let (config, line) = self.clients.asker()?;
        let admin: AdminClient<Line> =
            blocking::call(move || config.create_with_context(line).map_err(fault::of_making)).await?;
        let options = AdminOptions::new().request_timeout(Some(left(deadline)));
        let created = timeout_at(deadline, admin.create_topics([new], &options)).await;
        blocking::drop_apart(admin, || {});
        let results = match created {
            Ok(results) => results.map_err(fault::of_call)?,
            Err(_) => return Err(Fault::Timeout.into()),
        };
        match results.into_iter().next() {
            Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => {
                let error = fault::of_call(KafkaError::Global(code));
                let detail = format!("kafka did not create the topic: {code}");
                Err(Error::new(error.fault).detail(detail).because(error))
            }
            None => Err(Fault::Rejected.into()),
        }
    }
}

/// Returns how much time there is; the client library takes none for no limit.
pub(crate) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

const PAUSE: Duration = Duration::from_millis(50);
