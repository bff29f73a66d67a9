//! The one list of what tells the brokers apart, seen from outside.

use std::io;

use super::NotOurs;
use crate::{kafka, nats, rabbit};

/// Which broker it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Kafka,
    Nats,
    Rabbit,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Nats => "nats",
            Self::Rabbit => "rabbit",
        }
    }

    /// Returns the variable of the environment that names a broker to use instead.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Kafka => "SIDESPAN_TEST_KAFKA",
            Self::Nats => "SIDESPAN_TEST_NATS",
            Self::Rabbit => "SIDESPAN_TEST_AMQP",
        }
    }

    /// Returns what clients of a broker on this loopback port are configured with.
    pub(crate) fn address(self, port: u16) -> String {
        match self {
            Self::Kafka => format!("127.0.0.1:{port}"),
            Self::Nats => format!("nats://127.0.0.1:{port}"),
            Self::Rabbit => format!("amqp://127.0.0.1:{port}/%2f"),
        }
    }

    /// Tells whether the broker on this loopback port does all that clients ask.
    pub(crate) async fn is_ready(self, port: u16) -> io::Result<bool> {
        match self {
            Self::Kafka => kafka::is_ready(port).await,
            Self::Nats => nats::is_ready(port).await,
            Self::Rabbit => rabbit::is_ready(port).await,
        }
    }

    /// Returns the broker that the environment names.
    pub(crate) fn given(self) -> Option<String> {
        std::env::var(self.variable()).ok().filter(|address| !address.is_empty())
    }

    /// Fails if the environment names a broker, which tests must not kill.
    pub(crate) fn is_ours(self) -> Result<(), NotOurs> {
        match self.given() {
            Some(_) => Err(NotOurs { variable: self.variable() }),
            None => Ok(()),
        }
    }
}
