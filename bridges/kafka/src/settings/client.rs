//! The librdkafka configurations that the settings become.
//!
//! What the bridge's promises rest on is set last and can't be overridden.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::{Compression, KafkaSettings};

impl KafkaSettings {
    /// Returns the configuration of the one producer.
    pub(crate) fn producer(&self, service: &str) -> ClientConfig {
        let mut config = self.tuned(service, &PRODUCER_DEFAULTS);
        config.set("linger.ms", self.linger.0.as_millis().to_string());
        config.set("compression.type", self.compression.name());
        config.set("message.max.bytes", self.max_message.0.to_string());
        config.set("message.timeout.ms", self.max_deadline.0.as_millis().to_string());
        set_all(&mut config, &PRODUCER_PROMISES);
        config
    }

    /// Returns the configuration of the consumer of one group.
    pub(crate) fn consumer(&self, service: &str, group: &str) -> ClientConfig {
        let mut config = self.tuned(service, &CONSUMER_DEFAULTS);
        config.set("group.id", group);
        set_all(&mut config, &CONSUMER_PROMISES);
        config
    }

    /// Returns the configuration of a client that only asks, or administers.
    pub(crate) fn asker(&self, service: &str) -> ClientConfig {
        self.tuned(service, &[])
    }

    fn tuned(&self, service: &str, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info);
        set_all(&mut config, &COMMON_DEFAULTS);
        set_all(&mut config, defaults);
        for (name, value) in &self.properties {
            config.set(name, value.to_string());
        }
        config.set("bootstrap.servers", self.brokers.join(","));
        config.set("client.id", service);
        set_all(&mut config, &COMMON_PROMISES);
        config
    }
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::None => "none",
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
        }
    }
}

fn set_all(config: &mut ClientConfig, pairs: &[(&str, &str)]) {
    for (name, value) in pairs {
        config.set(*name, *value);
    }
}

/// A broker that comes back is found within a second, a new topic or partition within five. A connection
/// on which nothing is answered is given up after ten, and not after the client's own minute.
const COMMON_DEFAULTS: [(&str, &str); 8] = [
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
    ("socket.nagle.disable", "true"),
    ("socket.timeout.ms", "10000"),
    ("log.connection.close", "false"),
    ("enable.metrics.push", "false"),
    ("topic.metadata.refresh.interval.ms", "5000"),
];

const COMMON_PROMISES: [(&str, &str); 2] =
    [("allow.auto.create.topics", "false"), ("topic.metadata.propagation.max.ms", "500")];

const PRODUCER_DEFAULTS: [(&str, &str); 2] =
    [("queue.buffering.max.messages", "100000"), ("queue.buffering.max.kbytes", "131072")];

const PRODUCER_PROMISES: [(&str, &str); 4] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("partitioner", "murmur2_random"),
    ("statistics.interval.ms", "0"),
];

/// With split queues the bound on fetch buffers counts for each partition. A partition whose buffer
/// is full joins the next fetch, which waits for the others: so buffers are not too small, and
/// fetches don't wait long.
const CONSUMER_DEFAULTS: [(&str, &str); 6] = [
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "3000"),
    ("queued.max.messages.kbytes", "8192"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.error.backoff.ms", "100"),
];

const CONSUMER_PROMISES: [(&str, &str); 6] = [
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("statistics.interval.ms", "0"),
];
