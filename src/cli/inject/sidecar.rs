//! What is added to a pod: the container of `container.yaml`, with what the command line says, and its volume.

use clap::ValueEnum;
use yaml_serde::{Mapping, Value};

/// What of Sidespan has to work for its pod to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Readiness {
    /// Its own listeners, so that no broker takes services away.
    Listeners,
    /// The brokers of all declared topics take messages.
    Publish,
    /// Everything: subscriptions too.
    All,
}

impl Readiness {
    fn path(self) -> &'static str {
        match self {
            Self::Listeners => "/readyz/listeners",
            Self::Publish => "/readyz/publish",
            Self::All => "/readyz",
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
    /// The volume with its configuration.
    pub(super) volume: Value,
}

impl Sidecar {
    /// Makes a sidecar; `None` if the template isn't one, which a test keeps from happening.
    pub(super) fn new(image: &str, config_map: &str, readiness: Readiness, native: bool) -> Option<Self> {
        let mut container: Mapping = yaml_serde::from_str(CONTAINER).ok()?;
        container.insert("image".into(), image.into());
        *container.get_mut("readinessProbe")?.get_mut("httpGet")?.get_mut("path")? = readiness.path().into();
        if !native {
            container.shift_remove("restartPolicy");
        }
        let named = Mapping::from_iter([("name".into(), config_map.into())]);
        let volume = [("name".into(), VOLUME.into()), ("configMap".into(), Value::Mapping(named))];
        Some(Self {
            native,
            container: Value::Mapping(container),
            volume: Value::Mapping(Mapping::from_iter(volume)),
        })
    }
}

/// The volume's name.
pub(super) const VOLUME: &str = "sidespan-config";

const CONTAINER: &str = include_str!("container.yaml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_container() {
        for native in [true, false] {
            let sidecar = Sidecar::new("i", "m", Readiness::Publish, native).expect("a sidecar");
            assert_eq!(sidecar.container["readinessProbe"]["httpGet"]["path"], "/readyz/publish");
            assert_eq!(sidecar.container.get("restartPolicy").is_some(), native);
        }
    }
}
