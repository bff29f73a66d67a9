//! What the reader of a subscription does next.

use std::sync::Arc;

use sidespan_bridge::{AckToken, Delivery, Error, Event, Position};
use tokio::time::Instant;

use super::shared::{Kind, Shared, State};
use super::shelf::{Item, Next};
use super::token::Token;

/// What the reader is to do.
#[expect(clippy::large_enum_variant, reason = "nearly all turns are deliveries, and none is kept")]
pub(crate) enum Turn {
    End(Option<Error>),
    Event(Event),
    Wait(Option<Instant>),
}

impl Shared {
    /// Decides what the reader does next.
    pub(crate) fn turn(self: &Arc<Self>) -> Turn {
        let mut state = self.lock();
        if let Some(event) = state.events.pop_front() {
            return Turn::Event(event);
        }
        if let Some(end) = &mut state.end {
            return Turn::End(end.take());
        }
        let ended = state.lease.is_some_and(|lease| Instant::now() >= lease);
        if !state.intake || state.stalled || ended || state.out >= self.window.messages {
            return Turn::Wait(None);
        }
        let room =
            if state.out == 0 { usize::MAX } else { self.window.bytes.saturating_sub(state.out_bytes) };
        match state.shelf.take(Instant::now(), |message| message.weight() <= room) {
            Next::Item(sequence, item) => {
                Turn::Event(Event::Delivery(self.deliver(&mut state, sequence, item)))
            }
            Next::Nothing => Turn::Wait(None),
            Next::Until(due) => Turn::Wait(Some(due)),
        }
    }

    fn deliver(self: &Arc<Self>, state: &mut State, sequence: u64, item: Item) -> Delivery {
        if let Some(held) = state.held.get_mut(&sequence) {
            held.out = true;
            let weight = held.weight;
            state.out += 1;
            state.out_bytes += weight;
        }
        // What may be released here is kept; a broker that takes releases keeps it itself.
        let again = matches!(self.kind, Kind::Core | Kind::Ordered).then(|| item.clone());
        let token = Token::new(Arc::clone(self), state.epoch, sequence, again);
        let positioned = !matches!(self.kind, Kind::Core | Kind::CoreCursor);
        Delivery {
            message: item.message,
            topic: item.topic,
            shard: self.shard.clone(),
            epoch: state.epoch,
            position: positioned.then_some(Position { partition: 0, sequence }),
            redelivered: positioned.then_some(item.redelivered),
            lost: state.lost.clone(),
            ack: AckToken::new(token),
        }
    }
}
