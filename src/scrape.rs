//! Reads everything that is counted and measured, when somebody looks.
//!
//! What stands on a board anyway costs nothing while nobody does. A look never waits for a broker: what only a
//! broker knows is asked of it in between, by [`Lags`].

mod lags;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, Name};
use crate::delivery::Roster;
use crate::drain::Drain;
use crate::health::Health;
use crate::publish::{Outlet, Publishing};
use crate::reload::FileState;
use crate::telemetry::counts::{self, Door, Listener, Stream};
use crate::telemetry::metrics::{Snapshot, process};
use crate::telemetry::names;

pub use lags::Lags;

/// Everything that tells something of itself.
pub struct Scrape {
    /// What the bridges speak to, by name.
    pub systems: BTreeMap<Name, &'static str>,
    /// The bridges.
    pub outlets: Vec<Arc<Outlet>>,
    /// What is published.
    pub publishing: Arc<Publishing>,
    /// What is delivered.
    pub roster: Arc<Roster>,
    /// What the brokers say that is not settled.
    pub lags: Lags,
    /// How the brokers stand.
    pub health: Arc<Health>,
    /// How far the server has stopped.
    pub drain: Arc<Drain>,
    /// Which configuration it runs by.
    pub file: Arc<FileState>,
}

impl Scrape {
    /// Returns what the bridges of a configuration speak to.
    pub fn systems(config: &Config) -> BTreeMap<Name, &'static str> {
        config.bridges.iter().map(|(name, bridge)| (name.clone(), bridge.driver.system())).collect()
    }

    /// Looks at everything.
    pub fn read(&self) -> Snapshot {
        let mut out = Snapshot::default();
        self.publishing.figures(&self.systems, &mut out);
        self.outlets.iter().for_each(|outlet| outlet.figures(&mut out));
        for running in self.roster.all() {
            let subscription = running.subscription();
            let system = self.systems.get(&subscription.bridge).copied().unwrap_or_default();
            running.figures(system, self.lags.of(&running), &mut out);
        }
        self.health.figures(&self.systems, &mut out);
        out.put(&names::DRAIN_PHASE, &[], self.drain.phase());
        self.file.figures(&mut out);
        doors(&mut out);
        own(&mut out);
        process(&mut out);
        out
    }
}

fn doors(out: &mut Snapshot) {
    for (door, number) in Door::requests() {
        out.put(&names::HTTP_REQUESTS, &[(names::DOOR, door.as_str())], number);
    }
    for (door, slug, number) in Door::refusals() {
        let reason = slug.replace('-', "_");
        out.put(&names::REJECTED, &[(names::DOOR, door.as_str()), (names::REASON, &reason)], number);
    }
    for (kind, number) in Stream::levels() {
        out.put(&names::STREAMS_OPEN, &[(names::KIND, kind)], number);
    }
    for (listener, number) in Listener::levels() {
        out.put(&names::CONNECTIONS_OPEN, &[(names::LISTENER, listener)], number);
    }
}

/// What telemetry itself has lost, and who this is.
fn own(out: &mut Snapshot) {
    out.put(&names::LOG_SUPPRESSED, &[], counts::LOG_SUPPRESSED.value());
    out.put(&names::LOG_DROPPED, &[], counts::LOG_DROPPED.value());
    out.put(&names::DROPPED_SPANS, &[], counts::DROPPED_SPANS.value());
    for (signal, failed) in
        [("metrics", &counts::FAILED_METRICS_EXPORTS), ("traces", &counts::FAILED_TRACE_EXPORTS)]
    {
        out.put(&names::FAILED_EXPORTS, &[(names::SIGNAL, signal)], failed.value());
    }
    out.put(&names::BUILD_INFO, &[(names::VERSION, env!("CARGO_PKG_VERSION"))], 1_u64);
}
