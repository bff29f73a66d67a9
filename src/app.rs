//! The whole server: built from a configuration in one function, run, and drained.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sidespan_bridge::{Registry, Unsupported};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::field::display;

use crate::admin::{self, Admin};
use crate::config::{Address, Config, Name, RegistryConfig};
use crate::delivery::Roster;
use crate::drain::Drain;
use crate::grpc::{self, Grpc};
use crate::health::Health;
use crate::listen::{self, Access, Bounds, Listener};
use crate::prepare;
use crate::publish::{Budget, Outlet, Publishing, Routes};
use crate::pull::peers::Peers;
use crate::pull::{AckIds, Pulling};
use crate::reload::{FileState, Reload, Source};
use crate::replicas::Replicas;
use crate::request::Requesting;
use crate::rest::{self, Door, Guard, Rest};
use crate::scrape::{Lags, Scrape};
use crate::security::caller::Callers;
use crate::security::seal::{self, Seal};
use crate::subscriptions::Subscriptions;
use crate::telemetry::counts;
use crate::telemetry::log;
use crate::telemetry::metrics::Exporter;
use crate::telemetry::traces::{self, Broker, Exporting, Tracer, Traces};

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

/// The sockets of a server. Tests bring their own.
#[derive(Debug)]
pub struct Listeners {
    /// For services.
    pub services: Listener,
    /// For operators.
    pub admin: Listener,
    /// For the kubelet, where configured.
    pub health: Option<Listener>,
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

/// Why a server did not serve to a proper end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A second signal came while it was draining.
    #[error("stopped at once by a second signal; what was not settled stays with its broker")]
    Interrupted,
    /// The system refuses what every process needs.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// It does not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// Which.
        address: Address,
        /// Why.
        error: io::Error,
    },
    /// There is no randomness to keep ack ids from being made up.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// What the replicas share cannot be used.
    #[error("replicas.{0}")]
    Replicas(String),
    /// The bridge cannot keep the registry.
    #[error("registry.bridge: {0}")]
    Registry(#[from] Unsupported),
    /// A bridge cannot be opened.
    #[error("bridge {bridge}: {error}")]
    Bridge {
        /// Which.
        bridge: Name,
        /// Why.
        error: sidespan_bridge::Error,
    },
}

/// Serves until SIGTERM or SIGINT and then drains; a second signal ends it at once. `say` is told
/// where it listens.
///
/// # Errors
///
/// It cannot start, or was ended before it was drained.
pub async fn run(
    config: Config,
    source: Option<Source>,
    say: impl FnOnce(&Config, &Bound),
) -> Result<Ended, RunError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut told = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    let (file, hash) = source.as_ref().map(|source| (display(source.path.display()), source.hash())).unzip();
    tracing::info!(version, file, hash, development = config.development, "starting");
    let app = App::bind(config).await?;
    let app = match source {
        Some(source) => app.follow(source),
        None => app,
    };
    let bound = app.bound()?;
    let App { config, .. } = &app;
    let bridges: Vec<String> =
        config.bridges.iter().map(|(name, bridge)| format!("{name} ({})", bridge.driver.name())).collect();
    tracing::info!(
        services = %bound.services, admin = %bound.admin, health = config.health.map(display),
        bridges = bridges.join(", "), topics = config.topics.len(), subscriptions = config.subscriptions.len(),
        "listening"
    );
    say(&app.config, &bound);
    let stop = CancellationToken::new();
    let mut running = pin!(app.run(stop.clone().cancelled_owned()));
    tokio::select! {
        ended = &mut running => return Ok(ended),
        () = told() => stop.cancel(),
    }
    tokio::select! {
        ended = running => {
            let Ended { attempts_left, held, connections_cut } = ended;
            log::settle();
            if ended.is_clean() {
                tracing::info!(attempts_left, held, connections_cut, "stopped");
            } else {
                tracing::warn!(attempts_left, held, connections_cut, "stopped");
            }
            Ok(ended)
        }
        () = told() => Err(RunError::Interrupted),
    }
}

