//! Whether the cluster can be reached, as far as the client has told.
//!
//! The client says when all brokers are gone, but not when one is back, and a broker that is
//! frozen says nothing at all. So the producer's watch asks while the link is down, and while messages are
//! on their way and none arrives.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use sidespan_bridge::{Error, Fault};
use tokio::sync::Notify;
use tracing::{debug, error, info, warn};

/// What is known about the way to the cluster.
#[derive(Debug, Default)]
pub(crate) struct Link {
    down: AtomicBool,
    /// Wakes the watch.
    pub(crate) doubt: Notify,
    trouble: Mutex<Option<Trouble>>,
    logs: LogLimit,
}

#[derive(Clone, Debug)]
struct Trouble {
    code: Code,
    reason: String,
}

impl Link {
    /// Tells whether the cluster is known to be out of reach.
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Notes that the cluster answered.
    pub(crate) fn is_back(&self) {
        if self.down.swap(false, Ordering::Relaxed) {
            info!("kafka can be reached again");
        }
        if let Ok(mut trouble) = self.trouble.lock() {
            *trouble = None;
        }
    }

    /// Notes that the cluster can't be reached.
    pub(crate) fn is_lost(&self) {
        if !self.down.swap(true, Ordering::Relaxed) {
            warn!(reason = self.reason(), "kafka cannot be reached: nothing is handed over until it is back");
        }
        self.doubt.notify_one();
    }

    /// Takes an error that the client told about the connection.
    pub(crate) fn hear(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        debug!(%error, reason, "kafka client error");
        match code {
            Code::AllBrokersDown => self.is_lost(),
            // A cause is worth more than its consequence.
            code => {
                if let Ok(mut trouble) = self.trouble.lock() {
                    let severe = |code| matches!(code, Code::Authentication | Code::SSL | Code::Resolve);
                    if trouble.as_ref().is_none_or(|known| severe(code) || !severe(known.code)) {
                        *trouble = Some(Trouble { code, reason: reason.to_owned() });
                    }
                }
            }
        }
    }

    /// Says in a line why nobody answers, and what to do.
    pub(crate) fn explain(&self, brokers: &[String]) -> Error {
        let trouble = self.trouble.lock().ok().and_then(|trouble| trouble.clone());
        let brokers = brokers.join(", ");
        let Some(Trouble { code, reason }) = trouble else {
            let text =
                format!("no kafka broker answers at {brokers}: is it running, and are `brokers` right?");
            return Error::new(Fault::Unavailable).detail(text);
        };
        match code {
            Code::Authentication => Error::new(Fault::Denied)
                .detail(format!("kafka at {brokers} refuses the credentials: {reason}")),
            Code::SSL => {
                Error::new(Fault::Unavailable).detail(format!("TLS with kafka at {brokers} fails: {reason}"))
            }
            Code::Resolve => Error::new(Fault::Unavailable)
                .detail(format!("a name among `brokers` cannot be resolved: {reason}")),
            _ => Error::new(Fault::Unavailable).detail(format!(
                "no kafka broker answers at {brokers}: is it running, and are `brokers` right? ({reason})"
            )),
        }
    }

    /// Passes a line of the client's log on.
    pub(crate) fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logs.pass(level, facility, message);
    }

    fn reason(&self) -> String {
        let trouble = self.trouble.lock().ok().and_then(|trouble| trouble.clone());
        trouble.map(|trouble| trouble.reason).unwrap_or_default()
    }
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
    pub(crate) fn pass(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Producers are told of consumers' settings and the other way round.
        if facility == "CONFWARN" {
            return debug!(target: "librdkafka", facility, message, "kafka client");
        }
        let Some(held_back) = self.admit(facility) else {
            return debug!(target: "librdkafka", facility, message, "repeated");
        };
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                error!(target: "librdkafka", facility, message, held_back, "kafka client")
            }
            RDKafkaLogLevel::Warning => {
                warn!(target: "librdkafka", facility, message, held_back, "kafka client")
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                info!(target: "librdkafka", facility, message, held_back, "kafka client");
            }
            RDKafkaLogLevel::Debug => {
                debug!(target: "librdkafka", facility, message, held_back, "kafka client")
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
        let link = Link::default();
        link.hear(&KafkaError::Global(Code::Authentication), "wrong password");
        link.hear(&KafkaError::Global(Code::BrokerTransportFailure), "disconnected");
        link.hear(&KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        assert!(link.is_down());
        let error = link.explain(&["k:9092".to_owned()]);
        assert_eq!(error.fault, Fault::Denied);
        assert!(error.to_string().contains("wrong password"), "{error}");
        link.is_back();
        assert!(!link.is_down());
    }
}
