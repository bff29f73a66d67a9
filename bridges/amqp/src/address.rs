//! Where messages go and come from, in AMQP's terms.
//!
//! `exchange/routing.key` names both; `/queue` is the default exchange, which routes to the queue of
//! that name; bare text is a routing key of `amq.topic`, which every virtual host has.

use sidespan_bridge::{Error, Fault, Pattern, Topic};

/// An exchange and a routing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) exchange: Box<str>,
    pub(crate) key: Box<str>,
}

/// What a subscription reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A queue of its own, bound to an exchange by this binding key.
    Bound(Address),
    /// This very queue.
    Queue(Box<str>),
}

impl Address {
    /// Reads an address.
    pub(crate) fn of(topic: &Topic) -> Result<Self, Error> {
        let (exchange, key) = topic.as_str().split_once('/').unwrap_or((DEFAULT_TOPIC, topic.as_str()));
        if exchange.is_empty() && key.is_empty() {
            return Err(Error::new(Fault::Invalid).detail("the address `/` names no queue: use `/queue`"));
        }
        for (what, text) in [("exchange", exchange), ("routing key", key)] {
            if text.len() > SHORT {
                let detail = format!("the address's {what} is longer than AMQP allows, {SHORT} bytes");
                return Err(Error::new(Fault::Invalid).detail(detail));
            }
        }
        Ok(Self { exchange: exchange.into(), key: key.into() })
    }

    /// Returns the address at which a message was found.
    pub(crate) fn topic(exchange: &str, key: &str) -> Topic {
        if exchange == DEFAULT_TOPIC && !key.contains('/') {
            Topic::new(key)
        } else {
            Topic::new(format!("{exchange}/{key}"))
        }
    }

    /// Tells whether this is a queue by its name.
    pub(crate) fn is_queue(&self) -> bool {
        self.exchange.is_empty()
    }
}

impl Source {
    /// Reads what a pattern stands for.
    pub(crate) fn of(pattern: &Pattern) -> Result<Self, Error> {
        let address = Address::of(&Topic::new(pattern.as_str()))?;
        if address.is_queue() {
            if pattern.is_wildcard() {
                let detail = "a queue is read by its name: wildcards are for routing keys of an exchange";
                return Err(Error::new(Fault::Invalid).detail(detail));
            }
            return Ok(Self::Queue(address.key));
        }
        // `#` would match no word as well, and `>` stands for one or more.
        let key = match address.key.strip_suffix('>') {
            Some(head) if head.is_empty() || head.ends_with('.') => format!("{head}*.#").into(),
            Some(_) | None => address.key,
        };
        Ok(Self::Bound(Address { exchange: address.exchange, key }))
    }
}

/// The exchange of an address that names none.
const DEFAULT_TOPIC: &str = "amq.topic";
/// How long a name may be in AMQP.
pub(crate) const SHORT: usize = 255;
/// Where direct replies come, to who asks; to who answers, the broker names it with more behind.
pub(crate) const DIRECT: &str = "amq.rabbitmq.reply-to";

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> (String, String) {
        let Address { exchange, key } = Address::of(&Topic::new(text)).unwrap();
        (exchange.into(), key.into())
    }

    fn source(text: &str) -> Source {
        Source::of(&Pattern::parse(text).unwrap()).unwrap()
    }

    fn bound(exchange: &str, key: &str) -> Source {
        Source::Bound(Address { exchange: exchange.into(), key: key.into() })
    }

    #[test]
    fn an_address_names_an_exchange_and_a_routing_key() {
        assert_eq!(address("shop/orders.eu"), ("shop".into(), "orders.eu".into()));
        assert_eq!(address("shop/a/b"), ("shop".into(), "a/b".into()));
        assert_eq!(address("/inbox"), (String::new(), "inbox".into()));
        assert_eq!(address("orders.eu"), ("amq.topic".into(), "orders.eu".into()));
        assert!(Address::of(&Topic::new("/")).is_err());
        assert!(Address::of(&Topic::new("k".repeat(256))).is_err());
    }

    #[test]
    fn where_a_message_was_found_is_written_as_it_was_published() {
        for text in ["shop/orders.eu", "/inbox", "orders.eu", "amq.topic/a/b"] {
            let (exchange, key) = address(text);
            assert_eq!(Address::topic(&exchange, &key).as_str(), text);
        }
    }

    #[test]
    fn a_tail_is_at_least_one_word() {
        assert_eq!(source("orders.>"), bound("amq.topic", "orders.*.#"));
        assert_eq!(source(">"), bound("amq.topic", "*.#"));
        assert_eq!(source("shop/>"), bound("shop", "*.#"));
        assert_eq!(source("shop/orders.*"), bound("shop", "orders.*"));
        assert_eq!(source("/inbox"), Source::Queue("inbox".into()));
    }
}
