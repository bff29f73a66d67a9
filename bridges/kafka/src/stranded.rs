//! A consumer that its brokers will not see again: it has forgotten them, or has old credentials.
//!
//! A broker that the cluster takes for gone answers for a moment that there are no brokers at all.
//! The client then forgets those that it knew, and a race within it (librdkafka issue 5301) can keep it
//! from ever going back to `brokers`: it is silent for good, and says nothing. So once the client
//! has told that all brokers are down it is asked until it answers. If others reach the cluster and
//! it does not, the subscription ends, and whoever reads it subscribes anew. The same if its
//! connections fail and the secrets have changed since it was made: the client library takes no others.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::clients::Line;

/// What is suspected of one consumer.
#[derive(Debug, Default)]
pub(crate) struct Stranded {
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
    pub(crate) fn hear(&mut self, error: &KafkaError) {
        let code = error.rdkafka_error_code();
        if matches!(code, Some(Code::AllBrokersDown | Code::Authentication | Code::SSL))
            && self.suspicion.is_none()
        {
            let now = Instant::now();
            self.suspicion = Some(Suspicion { since: now, asked: now });
        }
    }

    /// Looks after the suspicion, if there is one, and says so if it is certain. Blocks for as
    /// long as the client takes to answer. `line` is what the consumer was made with.
    pub(crate) fn is_certain<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        line: &Line,
    ) -> Option<&'static str> {
        let suspicion = self.suspicion.as_mut()?;
        if suspicion.asked.elapsed() < PERIOD {
            return None;
        }
        if line.is_outdated() {
            return Some("connections fail, and the credentials have changed");
        }
        if consumer.client().fetch_metadata(Some(crate::catalogue::ANY_TOPIC), ANSWER).is_ok() {
            self.suspicion = None;
            return None;
        }
        suspicion.asked = Instant::now();
        if line.link.is_down() {
            suspicion.since = suspicion.asked;
        }
        let certain = suspicion.since.elapsed() >= CERTAIN;
        certain.then_some("the client finds no broker though others do")
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
    use super::*;
    use crate::clients::Clients;
    use crate::settings::KafkaSettings;
    use serde_json::json;
    use sidespan_bridge::Settings;
    use sidespan_test_support::free_port;

    #[test]
    fn a_consumer_that_finds_no_broker_is_suspected_only_while_others_find_one() {
        let brokers = json!({"brokers": [format!("127.0.0.1:{}", free_port())]});
        let settings = KafkaSettings::read(&Settings::new("s", brokers)).unwrap();
        let clients = Clients::new(settings, "s".into());
        let (config, line) = clients.consumer("g").unwrap();
        let consumer: BaseConsumer<Line> = config.create_with_context(line).unwrap();
        let link = &clients.link;
        let mut stranded = Stranded::default();
        let mut is_certain = || {
            if let Some(Err(error)) = consumer.poll(Duration::from_millis(50)) {
                stranded.hear(&error);
            }
            stranded.is_certain(&consumer, consumer.context()).is_some()
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
