//! Every metric: its name, unit, labels and help.
//!
//! Names are those of `/metrics`. Where OpenTelemetry's messaging conventions have a name it is used, with `_` for
//! `.` and the unit at its end; by OTLP it goes as [`Metric::otlp_name`] says. Labels come from the configuration
//! and from lists in the code alone: never a key, a path or an id.

/// A metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name in `/metrics`, unit and `_total` included.
    pub name: &'static str,
    /// What is counted or measured.
    pub kind: Kind,
    /// The unit as UCUM writes it: `s`, `By`, or a `{thing}` that is counted.
    pub unit: &'static str,
    /// The labels that its series have; of some not all.
    pub labels: &'static [&'static str],
    /// What it says, in one line.
    pub help: &'static str,
}

/// What kind of metric one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, and begins again at 0.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Observations, counted in buckets.
    Histogram,
}

impl Metric {
    /// Returns the name without what formats put at its end: unit and `_total`.
    pub fn stem(&self) -> &'static str {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        let suffix = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => return name,
        };
        name.strip_suffix(suffix).unwrap_or(name)
    }

    /// Returns the name that OTLP has for it: that of OpenTelemetry's conventions where there is one.
    pub fn otlp_name(&self) -> String {
        match self.stem() {
            stem if stem.starts_with("messaging_") => stem.replace('_', "."),
            stem => stem.to_owned(),
        }
    }
}

/// Returns the name that OTLP has for a label.
pub fn otlp_label(label: &str) -> String {
    label.replace('_', ".")
}

/// `error_type`: the code of a problem in lower case, an HTTP status, or for what has neither no_answer, unreachable,
/// given_back, abandoned or stale. Absent where there was no error.
pub const ERROR_TYPE: &str = "error_type";
/// `messaging_destination_name`: a topic by the name that callers use. Undeclared topics share [`OTHER`] past a bound.
pub const DESTINATION: &str = "messaging_destination_name";
/// `messaging_operation_name`: `send`, `request` or `settle`.
pub const OPERATION: &str = "messaging_operation_name";
/// `messaging_consumer_group_name`: a subscription's group at its broker.
pub const GROUP: &str = "messaging_consumer_group_name";
/// `messaging_system`: kafka, nats, rabbitmq or sidespan_embedded.
pub const SYSTEM: &str = "messaging_system";
/// `server_address`: host and port that a subscription pushes to.
pub const SERVER_ADDRESS: &str = "server_address";
/// `sidespan_bridge`: a broker by its name in the configuration.
pub const BRIDGE: &str = "sidespan_bridge";
/// `sidespan_subscription`: a subscription by its name.
pub const SUBSCRIPTION: &str = "sidespan_subscription";
/// `outcome` of an attempt.
pub const OUTCOME: &str = "outcome";
/// `reason` of a dead letter, or the code of a problem in lower case.
pub const REASON: &str = "reason";
/// `state` of a subscription.
pub const STATE: &str = "state";
/// `door`: rest, grpc or socket.
pub const DOOR: &str = "door";
/// `kind` of a stream: sse, websocket or grpc.
pub const KIND: &str = "kind";
/// `listener`: services, admin or health.
pub const LISTENER: &str = "listener";
/// `hash` of the configuration file.
pub const HASH: &str = "hash";
/// `signal`: metrics or traces.
pub const SIGNAL: &str = "signal";
/// `version` of Sidespan.
pub const VERSION: &str = "version";
/// `consumergroup`, as Kafka's exporters call it.
pub const KAFKA_GROUP: &str = "consumergroup";
/// `topic`, as Kafka's exporters call it: the address at the broker.
pub const KAFKA_TOPIC: &str = "topic";

/// The value that labels share past their bound.
pub const OTHER: &str = "_other";

