//! The duty to settle one message.

use std::sync::Arc;
use std::time::Duration;

use sidespan_bridge::{Epoch, Settle, Settled, Settlement, Verdict};
use tokio::time::Instant;

use super::shared::{Kind, Shared};
use super::shelf::Item;

/// Settles one message.
pub(super) struct Token {
    shared: Arc<Shared>,
    epoch: Epoch,
    sequence: u64,
    /// The message, where a release is kept here.
    again: Option<Item>,
}

impl Token {
    pub(super) fn new(shared: Arc<Shared>, epoch: Epoch, sequence: u64, again: Option<Item>) -> Self {
        Self { shared, epoch, sequence, again }
    }
}

impl Settle for Token {
    fn settle(self: Box<Self>, verdict: Verdict) -> Settled {
        let Self { shared, epoch, sequence, again } = *self;
        let mut state = shared.lock();
        if state.epoch != epoch {
            return Settled::ready(Settlement::Stale);
        }
        if let (Verdict::Release { after }, Some(item), true) = (verdict, again, state.intake) {
            state.take_back(sequence, Instant::now() + after.min(LONGEST_DELAY), item);
            drop(state);
            shared.reader.notify_one();
            let kept = shared.kind == Kind::Ordered;
            return Settled::ready(if kept { Settlement::Confirmed } else { Settlement::Stale });
        }
        let Some(held) = state.let_go(sequence) else { return Settled::ready(Settlement::Stale) };
        let settling = match shared.kind {
            Kind::Ordered | Kind::Shared => Some(state.acks.settle(sequence, held.time, held.reply, verdict)),
            Kind::Core | Kind::CoreCursor | Kind::Cursor => None,
        };
        drop(state);
        shared.engine.notify_one();
        shared.reader.notify_one();
        let Some((number, outcome)) = settling else { return Settled::ready(Settlement::Stale) };
        Settled::when(async move {
            shared.lock().acks.want(number);
            shared.engine.notify_one();
            outcome.await.unwrap_or(Settlement::Stale)
        })
    }

    /// An acknowledgement is a message to the reply subject, whoever sends it. In order, only the active
    /// member knows what came before.
    fn receipt(&self) -> Option<Box<str>> {
        if self.shared.kind != Kind::Shared {
            return None;
        }
        let state = self.shared.lock();
        let held = state.held.get(&self.sequence).filter(|_| state.epoch == self.epoch)?;
        Some(held.reply.as_str().into())
    }
}

/// A delay is cut to this, as instants have an end.
const LONGEST_DELAY: Duration = Duration::from_secs(366 * 24 * 3600);
