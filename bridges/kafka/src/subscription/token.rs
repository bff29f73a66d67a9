//! The duty to settle one message of a partition.

use std::sync::Arc;
use std::time::Duration;

use sidespan_bridge::{Epoch, Message, Settle, Settled, Settlement, Verdict};
use tokio::sync::watch;
use tokio::time::Instant;

use super::shard::{Claim, Owned, Progress};
use super::shared::Shared;

/// Settles one message. Keeps a copy, so that a release costs the broker nothing.
pub(super) struct Token {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    epoch: Epoch,
    offset: u64,
    message: Message,
}

impl Token {
    pub(super) fn new(shared: Arc<Shared>, owned: &Owned, offset: u64, message: Message) -> Self {
        Self { shared, progress: owned.progress.subscribe(), epoch: owned.epoch, offset, message }
    }
}

impl Settle for Token {
    fn settle(self: Box<Self>, verdict: Verdict) -> Settled {
        let Self { shared, progress, epoch, offset, message } = *self;
        let mut state = shared.lock();
        let Some(owned) = state.shards.get_mut(&epoch) else {
            return Settled::ready(Settlement::Stale);
        };
        owned.out = owned.out.saturating_sub(1);
        let leaving = owned.is_leaving();
        if leaving && owned.out == 0 {
            shared.quiet.notify_one();
        }
        match verdict {
            Verdict::Accept => {
                let claim =
                    if shared.durable { owned.accept(offset, &message) } else { owned.settle(offset) };
                let unparked = owned.unpark();
                state.let_go(epoch, message.weight());
                drop(state);
                if unparked {
                    shared.ready.push(epoch);
                }
                shared.ready.wake.notify_one();
                if !shared.durable {
                    return Settled::ready(Settlement::Stale);
                }
                Settled::when(confirmed(shared, progress, epoch, claim))
            }
            // A cursor settles nothing, and so it releases nothing.
            Verdict::Release { .. } if !shared.durable => {
                owned.settle(offset);
                let unparked = owned.unpark();
                state.let_go(epoch, message.weight());
                drop(state);
                if unparked {
                    shared.ready.push(epoch);
                }
                shared.ready.wake.notify_one();
                Settled::ready(Settlement::Stale)
            }
            Verdict::Release { after } => {
                if !leaving {
                    let due = Instant::now() + after.min(LONGEST_DELAY);
                    shared.release(&mut state, due, epoch, offset, message);
                }
                drop(state);
                shared.ready.wake.notify_one();
                Settled::ready(Settlement::Confirmed)
            }
        }
    }
}

/// Waits until the broker has a settlement, and has it told at once.
///
/// Whoever asks may rely on the answer: what is said to be stale must come again.
async fn confirmed(
    shared: Arc<Shared>,
    mut progress: watch::Receiver<Progress>,
    epoch: Epoch,
    claim: Claim,
) -> Settlement {
    shared.lock().forget(epoch, claim.offset);
    shared.urgent.notify_one();
    match progress.wait_for(|progress| progress.over || claim.is_met(progress)).await {
        Ok(progress) if claim.is_met(&progress) => Settlement::Confirmed,
        _ => Settlement::Stale,
    }
}

/// A delay is cut to this, as instants have an end.
const LONGEST_DELAY: Duration = Duration::from_secs(366 * 24 * 3600);
