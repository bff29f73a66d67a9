//! What a server has before it serves: its sockets, its bridges, and what its replicas share.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use sidespan_bridge::{Registry, Unsupported};

use crate::config::{Address, Config, Name, RegistryConfig};
use crate::listen::Listener;
use crate::publish::{Budget, Outlet};
use crate::pull::AckIds;
use crate::pull::peers::Peers;
use crate::security::seal::{self, Seal};
use crate::telemetry::traces::{self, Broker, Tracer, Traces};

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

/// Binds the sockets that a configuration names.
pub(super) async fn listeners(config: &Config) -> Result<Listeners, StartError> {
    Ok(Listeners {
        services: bind(config.listen.clone()).await?,
        admin: bind(Address::Tcp(config.admin)).await?,
        health: match config.health {
            Some(health) => Some(bind(Address::Tcp(health)).await?),
            None => None,
        },
    })
}

async fn bind(address: Address) -> Result<Listener, StartError> {
    Listener::bind(&address).await.map_err(|error| StartError::Bind { address, error })
}

/// The bridges that are open, and who traces what they do.
pub(super) struct Opened {
    pub(super) outlets: BTreeMap<Name, Arc<Outlet>>,
    pub(super) tracers: BTreeMap<Name, Tracer>,
}

/// Opens the bridges.
pub(super) fn bridges(config: &Config, traces: &Traces) -> Result<Opened, StartError> {
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
    Ok(Opened { outlets, tracers })
}

/// Prepares to name leases, and to call the other replicas if there are any.
pub(super) fn replicas(
    config: &Config,
    services: &Listener,
) -> Result<(AckIds, Option<Arc<Peers>>), StartError> {
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
pub(super) fn registry(
    kept: &RegistryConfig,
    outlets: &BTreeMap<Name, Arc<Outlet>>,
) -> Result<Option<Arc<dyn Registry>>, Unsupported> {
    // That there is such a bridge is known from the configuration.
    outlets.get(&kept.bridge).map(|outlet| outlet.bridge().registry(&kept.name)).transpose()
}
