//! How much may be unanswered at one broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Error;

/// Counts messages and bytes in flight to one broker, and refuses beyond its bounds: overload is
/// answered, not queued.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    messages: Counter,
    bytes: Counter,
}

impl Counts {
    fn take(&self, messages: usize, bytes: usize) -> Result<(), Error> {
        if !self.messages.take(messages) {
            return Err(Error::Saturated { limit: "limits.max_in_flight" });
        }
        if !self.bytes.take(bytes) {
            self.messages.give(messages);
            return Err(Error::Saturated { limit: "limits.max_in_flight_bytes" });
        }
        Ok(())
    }
}

impl Budget {
    /// Makes a budget of so many messages and bytes.
    pub fn new(messages: usize, bytes: usize) -> Self {
        Self(Arc::new(Counts { messages: Counter::new(messages), bytes: Counter::new(bytes) }))
    }

    /// Takes from the budget until the admission is dropped.
    ///
    /// # Errors
    ///
    /// `Saturated`, when it does not have as much left.
    pub fn admit(&self, messages: usize, bytes: usize) -> Result<Admission, Error> {
        self.0.take(messages, bytes)?;
        Ok(Admission { counts: self.0.clone(), messages, bytes })
    }

    /// Returns how many messages are in flight.
    pub fn in_flight(&self) -> usize {
        self.0.messages.taken.load(Ordering::Relaxed)
    }

    /// Returns how many bytes are.
    pub fn bytes_in_flight(&self) -> usize {
        self.0.bytes.taken.load(Ordering::Relaxed)
    }
}

/// A part of a budget, given back when dropped.
#[derive(Debug)]
pub struct Admission {
    counts: Arc<Counts>,
    messages: usize,
    bytes: usize,
}

impl Admission {
    /// Takes more, as a body turns out to hold more.
    ///
    /// # Errors
    ///
    /// `Saturated`; what was had before stays.
    pub fn grow(&mut self, messages: usize, bytes: usize) -> Result<(), Error> {
        self.counts.take(messages, bytes)?;
        self.messages += messages;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.counts.messages.give(self.messages);
        self.counts.bytes.give(self.bytes);
    }
}

#[derive(Debug)]
struct Counter {
    taken: AtomicUsize,
    most: usize,
}

impl Counter {
    fn new(most: usize) -> Self {
        Self { taken: AtomicUsize::new(0), most }
    }

    fn take(&self, amount: usize) -> bool {
        let fits = |taken: usize| taken.checked_add(amount).filter(|sum| *sum <= self.most);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    fn give(&self, amount: usize) {
        self.taken.fetch_sub(amount, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back() {
        let budget = Budget::new(2, 10);
        let first = budget.admit(1, 8).unwrap();
        assert!(matches!(budget.admit(1, 3), Err(Error::Saturated { limit: "limits.max_in_flight_bytes" })));
        assert!(matches!(budget.admit(2, 1), Err(Error::Saturated { limit: "limits.max_in_flight" })));
        drop(first);
        assert_eq!(budget.in_flight(), 0);
        let mut all = budget.admit(1, 1).unwrap();
        all.grow(1, 9).unwrap();
        assert!(all.grow(0, 1).is_err());
        drop(all);
        assert!(budget.admit(2, 10).is_ok());
    }
}
