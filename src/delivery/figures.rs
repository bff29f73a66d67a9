//! What a subscription tells of itself when somebody looks.

use std::sync::atomic::Ordering;

use sidespan_bridge::Lag;

use super::meter::{Meter, address};
use super::{Running, State, Status};
use crate::config::Subscription;
use crate::telemetry::metrics::Snapshot;
use crate::telemetry::names::{
    self, BRIDGE, DESTINATION, GROUP, KAFKA_GROUP, KAFKA_TOPIC, OPERATION, OUTCOME, REASON, SERVER_ADDRESS,
    STATE, SUBSCRIPTION, SYSTEM,
};

impl Running {
    /// Puts how it is doing into a snapshot. `system` is what its bridge speaks to, `lag` what its group had not
    /// settled lately, if that is known.
    pub fn figures(&self, system: &str, lag: Option<Lag>, out: &mut Snapshot) {
        let subscription = self.subscription();
        let labels = [(SUBSCRIPTION, subscription.name.as_str())];
        let status = self.status();
        out.put(&names::UNDELIVERABLE, &labels, status.undeliverable);
        out.put(&names::IN_FLIGHT, &labels, status.in_flight);
        out.put(&names::MAX_IN_FLIGHT, &labels, subscription.max_in_flight);
        out.put(&names::HELD, &labels, status.held);
        out.put(&names::MAX_HELD, &labels, subscription.max_held.messages);
        out.put(&names::MAX_HELD_BYTES, &labels, subscription.max_held.bytes);
        out.put(&names::BREAKER_OPEN, &labels, status.endpoint.is_some());
        if let Some(shelf) = self.shelf() {
            out.put(&names::LEASES_OUT, &labels, shelf.leases());
        }
        states(&status, subscription, out);
        if let Some(Lag { messages, oldest }) = lag {
            out.put(&names::LAG, &labels, messages);
            let age = if messages == 0 { Some(0.0) } else { oldest.map(|oldest| oldest.as_secs_f64()) };
            if let Some(age) = age {
                out.put(&names::OLDEST_UNSETTLED, &labels, age);
            }
            if system == KAFKA {
                let pattern = subscription.pattern.to_string();
                let labels = [(KAFKA_GROUP, &*subscription.group), (KAFKA_TOPIC, pattern.as_str())];
                out.put(&names::KAFKA_LAG, &labels, messages);
            }
        }
        if let Some(meter) = &self.board.meter {
            meter.tell(subscription, system, out);
        }
    }
}

impl Meter {
    fn tell(&self, subscription: &Subscription, system: &str, out: &mut Snapshot) {
        let Self { tally, consumed, process, settle } = self;
        let name = (SUBSCRIPTION, subscription.name.as_str());
        let (system, topic) = ((SYSTEM, system), (DESTINATION, subscription.topic.as_str()));
        let labels = [system, topic, (GROUP, &*subscription.group), name];
        out.put(&names::CONSUMED_MESSAGES, &labels, consumed.value());
        out.put(&names::DELIVERY_RETRIES, &[name], tally.retries.value());
        out.put(&names::DELIVERY_DROPPED, &[name], tally.dropped.value());
        out.put(&names::REBALANCES, &[name], tally.lost.value());
        out.put(&names::HELD_BYTES, &[name], tally.held_bytes.load(Ordering::Relaxed));
        out.put(&names::LANES, &[name], tally.lanes.value());
        for (outcome, count) in [
            ("accepted", &tally.accepted),
            ("failed", &tally.failed),
            ("gone", &tally.gone),
            ("refused", &tally.refused),
            ("unavailable", &tally.unavailable),
        ] {
            out.put(&names::DELIVERY_ATTEMPTS, &[name, (OUTCOME, outcome)], count.value());
        }
        for (reason, count) in [("exhausted", &tally.buried_exhausted), ("refused", &tally.buried_refused)] {
            out.put(&names::DEAD_LETTERS, &[name, (REASON, reason)], count.value());
        }
        match subscription.target.push().map(address) {
            Some(address) => {
                let labels = [system, topic, name, (SERVER_ADDRESS, address.as_str())];
                process.tell(&names::PROCESS_DURATION, &labels, out);
            }
            None => process.tell(&names::PROCESS_DURATION, &[system, topic, name], out),
        }
        let bridge = (BRIDGE, subscription.bridge.as_str());
        let labels = [(OPERATION, "settle"), system, topic, bridge, name];
        settle.tell(&names::OPERATION_DURATION, &labels, out);
    }
}

fn states(status: &Status, subscription: &Subscription, out: &mut Snapshot) {
    let is = match &status.state {
        State::Drained => "drained",
        State::Draining => "draining",
        State::Paused(_) => "paused",
        State::Retrying(_) => "retrying",
        State::Running => "running",
        State::Starting => "starting",
        State::Stopped => "stopped",
    };
    for state in ["starting", "running", "retrying", "paused", "draining", "drained", "stopped"] {
        let labels = [(SUBSCRIPTION, subscription.name.as_str()), (STATE, state)];
        out.put(&names::SUBSCRIPTION_STATE, &labels, state == is);
    }
}

/// The system whose lag goes by the name that its exporters use, too.
const KAFKA: &str = "kafka";
