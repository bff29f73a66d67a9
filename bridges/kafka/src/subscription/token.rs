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
                let claim = owned.settle(offset);
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
                let unasked = Unasked { shared, epoch, claim, message: Some(message) };
                Settled::when(unasked.confirmed(progress))
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

/// An accepted message that nobody has asked about yet.
///
/// Whoever asks may rely on the answer: what is said to be stale must come again. So only what was
/// dropped unasked is remembered as done whatever the broker hears of it.
struct Unasked {
    shared: Arc<Shared>,
    epoch: Epoch,
    claim: Claim,
    message: Option<Message>,
}

impl Unasked {
    /// Waits until the broker has the settlement, and has it told at once.
    async fn confirmed(mut self, mut progress: watch::Receiver<Progress>) -> Settlement {
        let claim = self.claim;
        self.message = None;
        self.shared.urgent.notify_one();
        match progress.wait_for(|progress| progress.over || claim.is_met(progress)).await {
            Ok(progress) if claim.is_met(&progress) => Settlement::Confirmed,
            _ => Settlement::Stale,
        }
    }
}

impl Drop for Unasked {
    fn drop(&mut self) {
        if let Some(message) = self.message.take()
            && let Some(owned) = self.shared.lock().shards.get_mut(&self.epoch)
        {
            owned.remember(self.claim, &message);
        }
    }
}

/// A delay is cut to this, as instants have an end.
const LONGEST_DELAY: Duration = Duration::from_secs(366 * 24 * 3600);

#[cfg(test)]
mod tests {
    use rdkafka::consumer::BaseConsumer;
    use serde_json::json;
    use sidespan_bridge::{Order, Settings, Topic, Window};
    use tokio::sync::mpsc;

    use super::super::member::Member;
    use super::super::memory::Memory;
    use super::*;
    use crate::catalogue::Partition;
    use crate::clients::Clients;
    use crate::offsets::SkipSet;
    use crate::settings::KafkaSettings;

    const EPOCH: Epoch = Epoch(1);

    /// Returns a token of a partition that is read no further for want of room.
    fn parked(durable: bool) -> (Arc<Shared>, Box<Token>) {
        let (changes, _) = mpsc::unbounded_channel();
        let settings = Settings::new("s", json!({"brokers": ["127.0.0.1:1"]}));
        let clients = Clients::new(KafkaSettings::read(&settings).unwrap(), "s".into());
        let (config, line) = clients.consumer("g").unwrap();
        let member = Member::new(changes.clone(), line);
        let consumer: Arc<BaseConsumer<Member>> = Arc::new(config.create_with_context(member).unwrap());
        let queue = consumer.split_partition_queue("orders", 0).unwrap();
        let shared =
            Arc::new(Shared::new((Window::default(), Order::None), durable, Arc::default(), changes));
        let partition = Partition { topic: Topic::new("orders"), number: 0 };
        let mut owned = Owned::new(partition, EPOCH, queue, 0, (SkipSet::default(), Memory::default()));
        owned.parked = true;
        let token = Box::new(Token::new(Arc::clone(&shared), &owned, 0, Message::default()));
        shared.lock().shards.insert(EPOCH, owned);
        (shared, token)
    }

    #[test]
    fn a_partition_that_was_out_of_room_is_read_again_whatever_made_room() {
        let release = Verdict::Release { after: Duration::ZERO };
        for (durable, verdict) in [(true, Verdict::Accept), (false, Verdict::Accept), (false, release)] {
            let (shared, token) = parked(durable);
            drop(token.settle(verdict));
            assert_eq!(shared.ready.pop(), Some(EPOCH), "durable: {durable}, {verdict:?}");
        }
    }

    #[test]
    fn a_delay_without_end_is_a_long_one() {
        let (shared, token) = parked(true);
        drop(token.settle(Verdict::Release { after: Duration::MAX }));
        assert!(shared.lock().waiting.due().is_some_and(|due| due > Instant::now()));
    }
}
