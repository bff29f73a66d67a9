//! What the broker says of a message that it delivers: `$JS.ACK.` and nine or more tokens behind it.

use std::time::{Duration, SystemTime};

/// Where a delivery stands, read from where it is to be acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// What stands before the numbers.
    prefix: String,
    /// How often it was delivered, this time included.
    pub(super) deliveries: u64,
    /// Its number in the stream.
    pub(crate) sequence: u64,
    /// Its number among those delivered to the consumer.
    pub(crate) delivery: u64,
    /// How many are yet to be delivered.
    pub(crate) pending: u64,
    nanos: u64,
}

impl Received {
    /// Reads an acknowledgement subject, of either form.
    pub(crate) fn read(subject: &str) -> Option<Self> {
        let tokens: Vec<&str> = subject.split('.').collect();
        if !subject.starts_with("$JS.ACK.") {
            return None;
        }
        // `stream.consumer`, or with a domain and an account before and a word behind.
        let numbers = match tokens.len() {
            9 => 4,
            11.. => 6,
            _ => return None,
        };
        let number = |index: usize| tokens.get(numbers + index)?.parse::<u64>().ok();
        Some(Self {
            prefix: tokens.get(..numbers)?.join("."),
            deliveries: number(0)?,
            sequence: number(1)?,
            delivery: number(2)?,
            nanos: number(3)?,
            pending: number(4)?,
        })
    }

    /// When the stream took it.
    pub(super) fn time(&self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(self.nanos))
    }

    /// Returns where another message of the same consumer is acknowledged, which the broker has delivered
    /// and which did not arrive.
    pub(super) fn reply_for(prefix: &str, sequence: u64, delivery: u64) -> String {
        // The broker looks at the sequence; the rest only has to be there.
        format!(
            "{prefix}.1.{sequence}.{delivery}.0.0{}",
            if prefix.split('.').count() > 4 { ".0.0" } else { "" }
        )
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let old = Received::read("$JS.ACK.ORDERS.billing.2.41.7.1700000000000000000.3").unwrap();
        assert_eq!((old.deliveries, old.sequence, old.delivery), (2, 41, 7));
        let new = "$JS.ACK.hub.acc.ORDERS.billing.2.41.7.1700000000000000000.3.x";
        assert_eq!(Received::read(new).unwrap().sequence, 41);
        for subject in [old, Received::read(new).unwrap()] {
            let again = Received::read(&Received::reply_for(subject.prefix(), 9, 3)).unwrap();
            assert_eq!((again.sequence, again.delivery, again.prefix()), (9, 3, subject.prefix()));
        }
        assert_eq!(Received::read("_INBOX.x"), None);
        assert_eq!(Received::read("$JS.ACK.a.b.x.y.z.0.0"), None);
    }
}
