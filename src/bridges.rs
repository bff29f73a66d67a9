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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reference;

    #[test]
    fn every_key_of_the_configuration_tells_its_default() {
        let text = reference(DRIVERS);
        let untold: Vec<&str> = text.lines().filter(|line| line.contains(" | ? | ")).collect();
        assert!(untold.is_empty(), "{}", untold.join("\n"));
    }

    #[test]
    fn every_key_of_the_configuration_tells_its_meaning() {
        let text = reference(DRIVERS);
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let silent: Vec<&str> = rows.filter(|line| line.ends_with(" |  |")).collect();
        assert!(silent.is_empty(), "{}", silent.join("\n"));
    }
}
