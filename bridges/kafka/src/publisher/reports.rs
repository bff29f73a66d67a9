//! A client that sends, and what it tells.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};
use sidespan_bridge::{Error, Fault, Guarantee, Position, Receipt};

use super::flight::Flight;
use crate::clients::{Clients, Line};
use crate::fault;

/// A client that sends.
pub(super) type Sending = BaseProducer<Reports>;

/// Takes what the client tells.
pub(crate) struct Reports {
    pub(super) line: Line,
    /// The client has told that all brokers are down, and has not been seen to reach one since.
    pub(super) alone: AtomicBool,
    /// Another client has taken over: what this one still says of the cluster is old.
    pub(super) abandoned: AtomicBool,
    /// What became of a message was told, so it has had leave to send.
    sent: AtomicBool,
    client: OnceLock<Weak<Sending>>,
}

/// Makes a client, and the thread that hears what becomes of its messages.
///
/// The client library's own thread asks ten times a second, and each time goes round idly for the
/// last millisecond of its wait: a hundredth of a processor with nothing to do.
pub(super) fn make(clients: &Clients) -> Result<Arc<Sending>, Error> {
    let (config, line) = clients.producer()?;
    let reports = Reports {
        line,
        alone: AtomicBool::new(false),
        abandoned: AtomicBool::new(false),
        sent: AtomicBool::new(false),
        client: OnceLock::new(),
    };
    let client: Arc<Sending> = Arc::new(config.create_with_context(reports).map_err(fault::of_making)?);
    let heard = Arc::downgrade(&client);
    let _ = client.context().client.set(Weak::clone(&heard));
    let started = thread::Builder::new().name("kafka-produce".to_owned()).spawn(move || listen(&heard));
    match started {
        Ok(_) => Ok(client),
        Err(error) => Err(Error::new(Fault::Unavailable).because(error)),
    }
}

/// Tells whether the client has ended because the cluster lets us write nowhere: it asks for an id
/// before it sends the first message, and was given none.
pub(super) fn is_shut_out(client: &Sending) -> bool {
    client.client().fatal_error().is_some_and(|(code, _)| code == Code::ClusterAuthorizationFailed)
}

/// Hears what becomes of messages. Ends with the client, and may be the one to let go of it.
fn listen(client: &Weak<Sending>) {
    while let Some(client) = client.upgrade() {
        client.poll(TICK);
    }
}

impl Reports {
    /// Tells whether a message came back because the client was shut out before it sent anything.
    ///
    /// It asks for another id later only where a message was refused or is given up, and tells of
    /// either.
    fn was_kept_from_sending(&self, error: &KafkaError) -> bool {
        matches!(error.rdkafka_error_code(), Some(Code::PurgeQueue | Code::Fatal))
            && !self.sent.load(Ordering::Acquire)
            && self.client.get().and_then(Weak::upgrade).is_some_and(|client| is_shut_out(&client))
    }
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.line.link.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(Code::AllBrokersDown) => self.alone.store(true, Ordering::Release),
            // It is about this client, and not about the way to the cluster.
            Some(Code::Fatal) => return self.line.link.doubt.notify_one(),
            _ => {}
        }
        if !self.abandoned.load(Ordering::Acquire) {
            self.line.link.hear(&error, reason);
        }
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.line.generate_oauth_token(config)
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Flight>;

    fn delivery(&self, result: &DeliveryResult<'_>, flight: Box<Flight>) {
        let outcome = match result {
            Ok(record) => {
                self.line.link.is_back();
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
            Err((error, _)) if self.was_kept_from_sending(error) => {
                flight.conclude(Err(Error::new(Fault::Denied).because(error.clone())));
                return;
            }
            Err((error, _)) => {
                if error.rdkafka_error_code() == Some(Code::Fatal) {
                    self.line.link.doubt.notify_one();
                }
                Err(fault::of_delivery(error.clone()))
            }
        };
        self.sent.store(true, Ordering::Release);
        flight.conclude(outcome);
    }
}

fn position(partition: i32, offset: i64) -> Option<Position> {
    Some(Position { partition: partition.try_into().ok()?, sequence: offset.try_into().ok()? })
}

/// How soon the thread that listens notices that the client is not needed any more.
const TICK: Duration = Duration::from_secs(1);
