//! The kinds of broker that this build knows: one line each.

use sidespan_bridge::Driver;

/// Every kind of broker, in the order in which they are listed to people.
pub const DRIVERS: &[&'static dyn Driver] = &[
    &sidespan_bridge_embedded::Embedded,
    #[cfg(feature = "amqp")]
    &sidespan_bridge_amqp::Amqp,
    #[cfg(feature = "kafka")]
    &sidespan_bridge_kafka::Kafka,
    #[cfg(feature = "nats")]
    &sidespan_bridge_nats::Nats,
];

/// What of the log is left out unless it is asked for (`log.level: info,lapin=debug`): these clients
/// call each lost connection an error, one that we end too, and what it means is said by the bridge;
/// the one for AMQP logs whole messages that come back, payload and all.
pub const QUIET: &str = "async_nats=off,lapin=off";
