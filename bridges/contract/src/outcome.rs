//! What publishers of bridges share: the outcomes of one publish, and how much may be on its way.
//!
//! A publisher makes a [`Batch`] for each call and a [`Ticket`] for each message that its [`Budget`]
//! admits. The call waits for the batch; whoever hears from the broker concludes the tickets, whether
//! or not the caller still waits.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{Error, Fault, Receipt};

/// The outcomes of one publish.
pub struct Batch {
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

/// The place where one message's outcome is to be said. Dropped, it says what is then true.
pub struct Ticket {
    batch: Arc<Batch>,
    index: usize,
    _share: Share,
}

impl Batch {
    /// Begins a publish of so many messages.
    pub fn new(messages: usize) -> Arc<Self> {
        let slots = (0..messages).map(|_| Slot::Waiting).collect();
        let inner = Inner { slots, open: messages, answered: false };
        Arc::new(Self { inner: Mutex::new(inner), concluded: Notify::new() })
    }

    /// Makes the ticket of a message that was admitted.
    pub fn ticket(self: &Arc<Self>, index: usize, share: Share) -> Ticket {
        Ticket { batch: Arc::clone(self), index, _share: share }
    }

    /// Notes what became of a message; the first word holds.
    pub fn conclude(&self, index: usize, outcome: Result<Receipt, Error>) {
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
    pub async fn until_concluded(&self) {
        while self.lock().open > 0 {
            self.concluded.notified().await;
        }
    }

    /// Answers for every message, whether its outcome is known or not: what was handed over may be
    /// stored (`Timeout`), and what was not never will be (`Unavailable`).
    pub fn outcomes(&self) -> Vec<Result<Receipt, Error>> {
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
    pub fn hand_over(&self) -> bool {
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
    pub fn conclude(self, outcome: Result<Receipt, Error>) {
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

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batch")
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket")
    }
}

/// Bounds what is on its way, in messages and bytes.
#[derive(Debug)]
pub struct Budget {
    most: usize,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// Counts what has arrived or failed, ever: stands still when nothing moves.
    finished: AtomicU64,
    empty: Notify,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// Makes a budget of so many messages, and of 64 MiB.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            finished: AtomicU64::new(0),
            empty: Notify::new(),
        })
    }

    /// Takes a share for a message of this weight, if there is one.
    pub fn admit(self: &Arc<Self>, weight: usize) -> Option<Share> {
        let bytes = weight + OVERHEAD;
        let messages = self.messages.fetch_add(1, Ordering::AcqRel);
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        // One message always passes, so that none is too large for ever.
        if messages < self.most && (before == 0 || before + bytes <= BYTES) {
            return Some(Share { budget: Arc::clone(self), bytes });
        }
        self.give_back(bytes);
        None
    }

    /// Returns how many messages are on their way, and a number that moves when they do.
    pub fn progress(&self) -> (usize, u64) {
        (self.messages.load(Ordering::Acquire), self.finished.load(Ordering::Acquire))
    }

    /// Waits until nothing is on its way.
    pub async fn until_empty(&self) {
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

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.finished.fetch_add(1, Ordering::AcqRel);
        self.budget.give_back(self.bytes);
    }
}

const BYTES: usize = 64 << 20;
/// What a message costs beside its bytes.
const OVERHEAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(batch: &Arc<Batch>, index: usize) -> Ticket {
        batch.ticket(index, Budget::new(1).admit(1).unwrap())
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
        first.conclude(Err(Fault::Rejected.into()));
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

    #[tokio::test]
    async fn the_budget_refuses_past_its_bound_and_recovers() {
        let budget = Budget::new(3);
        let large = budget.admit(BYTES).unwrap();
        let before = budget.progress();
        assert!(budget.admit(1).is_none());
        assert_eq!(budget.progress(), before, "a refusal is no progress, and hides no broker that hangs");
        drop(large);
        let held: Vec<Share> = (0..3).map(|_| budget.admit(1).unwrap()).collect();
        assert!(budget.admit(1).is_none());
        drop(held);
        budget.until_empty().await;
    }
}
