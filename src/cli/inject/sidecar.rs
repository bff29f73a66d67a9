//! What is added to a pod: the container of `container.yaml`, with what the command line says, and its volume.

use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use serde_json::json;
use sidespan_bridge::Span;
use yaml_serde::{Mapping, Value};

use super::secrets::{self, Secrets};
use crate::cli::patience;

/// The sidecar that is asked for.
#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// The ConfigMap with the configuration.
    #[arg(long, value_name = "NAME", default_value = "sidespan")]
    pub(super) config_map: String,
    /// The image.
    #[arg(long, value_name = "IMAGE", default_value = concat!("sidespan:", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// Whether it is a native sidecar, which starts before the service and stops after it.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = true)]
    native: bool,
    /// How long the service itself may take to stop. An ordinary container stays that long in any case, since the
    /// service publishes until then.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = patience)]
    pub(super) at_least: Duration,
    /// What of it has to work for the pod to be ready.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Readiness::Listeners)]
    readiness: Readiness,
    #[command(flatten)]
    secrets: Secrets,
}

/// What of Sidespan has to work for its pod to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Readiness {
    /// Its own listeners, so that no broker takes services away.
    Listeners,
    /// The brokers of all declared topics take messages.
    Publish,
    /// Everything: subscriptions too.
    Subscriptions,
}

impl Readiness {
    fn path(self) -> &'static str {
        match self {
            Self::Listeners => "/readyz/listeners",
            Self::Publish => "/readyz/publish",
            Self::Subscriptions => "/readyz",
        }
    }
}

/// What is added to each pod.
#[derive(Debug)]
pub(super) struct Sidecar {
    /// Whether it stands among the init containers, and outlives the service.
    pub(super) native: bool,
    /// The container.
    pub(super) container: Value,
    /// The volumes with its configuration and its secrets.
    pub(super) volumes: Vec<Value>,
}

impl Sidecar {
    /// Makes a sidecar; `None` if the template isn't one, which a test keeps from happening.
    pub(super) fn new(wanted: &Wanted) -> Option<Self> {
        let mut container: Mapping = yaml_serde::from_str(CONTAINER).ok()?;
        container.insert("image".into(), wanted.image.as_str().into());
        let ready = container.get_mut("readinessProbe")?.get_mut("httpGet")?;
        *ready.get_mut("path")? = wanted.readiness.path().into();
        if !wanted.native {
            container.shift_remove("restartPolicy");
            // The kubelet ends it with the service: its hook has to return last.
            let hook = container.get_mut("lifecycle")?.get_mut("preStop")?.get_mut("exec")?;
            let hook = hook.get_mut("command")?.as_sequence_mut()?;
            hook.extend(["--at-least".into(), yaml_serde::to_value(Span(wanted.at_least)).ok()?]);
        }
        let mut add = |list: &str, more: Vec<serde_json::Value>| {
            container.get_mut(list)?.as_sequence_mut()?.extend(values(&more)?);
            Some(())
        };
        add("env", wanted.secrets.env())?;
        add("volumeMounts", wanted.secrets.mounts())?;
        let mut volumes = vec![json!({"name": VOLUME, "configMap": {"name": wanted.config_map}})];
        volumes.extend(wanted.secrets.volumes());
        Some(Self { native: wanted.native, container: Value::Mapping(container), volumes: values(&volumes)? })
    }
}

/// Tells whether a volume of this name is one of a sidecar's.
pub(super) fn is_own_volume(name: &str) -> bool {
    name == VOLUME || name.starts_with(secrets::VOLUMES)
}

fn values(values: &[serde_json::Value]) -> Option<Vec<Value>> {
    values.iter().map(|value| yaml_serde::to_value(value).ok()).collect()
}

/// The volume with the configuration.
const VOLUME: &str = "sidespan-config";

const CONTAINER: &str = include_str!("container.yaml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_container() {
        for native in [true, false] {
            let wanted = Wanted {
                config_map: "m".into(),
                image: "i".into(),
                native,
                at_least: Duration::from_secs(90),
                readiness: Readiness::Publish,
                secrets: Secrets::default(),
            };
            let sidecar = Sidecar::new(&wanted).expect("a sidecar");
            assert_eq!(sidecar.container["readinessProbe"]["httpGet"]["path"], "/readyz/publish");
            assert_eq!(sidecar.container.get("restartPolicy").is_some(), native);
            let hook = &sidecar.container["lifecycle"]["preStop"]["exec"]["command"];
            assert_eq!(hook.get(3).and_then(Value::as_str), (!native).then_some("1m 30s"));
        }
    }
}
