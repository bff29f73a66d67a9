//! The whole server: built from a configuration in one function, run, and drained.

mod doors;
mod opening;
mod process;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sidespan_bridge::Registry;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::Admin;
use crate::config::{Address, Config, Name};
use crate::delivery::Roster;
use crate::drain::Drain;
use crate::grpc;
use crate::health::Health;
use crate::prepare;
use crate::publish::{Outlet, Publishing, Routes};
use crate::pull::peers::Peers;
use crate::pull::{AckIds, Pulling};
use crate::reload::{FileState, Reload, Source};
use crate::request::Requesting;
use crate::rest::Door;
use crate::scrape::{Lags, Scrape};
use crate::security::caller::Callers;
use crate::subscriptions::Subscriptions;
use crate::telemetry::metrics::Exporter;
use crate::telemetry::traces::{Exporting, Tracer, Traces};

use doors::Doors;
use opening::Opened;
pub use opening::{Listeners, StartError};
pub use process::{RunError, run};

/// A server whose sockets are bound, and which is not serving yet.
pub struct App {
    listeners: Listeners,
    config: Config,
    outlets: BTreeMap<Name, Arc<Outlet>>,
    ack_ids: AckIds,
    peers: Option<Arc<Peers>>,
    registry: Option<Arc<dyn Registry>>,
    tracers: BTreeMap<Name, Tracer>,
    exporting: Option<Exporting>,
    source: Option<Source>,
}

/// Where a server listens, with the ports that it really got.
#[derive(Clone, Debug)]
pub struct Bound {
    /// For services.
    pub services: Address,
    /// For operators.
    pub admin: Address,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Attempts still running when deliveries had to end.
    pub attempts_left: usize,
    /// Messages that were held; they stay with their brokers and come again.
    pub held: usize,
    /// Connections that had to be cut.
    pub connections_cut: usize,
}

impl Ended {
    /// Tells whether everything that had begun was finished.
    pub fn is_clean(&self) -> bool {
        self.attempts_left == 0 && self.connections_cut == 0
    }
}

