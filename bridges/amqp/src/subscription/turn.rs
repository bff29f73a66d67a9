//! What the reader of a subscription does next.

use std::sync::Arc;

use sidespan_bridge::{AckToken, Delivery, Error, Event, Lane};
use tokio::time::Instant;

use super::shared::{Arrived, Shared, Stretch};
use super::token::Token;

/// What the reader does now.
#[expect(clippy::large_enum_variant, reason = "nearly all turns are deliveries, and none is kept")]
pub(super) enum Turn {
    /// This comes next.
    Event(Event),
    /// Nothing until somebody calls, or until then.
    Wait(Option<Instant>),
    /// That was all.
    End(Option<Error>),
}

impl Shared {
    /// Says what the reader does now.
    pub(super) fn turn(self: &Arc<Self>) -> Turn {
        let mut state = self.lock();
        if let Some(event) = state.events.pop_front() {
            return Turn::Event(event);
        }
        if state.ended {
            return Turn::End(None);
        }
        if let Some(end) = state.end.take() {
            state.ended = true;
            return Turn::End(end.err());
        }
        if state.intake_stopped {
            return Turn::Wait(None);
        }
        // In turn, so that a message that is released over and over doesn't keep out the others.
        state.waited_last = !state.waited_last;
        let waited_last = state.waited_last;
        let Some(stretch) = &mut state.stretch else { return Turn::Wait(None) };
        let arrived = if waited_last {
            stretch.take_due().or_else(|| self.read(stretch))
        } else {
            self.read(stretch).or_else(|| stretch.take_due())
        };
        match arrived {
            Some(arrived) => Turn::Event(Event::Delivery(self.deliver(stretch, arrived))),
            None => Turn::Wait(stretch.waiting.due()),
        }
    }

    /// Takes the next message that the window has room for.
    fn read(&self, stretch: &mut Stretch) -> Option<Arrived> {
        loop {
            let weight = stretch.fresh.front()?.message.weight();
            let full =
                stretch.held >= self.window.messages || stretch.held_bytes + weight > self.window.bytes;
            if full && stretch.held > 0 {
                return None;
            }
            let arrived = stretch.fresh.pop_front()?;
            stretch.held += 1;
            stretch.held_bytes += weight;
            let lane = Lane::of(self.order, stretch.epoch, arrived.tag, &arrived.message);
            if !stretch.waiting.blocks(&lane) {
                return Some(arrived);
            }
            stretch.waiting.insert(lane, arrived.tag, Instant::now(), arrived);
        }
    }

    fn deliver(self: &Arc<Self>, stretch: &Stretch, arrived: Arrived) -> Delivery {
        Delivery {
            message: arrived.message.clone(),
            topic: arrived.topic.clone(),
            shard: self.shard.clone(),
            epoch: stretch.epoch,
            position: None,
            redelivered: arrived.before,
            lost: stretch.lost.clone(),
            ack: AckToken::new(Token::new(Arc::clone(self), stretch.epoch, arrived)),
        }
    }
}
