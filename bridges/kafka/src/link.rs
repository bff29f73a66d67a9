//! Whether the cluster can be reached, as far as the client has told.
//!
//! The client says when all brokers are gone, but not when one is back, and a broker that is
//! frozen says nothing at all. So the producer's watch asks while the link is down, and while messages are
//! on their way and none arrives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use sidespan_bridge::{Error, Fault, Tls};
use tokio::sync::Notify;
use tracing::{debug, error, info, warn};

use crate::trouble::{self, Port, Trouble};

/// What is known about the way to the cluster.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// The bridge's name.
    bridge: Option<Box<str>>,
    brokers: Vec<String>,
    tls: Option<Tls>,
    /// Clients have credentials to show.
    named: bool,
    down: AtomicBool,
    /// Wakes the watch.
    pub(crate) doubt: Notify,
    trouble: Mutex<Option<Trouble>>,
    /// It was looked into what kind of port it is.
    diagnosed: AtomicBool,
    /// What the log has about the trouble of now.
    said: Mutex<Option<String>>,
    logs: LogLimit,
}

impl Link {
    pub(crate) fn new(brokers: Vec<String>, tls: Option<Tls>, named: bool) -> Self {
        Self { brokers, tls, named, ..Self::default() }
    }

    /// Has its lines in the log name the bridge.
    pub(crate) fn of(self, bridge: Option<Box<str>>) -> Self {
        Self { bridge, ..self }
    }

    /// Returns the bridge's name, for the log.
    pub(crate) fn bridge(&self) -> Option<&str> {
        self.bridge.as_deref()
    }

    /// Tells whether the cluster is known to be out of reach.
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Notes that the cluster answered.
    pub(crate) fn is_back(&self) {
        if self.down.swap(false, Ordering::Relaxed) {
            info!(bridge = self.bridge(), "kafka can be reached again");
            *lock(&self.said) = None;
            self.diagnosed.store(false, Ordering::Relaxed);
        }
        *lock(&self.trouble) = None;
    }

    /// Notes that the cluster can't be reached.
    pub(crate) fn is_lost(&self) {
        self.down.store(true, Ordering::Relaxed);
        self.doubt.notify_one();
    }

    /// Takes an error that the client told about the connection.
    pub(crate) fn hear(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        debug!(bridge = self.bridge(), %error, reason, "kafka client error");
        if code == Code::AllBrokersDown {
            return self.is_lost();
        }
        let told = Trouble::new(code, reason);
        let mut trouble = lock(&self.trouble);
        // A cause is worth more than its consequence.
        match &*trouble {
            Some(known) if known.is_cause() && !told.is_cause() => {}
            Some(known) if known.is_same(&told) => {}
            Some(_) | None => *trouble = Some(told),
        }
    }

    /// Finds out more about trouble with TLS than the client tells. Takes a few seconds at most.
    pub(crate) async fn diagnose(&self) {
        match &self.tls {
            Some(tls) if lock(&self.trouble).as_ref().is_some_and(Trouble::is_about_tls) => {
                for broker in &self.brokers {
                    if let Some(opinion) = trouble::second_opinion(tls, broker).await {
                        if let Some(trouble) = &mut *lock(&self.trouble) {
                            trouble.opinion = Some(opinion);
                        }
                        return;
                    }
                }
            }
            // The client waits long for an answer, and then says only that there was none.
            None if !self.diagnosed.load(Ordering::Relaxed) => {
                for broker in &self.brokers {
                    let found = match trouble::knock(broker).await {
                        // Whoever takes its place may be of another kind.
                        Port::Shut => continue,
                        Port::Tls => Some(Trouble::tls_port()),
                        Port::HangsUp if !self.named => Some(Trouble::no_sasl()),
                        Port::HangsUp | Port::Plain => None,
                    };
                    self.diagnosed.store(true, Ordering::Relaxed);
                    if found.is_some() {
                        *lock(&self.trouble) = found;
                        return;
                    }
                }
            }
            Some(_) | None => {}
        }
    }

    /// Says in the log why nobody answers, once until it is another reason.
    pub(crate) fn say(&self) {
        let reason = self.explain().to_string();
        let mut said = lock(&self.said);
        if said.as_ref() != Some(&reason) {
            warn!(
                bridge = self.bridge(),
                reason, "kafka cannot be reached: nothing is handed over until it is back"
            );
            *said = Some(reason);
        }
    }

