//! What became of each message of a batch, and how much is on its way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidespan_bridge::{Error, Fault, Receipt};
use tokio::sync::Notify;

/// The outcomes of one publish.
pub(super) struct Batch {
    slots: Mutex<Slots>,
    concluded: Notify,
}

struct Slots {
    outcomes: Vec<Slot>,
    open: usize,
    /// The caller has its answer; what is not handed over by now never will be.
    answered: bool,
}

enum Slot {
    Handed,
    Known(Result<Receipt, Error>),
    Waiting,
}

/// One message on its way, and where to say what became of it. Dropped unsaid, it is a timeout.
pub(super) struct Ticket {
    batch: Arc<Batch>,
    index: usize,
    _share: Share,
}

impl Batch {
    pub(super) fn new(messages: usize) -> Arc<Self> {
        let outcomes = (0..messages).map(|_| Slot::Waiting).collect();
        let slots = Slots { outcomes, open: messages, answered: false };
        Arc::new(Self { slots: Mutex::new(slots), concluded: Notify::new() })
    }

    pub(super) fn ticket(self: &Arc<Self>, index: usize, share: Share) -> Ticket {
        Ticket { batch: Arc::clone(self), index, _share: share }
    }

    /// Notes what became of a message; the first word holds.
    pub(super) fn conclude(&self, index: usize, outcome: Result<Receipt, Error>) {
        let mut slots = self.lock();
        match slots.outcomes.get_mut(index) {
            None | Some(Slot::Known(_)) => return,
            Some(slot) => *slot = Slot::Known(outcome),
        }
        slots.open -= 1;
        if slots.open == 0 {
            drop(slots);
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
        let mut slots = self.lock();
        slots.answered = true;
        let answer = |slot| match slot {
            Slot::Known(outcome) => outcome,
            Slot::Handed => Err(Fault::Timeout.into()),
            Slot::Waiting => Err(Error::new(Fault::Unavailable)
                .detail("nats was not reached before the deadline; nothing was handed over")),
        };
        std::mem::take(&mut slots.outcomes).into_iter().map(answer).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Tells whether the message may be handed over; from here on it may be stored.
    pub(super) fn hand_over(&self) -> bool {
        let mut slots = self.batch.lock();
        if slots.answered {
            return false;
        }
        if let Some(slot) = slots.outcomes.get_mut(self.index) {
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
        self.batch.conclude(self.index, Err(Fault::Timeout.into()));
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
    /// Takes a share, if there is one. One message always passes, so that none is too large for ever.
    pub(super) fn admit(self: &Arc<Self>, weight: usize) -> Option<Share> {
        let bytes = weight + OVERHEAD;
        let messages = self.messages.fetch_add(1, Ordering::AcqRel);
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let share = Share { budget: Arc::clone(self), bytes };
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

/// How many messages may be on their way at a time.
pub(super) const MESSAGES: usize = 32_768;
const BYTES: usize = 64 << 20;
/// What a message costs beside its bytes.
const OVERHEAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_not_handed_over_by_the_answer_never_is() {
        let budget = Arc::new(Budget::default());
        let batch = Batch::new(2);
        let first = batch.ticket(0, budget.admit(1).unwrap());
        let second = batch.ticket(1, budget.admit(1).unwrap());
        assert!(first.hand_over());
        let outcomes = batch.outcomes();
        assert_eq!(outcomes[0].as_ref().unwrap_err().fault, Fault::Timeout);
        assert_eq!(outcomes[1].as_ref().unwrap_err().fault, Fault::Unavailable);
        assert!(!second.hand_over());
        first.conclude(Err(Fault::Rejected.into()));
        drop(second);
        budget.until_empty().await;
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
