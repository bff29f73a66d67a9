//! What the reader of a subscription does next.

use std::sync::Arc;

use sidespan_bridge::{AckToken, Delivery, Epoch, Error, Event, Lane, Message, Order};
use tokio::time::Instant;

use super::member::Change;
use super::shard::Read;
use super::shared::{Shared, State};
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
        let delivery = if state.waited_last {
            self.take_waiting(&mut state).or_else(|| self.read(&mut state))
        } else {
            self.read(&mut state).or_else(|| self.take_waiting(&mut state))
        };
        match delivery {
            Some(delivery) => Turn::Event(Event::Delivery(delivery)),
            None => Turn::Wait(state.waiting.due()),
        }
    }

    /// Takes the next message whose wait is over.
    fn take_waiting(self: &Arc<Self>, state: &mut State) -> Option<Delivery> {
        let now = Instant::now();
        while let Some((epoch, offset, message)) = state.waiting.take(now) {
            if self.order == Order::Topic {
                // Its partition was not read while this one waited.
                self.ready.push(epoch);
            }
            let delivery = self.deliver(state, epoch, offset, message);
            if delivery.is_some() {
                return delivery;
            }
        }
        None
    }

    /// Reads the next message that the window has room for.
    fn read(self: &Arc<Self>, state: &mut State) -> Option<Delivery> {
        loop {
            if state.held >= self.window.messages + usize::from(state.set_aside.is_some()) {
                return None;
            }
            let (epoch, offset, message) = match state.set_aside.take() {
                Some(aside) => aside,
                None => self.read_any(state)?,
            };
            // What is set aside is held too, and counted.
            if state.held_bytes > self.window.bytes && state.held > 1 {
                state.set_aside = Some((epoch, offset, message));
                return None;
            }
            let lane = Lane::of(self.order, epoch, offset, &message);
            if state.waiting.blocks(&lane) {
                state.waiting.insert(lane, offset, Instant::now(), message);
                continue;
            }
            if let Some(delivery) = self.deliver(state, epoch, offset, message) {
                return Some(delivery);
            }
        }
    }

    /// Reads the partitions that have something in turn.
    fn read_any(&self, state: &mut State) -> Option<(Epoch, u64, Message)> {
        while let Some(epoch) = self.ready.pop() {
            if self.order == Order::Topic && state.waiting.blocks(&Lane::all(epoch)) {
                continue;
            }
            let Some(owned) = state.shards.get_mut(&epoch) else { continue };
            match owned.read() {
                Read::Message(offset, message) => {
                    self.ready.push(epoch);
                    state.held += 1;
                    state.held_bytes += message.weight();
                    return Some((epoch, offset, message));
                }
                Read::Nothing => self.ready.push(epoch),
                Read::Empty => {}
                Read::OutOfRange => {
                    // The receiver is gone only when the subscription ends.
                    let _ = self.changes.send(Change::OutOfRange(epoch));
                }
            }
        }
        None
    }

    fn deliver(
        self: &Arc<Self>,
        state: &mut State,
        epoch: Epoch,
        offset: u64,
        message: Message,
    ) -> Option<Delivery> {
        let owned = state.shards.get_mut(&epoch).filter(|owned| !owned.is_leaving())?;
        owned.out += 1;
        let token = Token::new(Arc::clone(self), owned, offset, message.clone());
        Some(Delivery {
            message,
            topic: owned.partition.topic.clone(),
            shard: owned.shard.clone(),
            epoch,
            position: owned.position(offset),
            redelivered: None,
            lost: owned.lost.clone(),
            ack: AckToken::new(token),
        })
    }
}