    /// Says in a line why nobody answers, and what to do.
    pub(crate) fn explain(&self) -> Error {
        let brokers = self.brokers.join(", ");
        match &*lock(&self.trouble) {
            Some(trouble) => trouble.explain(&brokers),
            None => Error::new(Fault::Unavailable).detail(format!(
                "no kafka broker answers at {brokers}: is it running, and are `brokers` right?"
            )),
        }
    }

    /// Says the same of a trouble that did not come from a connection.
    pub(crate) fn explain_by(&self, trouble: &Trouble) -> Error {
        trouble.explain(&self.brokers.join(", "))
    }

    /// Passes a line of the client's log on.
    pub(crate) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logs.pass(self.bridge(), level, facility, message);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes the client's log lines on, of each facility one in a while: a broker that is away makes
/// the client repeat itself several times a second.
#[derive(Debug, Default)]
pub(crate) struct LogLimit(Mutex<Vec<Facility>>);

#[derive(Debug)]
struct Facility {
    name: String,
    since: Instant,
    held_back: u32,
}

impl LogLimit {
    /// Logs a line, or counts it.
    pub(crate) fn pass(&self, bridge: Option<&str>, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Producers are told of consumers' settings and the other way round; and why a connection
        // fails comes as an error too, and is said in other words.
        if matches!(facility, "CONFWARN" | "FAIL" | "ERROR") {
            return debug!(target: "librdkafka", bridge, facility, message, "kafka client");
        }
        let Some(held_back) = self.admit(facility) else {
            return debug!(target: "librdkafka", bridge, facility, message, "repeated");
        };
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                error!(target: "librdkafka", bridge, facility, message, held_back, "kafka client")
            }
            RDKafkaLogLevel::Warning => {
                warn!(target: "librdkafka", bridge, facility, message, held_back, "kafka client")
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                info!(target: "librdkafka", bridge, facility, message, held_back, "kafka client");
            }
            RDKafkaLogLevel::Debug => {
                debug!(target: "librdkafka", bridge, facility, message, held_back, "kafka client")
            }
        }
    }

    /// Returns how many lines were held back since the last one, if this one may pass.
    fn admit(&self, facility: &str) -> Option<u32> {
        let mut facilities = self.0.lock().ok()?;
        match facilities.iter_mut().find(|known| known.name == facility) {
            Some(known) if known.since.elapsed() < LOG_PAUSE => {
                known.held_back = known.held_back.saturating_add(1);
                None
            }
            Some(known) => {
                known.since = Instant::now();
                Some(std::mem::take(&mut known.held_back))
            }
            None => {
                if facilities.len() < LOG_FACILITIES {
                    let name = facility.to_owned();
                    facilities.push(Facility { name, since: Instant::now(), held_back: 0 });
                }
                Some(0)
            }
        }
    }
}

const LOG_PAUSE: Duration = Duration::from_secs(10);
/// librdkafka has a few dozen.
const LOG_FACILITIES: usize = 256;

#[cfg(test)]
mod tests {
    use sidespan_test_support::free_port;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_client_that_repeats_itself_is_heard_once_in_a_while() {
        let logs = LogLimit::default();
        assert_eq!(logs.admit("FAIL"), Some(0));
        assert_eq!(logs.admit("FAIL"), None);
        assert_eq!(logs.admit("CONNECT"), Some(0));
    }

    #[test]
    fn the_cause_is_explained_rather_than_its_consequence() {
        let link = Link::new(vec!["k:9092".to_owned()], None, true);
        link.hear(&KafkaError::Global(Code::Authentication), "wrong password");
        link.hear(&KafkaError::Global(Code::BrokerTransportFailure), "disconnected");
        link.hear(&KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        assert!(link.is_down());
        let error = link.explain();
        assert_eq!(error.fault, Fault::Denied);
        assert!(error.to_string().contains("wrong password"), "{error}");
        link.is_back();
        assert!(!link.is_down());
    }

    #[tokio::test]
    async fn a_port_is_looked_at_once_somebody_is_there() {
        let address = format!("127.0.0.1:{}", free_port());
        let link = Link::new(vec![address.clone()], None, false);
        link.diagnose().await;
        assert!(link.explain().to_string().contains("is it running"), "{}", link.explain());

        let listener = TcpListener::bind(&address).await.unwrap();
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        link.diagnose().await;
        assert!(link.explain().to_string().contains("set `sasl`"), "{}", link.explain());
    }
}
