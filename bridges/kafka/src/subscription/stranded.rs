//! A consumer that has forgotten its brokers.
//!
//! A broker that the cluster takes for gone answers for a moment that there are no brokers at all.
//! The client then forgets those that it knew, and a race within it (librdkafka issue 5301) can keep it
//! from ever going back to `brokers`: it is silent for good, and says nothing. So once the client
//! has told that all brokers are down it is asked until it answers. If others reach the cluster and
//! it does not, the subscription ends, and whoever reads it subscribes anew.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::member::Member;
use crate::link::Link;

/// What is suspected of one consumer.
#[derive(Debug, Default)]
pub(super) struct Stranded {
    suspicion: Option<Suspicion>,
}

#[derive(Debug)]
struct Suspicion {
    /// When others began to reach the cluster.
    since: Instant,
    asked: Instant,
}

impl Stranded {
    /// Takes what the client told.
    pub(super) fn hear(&mut self, error: &KafkaError) {
        if error.rdkafka_error_code() == Some(Code::AllBrokersDown) && self.suspicion.is_none() {
            let now = Instant::now();
            self.suspicion = Some(Suspicion { since: now, asked: now });
        }
    }

    /// Looks after the suspicion, if there is one, and tells whether it is certain. Blocks for as
    /// long as the client takes to answer.
    pub(super) fn is_certain(&mut self, consumer: &BaseConsumer<Member>, link: &Link) -> bool {
        let Some(suspicion) = &mut self.suspicion else { return false };
        if suspicion.asked.elapsed() < PERIOD {
            return false;
        }
        if consumer.client().fetch_metadata(Some(crate::catalogue::ANY_TOPIC), ANSWER).is_ok() {
            self.suspicion = None;
            return false;
        }
        suspicion.asked = Instant::now();
        if link.is_down() {
            suspicion.since = suspicion.asked;
        }
        suspicion.since.elapsed() >= CERTAIN
    }
}

/// How often the client is asked.
const PERIOD: Duration = Duration::from_secs(2);
/// How long it may take to answer: a fetch that waits for messages may be in front.
const ANSWER: Duration = Duration::from_secs(2);
/// How long others must have reached the cluster: more than the client waits between attempts to connect.
const CERTAIN: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rdkafka::ClientConfig;
    use sidespan_test_support::free_port;
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn a_consumer_that_finds_no_broker_is_suspected_only_while_others_find_one() {
        let (changes, _kept) = mpsc::unbounded_channel();
        let link = Arc::new(Link::default());
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", format!("127.0.0.1:{}", free_port())).set("group.id", "g");
        let consumer: BaseConsumer<Member> =
            config.create_with_context(Member::new(changes, Arc::clone(&link))).unwrap();
        let mut stranded = Stranded::default();
        let mut is_certain = || {
            if let Some(Err(error)) = consumer.poll(Duration::from_millis(50)) {
                stranded.hear(&error);
            }
            stranded.is_certain(&consumer, &link)
        };
        link.is_lost();
        let began = Instant::now();
        while began.elapsed() < CERTAIN + PERIOD {
            assert!(!is_certain(), "nobody reaches the cluster");
        }
        link.is_back();
        let began = Instant::now();
        while !is_certain() {
            assert!(began.elapsed() < CERTAIN * 3, "the others have reached it for long");
        }
    }
}
