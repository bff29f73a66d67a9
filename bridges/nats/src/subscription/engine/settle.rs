//! Telling the broker what is settled, and ending.

use std::time::Duration;

use async_nats::Message as Wire;
use bytes::Bytes;
use futures_util::StreamExt;
use sidespan_bridge::{Error, Fault};
use tokio::time::{Instant, timeout_at};

use super::Engine;
use super::pull::STAY;
use crate::link::at_once;
use crate::subscription::consumer::Durability;

impl Engine {
    /// Says what was settled since, and asks what the broker has of it.
    pub(super) fn say_what_is_settled(&mut self) {
        if !self.is_up() {
            return;
        }
        let now = Instant::now();
        let words = {
            let mut state = self.shared.lock();
            if state.acks.is_overdue(now) {
                state.acks.again();
                drop(state);
                self.health.doubt();
                self.shared.lock().acks.words(now)
            } else {
                state.acks.words(now)
            }
        };
        for word in words {
            let answer_at = word.answer.map(|number| format!("{}.{number}", self.answers));
            if !self.say(word.to, answer_at, Bytes::from(word.text)) {
                // As with a lost connection: all of it is said again.
                return self.shared.lock().acks.again();
            }
        }
    }

    /// The broker has something.
    pub(super) fn confirmed(&mut self, wire: &Wire) {
        // By a new connection its word does not hold for what was said by the one before.
        if self.api.connections() != self.connections {
            return;
        }
        let end = wire.subject.rsplit('.').next();
        if end == Some(STAY) {
            return self.stayed(wire);
        }
        // Without a consumer nobody takes it, and the broker says so.
        if wire.status.is_some() {
            return self.health.doubt();
        }
        if let Some(number) = end.and_then(|number| number.parse().ok()) {
            self.shared.lock().acks.confirm(number);
            self.health.settled();
        }
    }

    /// Intake was stopped: what was not handed out goes back, and no request stays open.
    pub(super) async fn give_back(&mut self) {
        self.returned = true;
        // No more comes, but for what is on its way.
        let _ = at_once(self.deliveries.drain());
        self.pull.forget();
        let replies: Vec<String> = {
            let mut state = self.shared.lock();
            let sequences = state.shelf.clear();
            sequences
                .into_iter()
                .filter_map(|sequence| state.let_go(sequence))
                .map(|held| held.reply)
                .collect()
        };
        if self.settles() {
            for reply in replies {
                self.tell(reply, "-NAK");
            }
        }
    }

    /// Hands over what was settled, gives back the rest, and lets go.
    pub(super) async fn close(&mut self, deadline: Instant) -> Result<(), Error> {
        self.shared.lock().intake = false;
        if !self.settles() {
            self.wanted.delete(&self.api, &self.place.stream, deadline.min(Instant::now() + SHORT)).await;
            return Ok(());
        }
        if !self.returned {
            self.give_back().await;
        }
        // In order, so that they come to the next member in order.
        let replies: Vec<String> = {
            let mut state = self.shared.lock();
            let mut sequences: Vec<u64> = state.held.keys().copied().collect();
            sequences.sort_unstable();
            state.acks.want_all();
            sequences
                .into_iter()
                .filter_map(|sequence| state.let_go(sequence))
                .map(|held| held.reply)
                .collect()
        };
        for reply in replies {
            self.tell(reply, "-NAK");
        }
        let handed_over = timeout_at(deadline, self.hand_over()).await;
        if let (Durability::Ordered { .. }, Some(_)) = (self.wanted.durability, self.pin.id()) {
            self.wanted.unpin(&self.api, &self.place.stream, deadline.min(Instant::now() + SHORT)).await;
        }
        handed_over.unwrap_or_else(|_| {
            Err(Error::new(Fault::Timeout)
                .detail("nats did not confirm all settlements in time: some messages may come again"))
        })
    }

    async fn hand_over(&mut self) -> Result<(), Error> {
        loop {
            self.follow_the_link().await?;
            self.say_what_is_settled();
            if self.shared.lock().acks.is_empty() {
                // Releases are without an answer: let them leave before the connection may.
                let _ = self.api.client.flush().await;
                return Ok(());
            }
            let wait = Instant::now() + TICK;
            if let Ok(Some(confirmation)) = timeout_at(wait, self.confirmations.next()).await {
                self.confirmed(&confirmation);
            }
        }
    }
}

/// How long a courtesy may take.
const SHORT: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);
