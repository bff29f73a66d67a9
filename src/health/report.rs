//! What the probes are told: in full for people who ask for it, else in words that name nothing of the
//! configuration.

use serde::Serialize;
use tokio::sync::watch;

use super::Answer;
use crate::config::Name;
use crate::delivery::{State, Status};
use crate::reload::FileReport;
use crate::subscriptions::RegistryReport;

/// How everything stands.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether every part is ready.
    pub ready: bool,
    /// Whether the server is stopping.
    pub draining: bool,
    /// Declared topics of which the broker has not said yet whether they exist.
    pub unknown_topics: usize,
    /// Each broker.
    pub bridges: Vec<BridgeReport>,
    /// Each subscription.
    pub subscriptions: Vec<SubscriptionReport>,
    /// Where those are kept that were made at run time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryReport>,
    /// What is to be said of the configuration file, if it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileReport>,
}

/// How the way from callers to the brokers stands.
#[derive(Debug, Serialize)]
pub struct PublishReport {
    /// Whether every broker takes messages that callers may publish to.
    pub ready: bool,
    /// Whether the server is stopping.
    pub draining: bool,
    /// Declared topics of which the broker has not said yet whether they exist.
    pub unknown_topics: usize,
    /// Each of those brokers.
    pub bridges: Vec<BridgeReport>,
}

/// How something stands, in few words.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Whether every part is ready.
    pub ready: bool,
    /// Whether the server is stopping.
    pub draining: bool,
    /// The kinds of parts of which some are not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<&'static str>,
}

impl Report {
    /// Says it in few words.
    pub fn summary(&self) -> Summary {
        let parts = [
            ("bridges", self.bridges.iter().all(|bridge| bridge.ready)),
            ("registry", self.registry.as_ref().is_none_or(|registry| registry.ready)),
            ("subscriptions", self.subscriptions.iter().all(SubscriptionReport::is_ready)),
            ("topics", self.unknown_topics == 0),
        ];
        Summary::new(self.ready, self.draining, parts)
    }
}

impl PublishReport {
    /// Says it in few words.
    pub fn summary(&self) -> Summary {
        let parts = [
            ("bridges", self.bridges.iter().all(|bridge| bridge.ready)),
            ("topics", self.unknown_topics == 0),
        ];
        Summary::new(self.ready, self.draining, parts)
    }
}

impl Summary {
    fn new<const N: usize>(ready: bool, draining: bool, parts: [(&'static str, bool); N]) -> Self {
        let waiting_for = parts.into_iter().filter(|(_, is_ready)| !is_ready).map(|(part, _)| part);
        Self { ready, draining, waiting_for: waiting_for.collect() }
    }
}

/// How a broker stands.
#[derive(Debug, Serialize)]
pub struct BridgeReport {
    pub(super) name: String,
    pub(super) ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl BridgeReport {
    pub(super) fn new((name, seen): &(Name, watch::Receiver<Answer>)) -> Self {
        let (ready, error) = match &*seen.borrow() {
            Answer::None => (false, Some("not asked yet".to_owned())),
            Answer::Ready => (true, None),
            Answer::Trouble(error) => (false, Some(error.clone())),
        };
        Self { name: name.to_string(), ready, error }
    }
}

/// How a subscription stands.
#[derive(Debug, Serialize)]
pub struct SubscriptionReport {
    name: String,
    #[serde(flatten)]
    status: Status,
}

impl SubscriptionReport {
    pub(super) fn new(name: &Name, status: Status) -> Self {
        Self { name: name.to_string(), status }
    }

    /// A receiver that says that it is gone (410) pauses its subscription; that is no reason to take the
    /// service out of service.
    pub(super) fn is_ready(&self) -> bool {
        match self.status.state {
            State::Paused(_) | State::Running => true,
            State::Drained | State::Draining | State::Retrying(_) | State::Starting | State::Stopped => false,
        }
    }
}
