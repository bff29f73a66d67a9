//! Whether Sidespan can do its work: what the probes of the kubelet are told.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::Name;
use crate::delivery::{Roster, State, Status};
use crate::prepare::Unknown;
use crate::publish::Outlet;
use crate::reload::{FileReport, FileState};
use crate::subscriptions::{RegistryReport, Subscriptions};

/// How often a bridge is asked whether its broker is there.
const EVERY: Duration = Duration::from_secs(2);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Watches the bridges and subscriptions.
pub struct Health {
    bridges: Vec<(Name, watch::Receiver<Answer>)>,
    unknown_topics: Unknown,
    roster: Arc<Roster>,
    subscriptions: Arc<Subscriptions>,
    file: Arc<FileState>,
    draining: CancellationToken,
    _probes: JoinSet<()>,
}

impl Health {
    /// Starts a probe for each bridge; they end when this is dropped.
    pub fn watch(
        outlets: impl Iterator<Item = Arc<Outlet>>,
        unknown_topics: Unknown,
        roster: Arc<Roster>,
        subscriptions: Arc<Subscriptions>,
        file: Arc<FileState>,
        draining: CancellationToken,
    ) -> Self {
        let mut probes = JoinSet::new();
        let mut bridges = Vec::new();
        for outlet in outlets {
            let (sender, receiver) = watch::channel(Answer::None);
            bridges.push((outlet.name().clone(), receiver));
            probes.spawn(probe(outlet, sender));
        }
        Self { bridges, unknown_topics, roster, subscriptions, file, draining, _probes: probes }
    }

    /// Tells how everything stands now.
    pub fn report(&self) -> Report {
        let bridges: Vec<BridgeReport> = self
            .bridges
            .iter()
            .map(|(name, seen)| {
                let (ready, error) = match &*seen.borrow() {
                    Answer::None => (false, Some("not asked yet".to_owned())),
                    Answer::Ready => (true, None),
                    Answer::Trouble(error) => (false, Some(error.clone())),
                };
                BridgeReport { name: name.to_string(), ready, error }
            })
            .collect();
        let subscriptions: Vec<SubscriptionReport> = self
            .roster
            .all()
            .iter()
            .map(|running| SubscriptionReport {
                name: running.subscription().name.to_string(),
                status: running.status(),
            })
            .collect();
        let registry = self.subscriptions.report();
        let draining = self.draining.is_cancelled();
        let unknown_topics = self.unknown_topics.count();
        let ready = !draining
            && unknown_topics == 0
            && registry.as_ref().is_none_or(|registry| registry.ready)
            && bridges.iter().all(|bridge| bridge.ready)
            && subscriptions.iter().all(|subscription| is_ready(&subscription.status.state));
        let file = self.file.report();
        Report { ready, draining, unknown_topics, bridges, subscriptions, registry, file }
    }
}

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

impl Report {
    /// Tells whether every broker takes messages, also while deliveries are being finished.
    pub fn can_publish(&self) -> bool {
        self.unknown_topics == 0 && self.bridges.iter().all(|bridge| bridge.ready)
    }
}

/// How a broker stands.
#[derive(Debug, Serialize)]
pub struct BridgeReport {
    name: String,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How a subscription stands.
#[derive(Debug, Serialize)]
pub struct SubscriptionReport {
    name: String,
    #[serde(flatten)]
    status: Status,
}

/// A receiver that says that it is gone (410) pauses its subscription; that is no reason to take the
/// service out of service.
fn is_ready(state: &State) -> bool {
    match state {
        State::Paused(_) | State::Running => true,
        State::Drained | State::Draining | State::Retrying(_) | State::Starting | State::Stopped => false,
    }
}

/// What a bridge said when it was asked last.
#[derive(Debug)]
enum Answer {
    None,
    Ready,
    Trouble(String),
}

async fn probe(outlet: Arc<Outlet>, told: watch::Sender<Answer>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let deadline = Instant::now() + PATIENCE;
        let bridge = outlet.name();
        let trouble = match timeout_at(deadline, outlet.bridge().probe(deadline)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the broker does not answer".to_owned()),
        };
        match (&*told.borrow(), &trouble) {
            (Answer::None | Answer::Trouble(_), None) => tracing::info!(%bridge, "bridge ready"),
            (Answer::None | Answer::Ready, Some(error)) => tracing::warn!(%bridge, error, "bridge not ready"),
            (Answer::Ready, None) | (Answer::Trouble(_), Some(_)) => {}
        }
        told.send_replace(trouble.map_or(Answer::Ready, Answer::Trouble));
    }
}