/// `messaging_client_operation_duration_seconds`
pub const OPERATION_DURATION: Metric = Metric {
    name: "messaging_client_operation_duration_seconds",
    kind: Kind::Histogram,
    unit: "s",
    labels: &[OPERATION, SYSTEM, DESTINATION, BRIDGE, SUBSCRIPTION, ERROR_TYPE],
    help: "How long the broker takes to answer: `send` is one publish, of one message or a batch; `request` is one until its reply is there; `settle` is one settlement that somebody waited for: an acknowledgement, or `guarantee: at-most-once`; nobody waits for those of other pushes, and waiting would slow them down.",
};
/// `messaging_client_sent_messages_total`
pub const SENT_MESSAGES: Metric = Metric {
    name: "messaging_client_sent_messages_total",
    kind: Kind::Counter,
    unit: "{message}",
    labels: &[SYSTEM, DESTINATION, BRIDGE, ERROR_TYPE],
    help: "Messages that were handed to a broker; those without an error_type are stored there or, as requests, answered. A request whose caller did not wait for the reply is abandoned.",
};
/// `messaging_client_consumed_messages_total`
pub const CONSUMED_MESSAGES: Metric = Metric {
    name: "messaging_client_consumed_messages_total",
    kind: Kind::Counter,
    unit: "{message}",
    labels: &[SYSTEM, DESTINATION, GROUP, SUBSCRIPTION],
    help: "Messages that came from a broker, repeats included.",
};
/// `messaging_process_duration_seconds`
pub const PROCESS_DURATION: Metric = Metric {
    name: "messaging_process_duration_seconds",
    kind: Kind::Histogram,
    unit: "s",
    labels: &[SYSTEM, DESTINATION, SUBSCRIPTION, SERVER_ADDRESS, ERROR_TYPE],
    help: "How long one attempt took: at a webhook or receiver until it answered; of what consumers fetch, from when it was handed out until it was acknowledged, given back (given_back), or its lease ended (no_answer).",
};
/// `sidespan_delivery_attempts_total`
pub const DELIVERY_ATTEMPTS: Metric = Metric {
    name: "sidespan_delivery_attempts_total",
    kind: Kind::Counter,
    unit: "{attempt}",
    labels: &[SUBSCRIPTION, OUTCOME],
    help: "Attempts by what came of them: accepted, failed (counts towards max_attempts), refused, unavailable (counts nothing), gone (410).",
};
/// `sidespan_delivery_retries_total`
pub const DELIVERY_RETRIES: Metric = Metric {
    name: "sidespan_delivery_retries_total",
    kind: Kind::Counter,
    unit: "{attempt}",
    labels: &[SUBSCRIPTION],
    help: "Attempts that were not a message's first.",
};
/// `sidespan_dead_letters_total`
pub const DEAD_LETTERS: Metric = Metric {
    name: "sidespan_dead_letters_total",
    kind: Kind::Counter,
    unit: "{message}",
    labels: &[SUBSCRIPTION, REASON],
    help: "Messages that were stored as dead letters: exhausted (all attempts failed) or refused.",
};
/// `sidespan_delivery_dropped_total`
pub const DELIVERY_DROPPED: Metric = Metric {
    name: "sidespan_delivery_dropped_total",
    kind: Kind::Counter,
    unit: "{message}",
    labels: &[SUBSCRIPTION],
    help: "Messages that were given up without a dead letter, as `guarantee: at-most-once` asks, or because who asked was told.",
};
/// `sidespan_subscription_undeliverable_messages`
pub const UNDELIVERABLE: Metric = Metric {
    name: "sidespan_subscription_undeliverable_messages",
    kind: Kind::Gauge,
    unit: "{message}",
    labels: &[SUBSCRIPTION],
    help: "Messages that nobody accepts, held because there is no dead-letter place.",
};
/// `sidespan_subscription_lag_messages`
pub const LAG: Metric = Metric {
    name: "sidespan_subscription_lag_messages",
    kind: Kind::Gauge,
    unit: "{message}",
    labels: &[SUBSCRIPTION],
    help: "Messages that the group has not settled, as the broker says; absent while it cannot say.",
};
/// `sidespan_subscription_oldest_unsettled_age_seconds`
pub const OLDEST_UNSETTLED: Metric = Metric {
    name: "sidespan_subscription_oldest_unsettled_age_seconds",
    kind: Kind::Gauge,
    unit: "s",
    labels: &[SUBSCRIPTION],
    help: "Age of the oldest of them, 0 where there is none; absent while the broker cannot say, and on brokers that never can.",
};
/// `sidespan_subscription_in_flight_messages`
pub const IN_FLIGHT: Metric = Metric {
    name: "sidespan_subscription_in_flight_messages",
    kind: Kind::Gauge,
    unit: "{message}",
    labels: &[SUBSCRIPTION],
    help: "Attempts under way, or leases out.",
};
/// `sidespan_subscription_max_in_flight_messages`
pub const MAX_IN_FLIGHT: Metric = Metric {
    name: "sidespan_subscription_max_in_flight_messages",
    kind: Kind::Gauge,
    unit: "{message}",
    labels: &[SUBSCRIPTION],
    help: "How many attempts may be under way (max_in_flight).",
};
/// `sidespan_subscription_held_messages`
pub const HELD: Metric = Metric {
    name: "sidespan_subscription_held_messages",
    kind: Kind::Gauge,
    unit: "{message}",
    labels: &[SUBSCRIPTION],
    help: "Messages that are here and not settled, waiting or under way.",
};
/// `sidespan_subscription_held_bytes`
pub const HELD_BYTES: Metric = Metric {
    name: "sidespan_subscription_held_bytes",
    kind: Kind::Gauge,
    unit: "By",
    labels: &[SUBSCRIPTION],
    help: "What they weigh: payloads, keys and headers.",
};
/// `sidespan_subscription_max_held_messages`
pub const MAX_HELD: Metric = Metric {
    name: "sidespan_subscription_max_held_messages",
    kind: Kind::Gauge,
    unit: "{message}",
    labels: &[SUBSCRIPTION],
    help: "How many messages may be held (max_held.messages).",
};
/// `sidespan_subscription_max_held_bytes`
pub const MAX_HELD_BYTES: Metric = Metric {
    name: "sidespan_subscription_max_held_bytes",
    kind: Kind::Gauge,
    unit: "By",
    labels: &[SUBSCRIPTION],
    help: "How much they may weigh (max_held.bytes).",
};
/// `sidespan_subscription_lanes`
pub const LANES: Metric = Metric {
    name: "sidespan_subscription_lanes",
    kind: Kind::Gauge,
    unit: "{lane}",
    labels: &[SUBSCRIPTION],
    help: "Keys that have a message here, each with a lane of its own; without an order 0.",
};
/// `sidespan_subscription_state`
pub const SUBSCRIPTION_STATE: Metric = Metric {
    name: "sidespan_subscription_state",
    kind: Kind::Gauge,
    unit: "1",
    labels: &[SUBSCRIPTION, STATE],
    help: "1 for the state that the subscription is in, 0 for every other.",
};
/// `sidespan_subscription_rebalances_total`
pub const REBALANCES: Metric = Metric {
    name: "sidespan_subscription_rebalances_total",
    kind: Kind::Counter,
    unit: "{rebalance}",
    labels: &[SUBSCRIPTION],
    help: "Times that a part of the subscription (a partition, a queue) went to another member, or was lost with the connection.",
};
/// `sidespan_leases_out`
pub const LEASES_OUT: Metric = Metric {
    name: "sidespan_leases_out",
    kind: Kind::Gauge,
    unit: "{lease}",
    labels: &[SUBSCRIPTION],
    help: "Messages that consumers have fetched and not settled yet.",
};
/// `sidespan_breaker_open`
pub const BREAKER_OPEN: Metric = Metric {
    name: "sidespan_breaker_open",
    kind: Kind::Gauge,
    unit: "1",
    labels: &[SUBSCRIPTION],
    help: "1 while the endpoint is unavailable and only probed.",
};
/// `sidespan_bridge_up`
pub const BRIDGE_UP: Metric = Metric {
    name: "sidespan_bridge_up",
    kind: Kind::Gauge,
    unit: "1",
    labels: &[BRIDGE, SYSTEM],
    help: "1 if the broker answered when it was asked last.",
};
/// `sidespan_bridge_reconnects_total`
pub const BRIDGE_RECONNECTS: Metric = Metric {
    name: "sidespan_bridge_reconnects_total",
    kind: Kind::Counter,
    unit: "{connection}",
    labels: &[BRIDGE],
    help: "Times that the broker was there again after it had not answered, asked every two seconds.",
};
/// `sidespan_bridge_in_flight_messages`
pub const BRIDGE_IN_FLIGHT: Metric = Metric {
    name: "sidespan_bridge_in_flight_messages",
    kind: Kind::Gauge,
    unit: "{message}",
    labels: &[BRIDGE],
    help: "Messages that are being published and not answered (limits.max_in_flight bounds them).",
};
/// `sidespan_bridge_in_flight_bytes`
pub const BRIDGE_IN_FLIGHT_BYTES: Metric = Metric {
    name: "sidespan_bridge_in_flight_bytes",
    kind: Kind::Gauge,
    unit: "By",
    labels: &[BRIDGE],
    help: "What they weigh, bodies that are being read included (limits.max_in_flight_bytes bounds it).",
};
/// `sidespan_http_requests_total`
pub const HTTP_REQUESTS: Metric = Metric {
    name: "sidespan_http_requests_total",
    kind: Kind::Counter,
    unit: "{request}",
    labels: &[DOOR],
    help: "Requests that a door took up: each call, stream, upgrade and frame is one. What is refused before, for its sender, is in sidespan_rejected_total alone.",
};
/// `sidespan_rejected_total`
pub const REJECTED: Metric = Metric {
    name: "sidespan_rejected_total",
    kind: Kind::Counter,
    unit: "{request}",
    labels: &[DOOR, REASON],
    help: "Requests, calls and frames that were answered with a problem, by its code in lower case; of a gRPC stream each message and verdict that was.",
};
/// `sidespan_streams_open`
pub const STREAMS_OPEN: Metric = Metric {
    name: "sidespan_streams_open",
    kind: Kind::Gauge,
    unit: "{stream}",
    labels: &[KIND],
    help: "Open streams.",
};
/// `sidespan_connections_open`
pub const CONNECTIONS_OPEN: Metric = Metric {
    name: "sidespan_connections_open",
    kind: Kind::Gauge,
    unit: "{connection}",
    labels: &[LISTENER],
    help: "Open connections.",
};
/// `sidespan_drain_phase`
pub const DRAIN_PHASE: Metric = Metric {
    name: "sidespan_drain_phase",
    kind: Kind::Gauge,
    unit: "1",
    labels: &[],
    help: "0 while serving, 1 once deliveries are drained and nothing new is taken, 2 while closing.",
};
/// `sidespan_config_info`
pub const CONFIG_INFO: Metric = Metric {
    name: "sidespan_config_info",
    kind: Kind::Gauge,
    unit: "1",
    labels: &[HASH],
    help: "1; the hash is the beginning of the SHA-256 of the configuration file that is in use.",
};
/// `sidespan_config_last_reload_successful`
pub const CONFIG_RELOADED: Metric = Metric {
    name: "sidespan_config_last_reload_successful",
    kind: Kind::Gauge,
    unit: "1",
    labels: &[],
    help: "1 if the configuration file as it is now is in use, 0 if it was refused and the one before still is.",
};
/// `sidespan_config_last_reload_success_timestamp_seconds`
pub const CONFIG_RELOAD_TIME: Metric = Metric {
    name: "sidespan_config_last_reload_success_timestamp_seconds",
    kind: Kind::Gauge,
    unit: "s",
    labels: &[],
    help: "When the configuration file was last taken into use, in seconds since the Unix epoch.",
};
/// `sidespan_log_suppressed_total`
pub const LOG_SUPPRESSED: Metric = Metric {
    name: "sidespan_log_suppressed_total",
    kind: Kind::Counter,
    unit: "{line}",
    labels: &[],
    help: "Lines that were left out of the log because there were too many of their kind.",
};
/// `sidespan_log_dropped_total`
pub const LOG_DROPPED: Metric = Metric {
    name: "sidespan_log_dropped_total",
    kind: Kind::Counter,
    unit: "{line}",
    labels: &[],
    help: "Lines that were dropped because nobody reads the log fast enough.",
};
/// `sidespan_telemetry_dropped_spans_total`
pub const DROPPED_SPANS: Metric = Metric {
    name: "sidespan_telemetry_dropped_spans_total",
    kind: Kind::Counter,
    unit: "{span}",
    labels: &[],
    help: "Spans that were dropped because the collector did not take them in time.",
};
/// `sidespan_telemetry_failed_exports_total`
pub const FAILED_EXPORTS: Metric = Metric {
    name: "sidespan_telemetry_failed_exports_total",
    kind: Kind::Counter,
    unit: "{export}",
    labels: &[SIGNAL],
    help: "Exports that the collector did not take.",
};
/// `sidespan_build_info`
pub const BUILD_INFO: Metric = Metric {
    name: "sidespan_build_info",
    kind: Kind::Gauge,
    unit: "1",
    labels: &[VERSION],
    help: "1; the version that runs.",
};
/// `process_resident_memory_bytes`
pub const RESIDENT_MEMORY: Metric = Metric {
    name: "process_resident_memory_bytes",
    kind: Kind::Gauge,
    unit: "By",
    labels: &[],
    help: "Resident memory size in bytes.",
};
/// `process_cpu_seconds_total`
pub const CPU_SECONDS: Metric = Metric {
    name: "process_cpu_seconds_total",
    kind: Kind::Counter,
    unit: "s",
    labels: &[],
    help: "Total user and system CPU time spent in seconds.",
};
/// `process_open_fds`
pub const OPEN_FDS: Metric = Metric {
    name: "process_open_fds",
    kind: Kind::Gauge,
    unit: "{file}",
    labels: &[],
    help: "Number of open file descriptors.",
};
/// `process_max_fds`
pub const MAX_FDS: Metric = Metric {
    name: "process_max_fds",
    kind: Kind::Gauge,
    unit: "{file}",
    labels: &[],
    help: "Maximum number of open file descriptors.",
};
/// `process_start_time_seconds`
pub const START_TIME: Metric = Metric {
    name: "process_start_time_seconds",
    kind: Kind::Gauge,
    unit: "s",
    labels: &[],
    help: "Start time of the process since unix epoch in seconds.",
};
/// `kafka_consumergroup_lag_sum`
pub const KAFKA_LAG: Metric = Metric {
    name: "kafka_consumergroup_lag_sum",
    kind: Kind::Gauge,
    unit: "{message}",
    labels: &[KAFKA_GROUP, KAFKA_TOPIC],
    help: "Current approximate lag of a consumer group at a topic, over all partitions; named as exporters name it, so that dashboards and autoscalers work.",
};

