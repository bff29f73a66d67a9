//! What became of each message of a batch, and how much is on its way.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidespan_bridge::{Error, Fault, Message, Receipt};
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
    /// Not handed over.
    Waiting,
    /// With the client: it may be stored.
    Handed,
    /// Known.
    Known(Result<Receipt, Error>),
}

/// One message on its way, and where to say what became of it.
pub(crate) struct Ticket {
    batch: Arc<Batch>,
    index: usize,
    _permit: Permit,
}

impl Batch {
    pub(super) fn new(messages: usize) -> Arc<Self> {
        let slots = (0..messages).map(|_| Slot::Waiting).collect();
        let inner = Inner { slots, open: messages, answered: false };
        Arc::new(Self { inner: Mutex::new(inner), concluded: Notify::new() })
    }

    pub(super) fn ticket(
        self: &Arc<Self>,
        index: usize,
        message: Message,
        permit: Permit,
    ) -> (Message, Ticket) {
        (message, Ticket { batch: Arc::clone(self), index, _permit: permit })
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
                .detail("the broker was not ready before the deadline; nothing was handed over")),
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

/// Bounds what is on its way, in messages and bytes.
#[derive(Default)]
pub(super) struct Budget {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// Counts what has arrived or failed, ever: stands still when nothing moves.
    finished: AtomicU64,
    empty: Notify,
}

/// A share of the budget, given back when dropped.
pub(crate) struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// Takes a share, if there is one.
    pub(super) fn admit(self: &Arc<Self>, weight: usize) -> Option<Permit> {
        let bytes = weight + OVERHEAD;
        let messages = self.messages.fetch_add(1, Ordering::AcqRel);
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        // One message always passes, so that none is too large for ever.
        if messages < MESSAGES && (before == 0 || before + bytes <= BYTES) {
            return Some(Permit { budget: Arc::clone(self), bytes });
        }
        self.give_back(bytes);
        None
    }

    /// Returns how many messages are on their way, and a number that moves when they do.
    pub(super) fn progress(&self) -> (usize, u64) {
        (self.messages.load(Ordering::Acquire), self.finished.load(Ordering::Acquire))
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

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if self.messages.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.empty.notify_waiters();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.finished.fetch_add(1, Ordering::AcqRel);
        self.budget.give_back(self.bytes);
    }
}

/// As many as the client's own queue takes.
const MESSAGES: usize = 100_000;
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
        let (_, first) = batch.ticket(0, Message::default(), budget.admit(1).unwrap());
        let (_, second) = batch.ticket(1, Message::default(), budget.admit(1).unwrap());
        assert!(first.hand_over());
        let outcomes = batch.outcomes();
        assert_eq!(outcomes[0].as_ref().unwrap_err().fault, Fault::Timeout);
        assert_eq!(outcomes[1].as_ref().unwrap_err().fault, Fault::Unavailable);
        assert!(!second.hand_over());
        first.conclude(Err(Fault::Rejected.into()));
    }

    #[test]
    fn the_budget_refuses_past_its_bound_and_recovers() {
        let budget = Arc::new(Budget::default());
        let large = budget.admit(BYTES).unwrap();
        let before = budget.progress();
        assert!(budget.admit(1).is_none());
        assert_eq!(budget.progress(), before, "a refusal is no progress, and hides no broker that hangs");
        drop(large);
        let held: Vec<Permit> = (0..MESSAGES).map(|_| budget.admit(1).unwrap()).collect();
        assert!(budget.admit(1).is_none());
        drop(held);
        assert_eq!(budget.progress().0, 0);
    }
}
