//! The ports that pages speak of, and those that are used in their place.

use sidespan_test_support::{Kafka, Nats, Rabbit, free_port};

/// What stands on a page, and what is meant.
#[derive(Clone, Debug)]
pub(crate) struct Ports(Vec<(&'static str, String)>);

impl Ports {
    /// Finds a free port for each that a page may speak of; brokers that it speaks of are started.
    pub(crate) async fn of(page: &str) -> Self {
        let mut ports: Vec<_> = OWN.iter().map(|port| (*port, free_port().to_string())).collect();
        let speaks_of = |port: &str| exchange(page, port, "") != page;
        if speaks_of(KAFKA) {
            ports.push((KAFKA, Kafka::shared().await.port().to_string()));
        }
        if speaks_of(NATS) {
            ports.push((NATS, Nats::shared().await.port().to_string()));
        }
        if speaks_of(RABBIT) {
            ports.push((RABBIT, Rabbit::shared().await.port().to_string()));
        }
        Self(ports)
    }

    /// Returns what is used in the place of a port.
    pub(crate) fn used(&self, port: &str) -> &str {
        self.0
            .iter()
            .find(|(shown, _)| *shown == port)
            .map(|(_, used)| used.as_str())
            .expect("a port of pages")
    }

    /// Exchanges what the page says for what is meant.
    pub(crate) fn meant(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (shown, used)| exchange(&text, shown, used))
    }

    /// Exchanges what is meant for what the page says.
    pub(crate) fn shown(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (shown, used)| exchange(&text, used, shown))
    }
}

/// Replaces a number where it stands alone.
fn exchange(text: &str, number: &str, by: &str) -> String {
    let mut exchanged = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(number) {
        let (before, after) = (&rest[..at], &rest[at + number.len()..]);
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '.');
        let alone = !is_part(before.chars().next_back().or(exchanged.chars().next_back()))
            && !after.starts_with(|c: char| c.is_alphanumeric());
        exchanged.push_str(before);
        exchanged.push_str(if alone { by } else { number });
        rest = after;
    }
    exchanged + rest
}

/// Those of Sidespan, and of services beside it.
const OWN: [&str; 6] = ["7400", "7401", "7402", "8080", "8081", "9090"];
const KAFKA: &str = "9092";
const NATS: &str = "4222";
const RABBIT: &str = "5672";

#[test]
fn only_a_number_that_stands_alone_is_a_port() {
    assert_eq!(exchange("a:7400/7400 17400 7400s 0.7400 7400", "7400", "1"), "a:1/1 17400 7400s 0.7400 1");
}