/// All of them, in the order in which they are told.
pub const ALL: &[&Metric] = &[
    &OPERATION_DURATION,
    &SENT_MESSAGES,
    &CONSUMED_MESSAGES,
    &PROCESS_DURATION,
    &DELIVERY_ATTEMPTS,
    &DELIVERY_RETRIES,
    &DEAD_LETTERS,
    &DELIVERY_DROPPED,
    &UNDELIVERABLE,
    &LAG,
    &OLDEST_UNSETTLED,
    &IN_FLIGHT,
    &MAX_IN_FLIGHT,
    &HELD,
    &HELD_BYTES,
    &MAX_HELD,
    &MAX_HELD_BYTES,
    &LANES,
    &SUBSCRIPTION_STATE,
    &REBALANCES,
    &LEASES_OUT,
    &BREAKER_OPEN,
    &BRIDGE_UP,
    &BRIDGE_RECONNECTS,
    &BRIDGE_IN_FLIGHT,
    &BRIDGE_IN_FLIGHT_BYTES,
    &HTTP_REQUESTS,
    &REJECTED,
    &STREAMS_OPEN,
    &CONNECTIONS_OPEN,
    &DRAIN_PHASE,
    &CONFIG_INFO,
    &CONFIG_RELOADED,
    &CONFIG_RELOAD_TIME,
    &LOG_SUPPRESSED,
    &LOG_DROPPED,
    &DROPPED_SPANS,
    &FAILED_EXPORTS,
    &BUILD_INFO,
    &RESIDENT_MEMORY,
    &CPU_SECONDS,
    &OPEN_FDS,
    &MAX_FDS,
    &START_TIME,
    &KAFKA_LAG,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_end_as_their_kind_and_unit_ask() {
        let mut seen = BTreeSet::new();
        for metric in ALL {
            assert!(seen.insert(metric.name), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            let whole = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            assert_eq!(whole.ends_with("_seconds"), metric.unit == "s", "{}", metric.name);
            assert_eq!(whole.ends_with("_bytes"), metric.unit == "By", "{}", metric.name);
            assert!(!metric.help.is_empty() && !metric.help.contains(['\n', '\\']), "{}", metric.name);
        }
    }

    #[test]
    fn by_otlp_the_conventions_have_their_own_names() {
        assert_eq!(OPERATION_DURATION.otlp_name(), "messaging.client.operation.duration");
        assert_eq!(SENT_MESSAGES.otlp_name(), "messaging.client.sent.messages");
        assert_eq!(PROCESS_DURATION.otlp_name(), "messaging.process.duration");
        assert_eq!(HELD_BYTES.otlp_name(), "sidespan_subscription_held");
        assert_eq!(otlp_label(DESTINATION), "messaging.destination.name");
    }
}
