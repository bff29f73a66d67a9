//! A message on its way through the client.
//!
//! The client's own thread hears what became of it. Would it conclude the ticket, it would wake each
//! caller by a call to the system; so it passes the outcome on, and the task that hands messages over
//! concludes all that came together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sidespan_bridge::{Error, Receipt, Ticket};
use tokio::sync::mpsc;

/// A ticket that is concluded by way of the [`Heard`].
pub(crate) struct Flight {
    ticket: Ticket,
    aloft: Aloft,
}

/// Where outcomes come in.
pub(super) struct Heard(mpsc::UnboundedReceiver<Landing>);

/// Where outcomes are told. Clones are cheap.
#[derive(Clone)]
pub(super) struct Tell(Arc<Telling>);

struct Telling {
    /// Bounded by the budget, of which each ticket holds a share.
    landings: mpsc::UnboundedSender<Landing>,
    /// How many messages are with the client.
    aloft: AtomicUsize,
}

pub(super) type Landing = (Flight, Result<Receipt, Error>);

/// Counts a message from when it is handed over.
struct Aloft {
    tell: Tell,
    counted: AtomicBool,
}

/// Makes both ends.
pub(super) fn channel() -> (Tell, Heard) {
    let (landings, heard) = mpsc::unbounded_channel();
    (Tell(Arc::new(Telling { landings, aloft: AtomicUsize::new(0) })), Heard(heard))
}

impl Flight {
    pub(super) fn new(ticket: Ticket, tell: &Tell) -> Self {
        Self { ticket, aloft: Aloft { tell: tell.clone(), counted: AtomicBool::new(false) } }
    }

    /// Tells whether the message may be handed over; from here on it may be stored.
    pub(super) fn hand_over(&self) -> bool {
        let may = self.ticket.hand_over();
        if may && !self.aloft.counted.swap(true, Ordering::AcqRel) {
            self.aloft.tell.0.aloft.fetch_add(1, Ordering::AcqRel);
        }
        may
    }

    /// Says what became of the message.
    pub(super) fn conclude(self, outcome: Result<Receipt, Error>) {
        let tell = self.aloft.tell.clone();
        // Nobody hears any more where the bridge has ended.
        if let Err(mpsc::error::SendError((flight, outcome))) = tell.0.landings.send((self, outcome)) {
            flight.ticket.conclude(outcome);
        }
    }
}

impl Tell {
    /// Returns how many messages are with the client.
    pub(super) fn aloft(&self) -> usize {
        self.0.aloft.load(Ordering::Acquire)
    }
}

impl Heard {
    /// Waits for outcomes, and concludes all that are there. Cancel-safe.
    pub(super) async fn conclude(&mut self, landings: &mut Vec<Landing>) {
        let most = landings.capacity().max(1);
        self.0.recv_many(landings, most).await;
        landings.drain(..).for_each(|(flight, outcome)| flight.ticket.conclude(outcome));
    }
}

impl Drop for Aloft {
    fn drop(&mut self) {
        if *self.counted.get_mut() {
            self.tell.0.aloft.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