impl App {
    /// Binds the sockets and opens the bridges. Waits for no broker.
    ///
    /// # Errors
    ///
    /// A socket or a bridge's local resources cannot be had.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let listeners = opening::listeners(&config).await?;
        Self::with(config, listeners)
    }

    /// Opens the bridges behind sockets that are bound already.
    ///
    /// # Errors
    ///
    /// A bridge's local resources cannot be had.
    pub fn with(config: Config, listeners: Listeners) -> Result<Self, StartError> {
        let (traces, exporting) = Traces::start(&config.telemetry, config.service.as_str());
        let Opened { outlets, tracers } = opening::bridges(&config, &traces)?;
        let (ack_ids, peers) = opening::replicas(&config, &listeners.services)?;
        let registry = match &config.registry {
            Some(kept) => opening::registry(kept, &outlets)?,
            None => None,
        };
        Ok(Self { listeners, config, outlets, ack_ids, peers, registry, tracers, exporting, source: None })
    }

    /// Reads the configuration again when it changes there, and does what can be done without a restart.
    pub fn follow(self, source: Source) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Returns where the server listens.
    ///
    /// # Errors
    ///
    /// A socket is gone.
    pub fn bound(&self) -> io::Result<Bound> {
        Ok(Bound { services: self.listeners.services.address()?, admin: self.listeners.admin.address()? })
    }

    /// Serves until `stop`, then drains in two phases. What is left stays with the brokers.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Ended {
        let Self { listeners, config, outlets, ack_ids, peers, registry, tracers, exporting, source } = self;
        let file = Arc::new(FileState::default());
        let publishing = Arc::new(Publishing::new(Routes::new(&config, &outlets)));
        let preparing = prepare::topics(&publishing.routes().declared());
        let roster = roster(&outlets, config.telemetry.metrics, tracers);
        let config = Arc::new(config);
        let subscriptions = Subscriptions::new(config.clone(), roster.clone(), registry);
        subscriptions.keep();
        let drain = Arc::new(Drain::new(roster.clone(), config.drain));
        let health = Arc::new(Health::watch(
            outlets.values().cloned(),
            publishing.clone(),
            preparing.unknown(),
            roster.clone(),
            subscriptions.clone(),
            file.clone(),
            drain.started(),
        ));
        let closing = CancellationToken::new();
        let callers = config.auth.as_ref().map(|auth| Arc::new(Callers::new(auth)));
        let pulling = Arc::new(Pulling::new(roster.clone(), ack_ids, peers));
        let requesting = Arc::new(Requesting::new(config.limits.max_requests, config.limits.max_message));
        let rest = Door::new(
            publishing.clone(),
            requesting.clone(),
            subscriptions.clone(),
            pulling.clone(),
            config.limits.clone(),
            closing.clone(),
        );
        let door = Arc::new(rest);
        let calls = grpc::Door {
            publishing: publishing.clone(),
            subscriptions: subscriptions.clone(),
            requesting,
            pulling: pulling.clone(),
            health: health.clone(),
            limits: config.limits.clone(),
            drain: closing.clone(),
            streams: door.streams().clone(),
            tasks: door.tasks().clone(),
        };
        let scrape = config.telemetry.metrics.then(|| {
            Arc::new(Scrape {
                systems: Scrape::systems(&config),
                outlets: outlets.values().cloned().collect(),
                publishing: publishing.clone(),
                roster: roster.clone(),
                lags: Lags::watch(roster.clone()),
                health: health.clone(),
                drain: drain.clone(),
                file: file.clone(),
            })
        });
        let told = CancellationToken::new();
        let measuring = scrape.as_ref().and_then(|scrape| export(&config, scrape, told.clone()));
        let reload = source.map(|source| {
            let reload = Reload {
                config: config.clone(),
                outlets: outlets.clone(),
                publishing: publishing.clone(),
                subscriptions: subscriptions.clone(),
                callers: callers.clone(),
                state: file,
            };
            AbortOnDropHandle::new(tokio::spawn(reload.follow(source)))
        });
        let operators = Admin { health: health.clone(), drain: drain.clone(), scrape };
        let doors = Doors {
            config: &config,
            callers,
            rest: door.clone(),
            grpc: calls,
            pulling: pulling.clone(),
            operators,
            closing: closing.clone(),
            // The other half is for what the brokers have yet to be told.
            grace: drain.shutdown() / 2,
        };
        let doors = doors.open(listeners);

        stop.await;
        let unfinished = drain.deliveries().await;
        let deadline = Instant::now() + drain.shutdown();
        closing.cancel();
        drop((preparing, reload));
        subscriptions.end(deadline).await;
        let (held, cut) = tokio::join!(drain.close(deadline), doors.join_all());
        let connections_cut = cut.iter().sum();
        told.cancel();
        if let Some(measuring) = measuring {
            let _ = timeout_at(deadline, measuring).await;
        }
        for tasks in [door.tasks().clone(), pulling.tasks()] {
            tasks.close();
            let _ = timeout_at(deadline, tasks.wait()).await;
        }
        join_all(outlets.values().map(|outlet| close(outlet, deadline))).await;
        if let Some(exporting) = exporting {
            exporting.close((deadline + GRACE).min(Instant::now() + LAST_SPANS)).await;
        }
        Ended { attempts_left: unfinished.attempts, held, connections_cut }
    }
}

/// Sends metrics to the collector, where that is asked for, until `stop` and once more.
fn export(config: &Config, scrape: &Arc<Scrape>, stop: CancellationToken) -> Option<AbortOnDropHandle<()>> {
    let otlp = config.telemetry.otlp.clone().filter(|otlp| otlp.metrics)?;
    let exporter = Exporter::new(otlp, config.service.as_str());
    let scrape = scrape.clone();
    let read = move || scrape.read();
    Some(AbortOnDropHandle::new(tokio::spawn(exporter.run(read, stop.cancelled_owned()))))
}

async fn close(outlet: &Outlet, deadline: Instant) {
    if timeout_at(deadline + GRACE, outlet.bridge().close(deadline)).await.is_err() {
        tracing::warn!(bridge = %outlet.name(), "the bridge did not close in time");
    }
}

/// Prepares to deliver what the bridges have.
fn roster(
    outlets: &BTreeMap<Name, Arc<Outlet>>,
    is_metered: bool,
    tracers: BTreeMap<Name, Tracer>,
) -> Arc<Roster> {
    let bridges = outlets.iter().map(|(name, outlet)| (name.clone(), outlet.bridge().clone()));
    Arc::new(Roster::new(bridges.collect()).metered(is_metered).traced(tracers))
}

/// What a bridge may take beyond the deadline that it was given.
const GRACE: Duration = Duration::from_secs(1);
/// What telling the last spans may take.
const LAST_SPANS: Duration = Duration::from_secs(2);
