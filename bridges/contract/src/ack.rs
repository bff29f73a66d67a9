//! Settling a delivery.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;

/// The duty to settle one delivery. Dropped unsettled, it releases the message at once.
pub struct AckToken(Option<Box<dyn Settle>>);

impl AckToken {
    /// Wraps what the bridge does to settle.
    pub fn new(settle: impl Settle + 'static) -> Self {
        Self(Some(Box::new(settle)))
    }

    /// Settles the delivery; the bridge has taken the verdict when this returns.
    ///
    /// Nobody needs to await the result: it is for those who must know that the broker has it.
    pub fn settle(mut self, verdict: Verdict) -> Settled {
        match self.0.take() {
            Some(inner) => inner.settle(verdict),
            None => Settled::ready(Settlement::Stale),
        }
    }
}

impl AckToken {
    /// Returns what the message can be accepted by elsewhere, once this process is gone: see
    /// `Bridge::accept`. `None` where only this token settles it.
    pub fn receipt(&self) -> Option<Box<str>> {
        self.0.as_ref().and_then(|inner| inner.receipt())
    }
}

impl Drop for AckToken {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            drop(inner.settle(Verdict::Release { after: Duration::ZERO }));
        }
    }
}

impl fmt::Debug for AckToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AckToken")
    }
}

/// What a bridge does when one of its deliveries is settled. Called once, and never blocks.
pub trait Settle: Send {
    /// Takes the verdict and returns a future that knows when the broker has it.
    fn settle(self: Box<Self>, verdict: Verdict) -> Settled;

    /// Returns what any other connection can accept the message by.
    fn receipt(&self) -> Option<Box<str>> {
        None
    }
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done: never deliver it again.
    Accept,
    /// Deliver it again, but not before `after` has passed.
    Release {
        /// The least wait.
        after: Duration,
    },
}

/// How a settlement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The broker has it: an accepted message is not seen again, even after a restart.
    Confirmed,
    /// The delivery was no longer ours, or the broker did not confirm: the message may come again.
    Stale,
}

/// Resolves once the broker has a settlement, or it is known to be stale.
///
/// Dropping it changes nothing.
pub struct Settled(State);

enum State {
    Pending(BoxFuture<'static, Settlement>),
    Ready(Settlement),
}

impl Settled {
    /// Returns a settlement that is already known.
    pub fn ready(settlement: Settlement) -> Self {
        Self(State::Ready(settlement))
    }

    /// Returns a settlement that `wait` will know. `wait` is not polled unless somebody asks.
    pub fn when(wait: impl Future<Output = Settlement> + Send + 'static) -> Self {
        Self(State::Pending(Box::pin(wait)))
    }
}

impl Future for Settled {
    type Output = Settlement;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Settlement> {
        match &mut self.0 {
            State::Pending(wait) => wait.as_mut().poll(cx),
            State::Ready(settlement) => Poll::Ready(*settlement),
        }
    }
}

impl fmt::Debug for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settled")
    }
}
