//! Whether Sidespan can do its work: what the probes of the kubelet are told.

mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::Name;
use crate::delivery::Roster;
use crate::prepare::Unknown;
use crate::publish::{Outlet, Publishing};
use crate::reload::FileState;
use crate::subscriptions::Subscriptions;
use crate::telemetry::counts::Count;
use crate::telemetry::metrics::Snapshot;
use crate::telemetry::names;

pub use report::{BridgeReport, PublishReport, Report, SubscriptionReport, Summary};

/// How often a bridge is asked whether its broker is there.
const EVERY: Duration = Duration::from_secs(2);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Watches the bridges and subscriptions.
pub struct Health {
    bridges: Vec<(Name, watch::Receiver<Answer>)>,
    reconnects: Vec<(Name, Arc<Count>)>,
    publishing: Arc<Publishing>,
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
        publishing: Arc<Publishing>,
        unknown_topics: Unknown,
        roster: Arc<Roster>,
        subscriptions: Arc<Subscriptions>,
        file: Arc<FileState>,
        draining: CancellationToken,
    ) -> Self {
        let mut probes = JoinSet::new();
        let (mut bridges, mut reconnects) = (Vec::new(), Vec::new());
        for outlet in outlets {
            let (sender, receiver) = watch::channel(Answer::None);
            bridges.push((outlet.name().clone(), receiver));
            let reconnected = Arc::new(Count::new());
            reconnects.push((outlet.name().clone(), reconnected.clone()));
            probes.spawn(probe(outlet, sender, reconnected));
        }
        Self {
            bridges,
            reconnects,
            publishing,
            unknown_topics,
            roster,
            subscriptions,
            file,
            draining,
            _probes: probes,
        }
    }

    /// Puts how the brokers stand into a snapshot. `systems` are what the bridges speak to.
    pub fn figures(&self, systems: &BTreeMap<Name, &'static str>, out: &mut Snapshot) {
        for (name, seen) in &self.bridges {
            let system = systems.get(name).copied().unwrap_or_default();
            let is_up = matches!(*seen.borrow(), Answer::Ready);
            out.put(&names::BRIDGE_UP, &[(names::BRIDGE, name.as_str()), (names::SYSTEM, system)], is_up);
        }
        for (name, reconnects) in &self.reconnects {
            out.put(&names::BRIDGE_RECONNECTS, &[(names::BRIDGE, name.as_str())], reconnects.value());
        }
    }

    /// Tells how everything stands now.
    pub fn report(&self) -> Report {
        let bridges: Vec<BridgeReport> = self.bridges.iter().map(BridgeReport::new).collect();
        let running = self.roster.all();
        let subscriptions: Vec<SubscriptionReport> = running
            .iter()
            .map(|running| SubscriptionReport::new(&running.subscription().name, running.status()))
            .collect();
        let registry = self.subscriptions.report();
        let draining = self.draining.is_cancelled();
        let unknown_topics = self.unknown_topics.count();
        let ready = !draining
            && unknown_topics == 0
            && registry.as_ref().is_none_or(|registry| registry.ready)
            && bridges.iter().all(|bridge| bridge.ready)
            && subscriptions.iter().all(SubscriptionReport::is_ready);
        let file = self.file.report();
        Report { ready, draining, unknown_topics, bridges, subscriptions, registry, file }
    }

    /// Tells whether every broker takes messages that callers may publish to, also while deliveries are being
    /// finished.
    pub fn publish_report(&self) -> PublishReport {
        let routes = self.publishing.routes();
        let taking = self.bridges.iter().filter(|(name, _)| routes.lead_to(name));
        let bridges: Vec<BridgeReport> = taking.map(BridgeReport::new).collect();
        let unknown_topics = self.unknown_topics.count();
        let ready = unknown_topics == 0 && bridges.iter().all(|bridge| bridge.ready);
        PublishReport { ready, draining: self.draining.is_cancelled(), unknown_topics, bridges }
    }
}

/// What a bridge said when it was asked last.
#[derive(Debug)]
enum Answer {
    None,
    Ready,
    Trouble(String),
}

async fn probe(outlet: Arc<Outlet>, told: watch::Sender<Answer>, reconnected: Arc<Count>) {
    let mut was_ready = false;
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
        if trouble.is_none() {
            if was_ready && matches!(*told.borrow(), Answer::Trouble(_)) {
                reconnected.count();
            }
            was_ready = true;
        }
        match (&*told.borrow(), &trouble) {
            (Answer::None | Answer::Trouble(_), None) => tracing::info!(%bridge, "bridge ready"),
            (Answer::None | Answer::Ready, Some(error)) => tracing::warn!(%bridge, error, "bridge not ready"),
            (Answer::Ready, None) | (Answer::Trouble(_), Some(_)) => {}
        }
        told.send_replace(trouble.map_or(Answer::Ready, Answer::Trouble));
    }
}