impl App {
    /// Binds the sockets and opens the bridges. Waits for no broker.
    ///
    /// # Errors
    ///
    /// A socket or a bridge's local resources cannot be had.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let admin = Address::Tcp(config.admin);
        let listeners = Listeners {
            services: bind(config.listen.clone()).await?,
            admin: bind(admin).await?,
            health: match config.health {
                Some(health) => Some(bind(Address::Tcp(health)).await?),
                None => None,
            },
        };
        Self::with(config, listeners)
    }

    /// Opens the bridges behind sockets that are bound already.
    ///
    /// # Errors
    ///
    /// A bridge's local resources cannot be had.
    pub fn with(config: Config, listeners: Listeners) -> Result<Self, StartError> {
        let (traces, exporting) = Traces::start(&config.telemetry, config.service.as_str());
        let (mut outlets, mut tracers) = (BTreeMap::new(), BTreeMap::new());
        for (name, bridge) in &config.bridges {
            let opened = bridge
                .driver
                .open(&bridge.settings)
                .map_err(|error| StartError::Bridge { bridge: name.clone(), error })?;
            let server = bridge.driver.server(&bridge.settings);
            let broker = Broker { bridge: name.clone(), kind: bridge.driver.name(), server };
            let tracer = traces.of(broker);
            let opened = traces::traced(opened, tracer.as_ref());
            tracers.extend(tracer.map(|tracer| (name.clone(), tracer)));
            let budget = Budget::new(config.limits.max_in_flight, config.limits.max_in_flight_bytes);
            outlets.insert(name.clone(), Arc::new(Outlet::new(name.clone(), opened, budget)));
        }
        let (ack_ids, peers) = replicas(&config, &listeners.services)?;
        let registry = match &config.registry {
            Some(kept) => registry(kept, &outlets)?,
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
        let guard = |listener: &Listener, open| {
            let own = match listener.address() {
                Ok(Address::Tcp(address)) => Some(address),
                Ok(Address::Unix(_)) | Err(_) => None,
            };
            let guard = Guard::new(own, config.allowed_hosts.clone(), config.allowed_origins.clone());
            match &callers {
                Some(callers) => guard.ask(callers.clone(), open, door.tasks().clone()),
                None => guard,
            }
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
        let bounds = Bounds {
            connections: config.limits.max_connections,
            idle: config.limits.idle_timeout,
            head: config.limits.max_head,
        };
        // The other half is for what the brokers have yet to be told.
        let (grace, stop_serving) = (drain.shutdown() / 2, || closing.clone());
        let mut doors = JoinSet::new();
        let services = Grpc::before(Rest::new(door.clone()), calls);
        let services = guard(&listeners.services, grpc::OPEN).protect(services);
        let services = Replicas::before(services, pulling.clone());
        let services = Access::new(config.log.access, rest::paths).before(services);
        doors.spawn(listen::serve(
            listeners.services,
            services,
            bounds,
            stop_serving(),
            grace,
            counts::Listener::Services,
        ));
        let admin = guard(&listeners.admin, admin::HEALTH).protect(admin::router(operators.clone()));
        let kind = counts::Listener::Admin;
        doors.spawn(listen::serve(listeners.admin, admin, bounds, stop_serving(), grace, kind));
        if let Some(listener) = listeners.health {
            let health = admin::health_router(operators);
            let kind = counts::Listener::Health;
            doors.spawn(listen::serve(listener, health, bounds, stop_serving(), grace, kind));
        }

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

async fn bind(address: Address) -> Result<Listener, StartError> {
    Listener::bind(&address).await.map_err(|error| StartError::Bind { address, error })
}

/// Prepares to name leases, and to call the other replicas if there are any.
fn replicas(config: &Config, services: &Listener) -> Result<(AckIds, Option<Arc<Peers>>), StartError> {
    let Some(replicas) = &config.replicas else { return Ok((AckIds::alone()?, None)) };
    let secrets: Result<Vec<String>, _> = replicas.secrets.iter().map(seal::reveal).collect();
    let secrets = secrets.map_err(|error| StartError::Replicas(format!("secrets: {error}")))?;
    let address = match (replicas.advertise, services.address()) {
        (Some(address), _) | (None, Ok(Address::Tcp(address))) => address,
        (None, _) => return Err(StartError::Replicas("advertise: the key is missing".into())),
    };
    // Services that share a secret by mistake do not share messages.
    let seal = |purpose: &str| Seal::of(&secrets, &format!("{purpose} of {}", config.service));
    let peers = Peers::new(replicas.peers.clone(), address, seal("replicas"));
    Ok((AckIds::shared(seal("ack ids"), address)?, Some(Arc::new(peers))))
}

/// Opens the registry.
fn registry(
    kept: &RegistryConfig,
    outlets: &BTreeMap<Name, Arc<Outlet>>,
) -> Result<Option<Arc<dyn Registry>>, Unsupported> {
    // That there is such a bridge is known from the configuration.
    outlets.get(&kept.bridge).map(|outlet| outlet.bridge().registry(&kept.name)).transpose()
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
