//! The doors of a server: who is let in at each listener, and what answers there.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Listeners;
use crate::admin::{self, Admin};
use crate::config::{Address, Config};
use crate::grpc::{self, Grpc};
use crate::listen::{self, Access, Bounds, Listener};
use crate::pull::Pulling;
use crate::replicas::Replicas;
use crate::rest::{self, Door, Guard, Rest};
use crate::security::caller::Callers;
use crate::telemetry::counts;

/// What stands behind the doors.
pub(super) struct Doors<'a> {
    pub(super) config: &'a Config,
    /// Who may call; `None` where everybody may.
    pub(super) callers: Option<Arc<Callers>>,
    pub(super) rest: Arc<Door>,
    pub(super) grpc: grpc::Door,
    pub(super) pulling: Arc<Pulling>,
    pub(super) operators: Admin,
    /// No connection is taken in any more.
    pub(super) closing: CancellationToken,
    /// How long requests under way may go on then.
    pub(super) grace: Duration,
}

impl Doors<'_> {
    /// Opens them. Each task ends with the number of connections that it had to cut.
    pub(super) fn open(self, listeners: Listeners) -> JoinSet<usize> {
        let mut doors = JoinSet::new();
        let bounds = Bounds {
            connections: self.config.limits.max_connections,
            idle: self.config.limits.idle_timeout,
            head: self.config.limits.max_head,
        };
        let (grace, closing) = (self.grace, || self.closing.clone());

        let guard = self.guard(&listeners.services, grpc::OPEN);
        let operating = self.guard(&listeners.admin, admin::HEALTH);
        let services = guard.protect(Grpc::before(Rest::new(self.rest), self.grpc));
        let services = Replicas::before(services, self.pulling);
        let services =
            Access::new(self.config.log.access, || [rest::paths(), grpc::paths()].concat()).before(services);
        let kind = counts::Listener::Services;
        doors.spawn(listen::serve(listeners.services, services, bounds, closing(), grace, kind));

        let admin = operating.protect(admin::router(self.operators.clone()));
        let kind = counts::Listener::Admin;
        doors.spawn(listen::serve(listeners.admin, admin, bounds, closing(), grace, kind));

        if let Some(listener) = listeners.health {
            let health = admin::health_router(self.operators);
            let kind = counts::Listener::Health;
            doors.spawn(listen::serve(listener, health, bounds, closing(), grace, kind));
        }
        doors
    }

    /// Lets in who may call; the `open` paths are for everybody.
    fn guard(&self, listener: &Listener, open: &'static [&'static str]) -> Guard {
        let own = match listener.address() {
            Ok(Address::Tcp(address)) => Some(address),
            Ok(Address::Unix(_)) | Err(_) => None,
        };
        let guard = Guard::new(own, self.config.allowed_hosts.clone(), self.config.allowed_origins.clone());
        match &self.callers {
            Some(callers) => guard.ask(callers.clone(), open, self.rest.tasks().clone()),
            None => guard,
        }
    }
}
