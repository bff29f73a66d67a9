//! What became of each message of a publish, and how much is on its way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidespan_bridge::{Error, Fault, Receipt};
use tokio::sync::Notify;

/// The outcomes of one publish.
pub(super) struct Batch {
    inner: Mutex<Inner>,
    concluded: Notify,
}

struct Inner {
    slots: Vec<Slot>,
    open: usize,
    /// The caller has its answer; what is not handed over by now never will be.
    answered: bool,
}

enum Slot {
    Waiting,
    Handed,
    Known(Result<Receipt, Error>),
}

/// The place where one message's outcome is to be said. Dropped, it says what is then true.
pub(super) struct Ticket {
    batch: Arc<Batch>,
    index: usize,
    _share: Share,
}

impl Batch {
    pub(super) fn new(messages: usize) -> Arc<Self> {
        let slots = (0..messages).map(|_| Slot::Waiting).collect();
        let inner = Inner { slots, open: messages, answered: false };
        Arc::new(Self { inner: Mutex::new(inner), concluded: Notify::new() })
    }

    pub(super) fn ticket(self: &Arc<Self>, index: usize, share: Share) -> Ticket {
        Ticket { batch: Arc::clone(self), index, _share: share }
    }

    /// Notes what became of a message; the first word holds.
    pub(super) fn conclude(&self, index: usize, outcome: Result<Receipt, Error>) {
        let mut inner = self.lock();
        let Some(slot) = inner.slots.get_mut(index).filter(|slot| !matches!(slot, Slot::Known(_))) else {
            return;
        };
        *slot = Slot::Known(outcome);
        inner.open -= 1;
        if inner.open == 0 {
            drop(inner);
            self.concluded.notify_one();
        }
    }

    /// Waits until all is known.
    pub(super) async fn until_concluded(&self) {
        while self.lock().open > 0 {
            self.concluded.notified().await;
        }
    }

    /// Answers for every message, whether its outcome is known or not.
    pub(super) fn outcomes(&self) -> Vec<Result<Receipt, Error>> {
        let mut inner = self.lock();
        inner.answered = true;
        let answer = |slot| match slot {
            Slot::Known(outcome) => outcome,
            Slot::Handed => Err(Fault::Timeout.into()),
            Slot::Waiting => Err(Error::new(Fault::Unavailable)
                .detail("rabbitmq was not ready before the deadline; nothing was handed over")),
        };
        std::mem::take(&mut inner.slots).into_iter().map(answer).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Tells whether the message may be handed over; from here on it may be stored.
    pub(super) fn hand_over(&self) -> bool {
        let mut inner = self.batch.lock();
        if inner.answered {
            return false;
        }
        if let Some(slot) = inner.slots.get_mut(self.index) {
            *slot = Slot::Handed;
        }
        true
    }

    /// Says what became of the message.
    pub(super) fn conclude(self, outcome: Result<Receipt, Error>) {
        self.batch.conclude(self.index, outcome);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let handed = matches!(self.batch.lock().slots.get(self.index), Some(Slot::Handed));
        let fault = if handed { Fault::Timeout } else { Fault::Unavailable };
        self.batch.conclude(self.index, Err(fault.into()));
    }
}

/// Bounds what is on its way, in messages and bytes.
#[derive(Default)]
pub(super) struct Budget {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    empty: Notify,
}

/// A share of the budget, given back when dropped.
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// Takes a share, if there is one.
    pub(super) fn admit(self: &Arc<Self>, weight: usize) -> Option<Share> {
        let bytes = weight + OVERHEAD;
        let messages = self.messages.fetch_add(1, Ordering::AcqRel);
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let share = Share { budget: Arc::clone(self), bytes };
        // One message always passes, so that none is too large for ever.
        (messages < MESSAGES && (before == 0 || before + bytes <= BYTES)).then_some(share)
    }

    pub(super) async fn until_empty(&self) {
        loop {
            let emptied = self.empty.notified();
            if self.messages.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        if self.budget.messages.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.budget.empty.notify_waiters();
        }
    }
}

const MESSAGES: usize = 1 << 16;
const BYTES: usize = 64 << 20;
/// What a message costs beside its bytes.
const OVERHEAD: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(batch: &Arc<Batch>, index: usize) -> Ticket {
        batch.ticket(index, Arc::new(Budget::default()).admit(1).unwrap())
    }

    fn faults(batch: &Batch) -> Vec<Fault> {
        batch.outcomes().into_iter().map(|outcome| outcome.unwrap_err().fault).collect()
    }

    #[test]
    fn what_was_not_handed_over_by_the_answer_never_is() {
        let batch = Batch::new(2);
        let (first, second) = (ticket(&batch, 0), ticket(&batch, 1));
        assert!(first.hand_over());
        assert_eq!(faults(&batch), [Fault::Timeout, Fault::Unavailable]);
        assert!(!second.hand_over());
    }

    #[tokio::test]
    async fn a_ticket_that_is_dropped_says_what_is_true() {
        let batch = Batch::new(2);
        let (handed, waiting) = (ticket(&batch, 0), ticket(&batch, 1));
        assert!(handed.hand_over());
        drop((handed, waiting));
        batch.until_concluded().await;
        assert_eq!(faults(&batch), [Fault::Timeout, Fault::Unavailable]);
    }

    #[test]
    fn the_budget_refuses_past_its_bound_and_recovers() {
        let budget = Arc::new(Budget::default());
        let large = budget.admit(BYTES).unwrap();
        assert!(budget.admit(1).is_none());
        drop(large);
        let held: Vec<Share> = (0..MESSAGES).map(|_| budget.admit(1).unwrap()).collect();
        assert!(budget.admit(1).is_none());
        drop(held);
        assert!(budget.admit(1).is_some());
    }
}
