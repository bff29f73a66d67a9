//! From what was typed to what it means.

mod auth;
mod brokers;
mod registry;
mod replicas;
mod scope;
mod server;
mod spec;
mod subscriptions;
mod telemetry;

use sidespan_bridge::Driver;

use self::scope::Scope;
use super::{Config, ConfigError, ConfigErrors, File, Name};

pub(super) use server::{DEFAULT_ADMIN, socket};
pub use spec::SpecError;

/// Resolves a file, collecting everything that is wrong with it.
pub(super) fn resolve(file: File, drivers: &[&'static dyn Driver]) -> Result<Config, ConfigErrors> {
    let mut errors = Errors::default();
    match file.version {
        Some(1) => {}
        Some(other) => errors.add("version", format!("this Sidespan reads version 1, not {other}")),
        None => errors.add("version", "the key is missing: write `version: 1`"),
    }
    let service = match &file.service {
        Some(service) => errors.keep("service", Name::parse(service)),
        None => {
            errors
                .add("service", "the key is missing: it names this service at brokers, such as `orders-api`");
            None
        }
    };
    let listeners = server::listeners(&file, &mut errors);
    let auth = file.auth.as_ref().map(|auth| auth::resolve(auth, &mut errors));
    let log = server::log(&file.log, &mut errors);
    let telemetry = telemetry::resolve(&file.telemetry, &mut errors);
    let limits = server::limits(&file.limits, &mut errors);
    let drain = server::drain(&file.drain, &mut errors);
    let replicas =
        file.replicas.as_ref().and_then(|replicas| replicas::resolve(&file, replicas, &mut errors));
    let who = service.as_ref().map_or("unnamed", Name::as_str).to_owned();
    let brokers = brokers::resolve(&file, &who, drivers, &mut errors);
    let registry = file.registry.as_ref().and_then(|it| registry::resolve(it, &who, &brokers, &mut errors));
    let push_allow = registry::allow(&file.push, &mut errors);
    let scope = Scope { largest_reply: limits.max_message, ..brokers.scope(&who) };
    let subscriptions = subscriptions::resolve(file.subscriptions, &scope, &mut errors);
    errors.into_result()?;
    let (Some(service), Some(listeners)) = (service, listeners) else {
        return Err(ConfigErrors(Vec::new()));
    };
    Ok(Config {
        service,
        development: false,
        listen: listeners.listen,
        admin: listeners.admin,
        health: listeners.health,
        auth,
        allowed_hosts: file.allowed_hosts,
        allowed_origins: file.allowed_origins,
        log,
        telemetry,
        limits,
        drain,
        replicas,
        bridges: brokers.bridges,
        default_bridge: brokers.default_bridge,
        topics: brokers.topics,
        subscriptions,
        registry,
        push_allow,
    })
}

#[derive(Default)]
struct Errors(Vec<ConfigError>);

impl Errors {
    fn add(&mut self, key: impl Into<String>, reason: impl Into<String>) {
        self.0.push(ConfigError { origin: String::new(), key: key.into(), reason: reason.into() });
    }

    fn keep<T, E: ToString>(&mut self, key: impl Into<String>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(key, error.to_string())).ok()
    }

    fn into_result(self) -> Result<(), ConfigErrors> {
        if self.0.is_empty() { Ok(()) } else { Err(ConfigErrors(self.0)) }
    }
}
