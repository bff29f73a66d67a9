//! What a pod gives its containers to stop agrees with what the service and Sidespan take.

use std::time::Duration;

use sidespan_bridge::Span;
use yaml_serde::{Mapping, Value};

/// The deadlines of stopping: the service's, and those of a configuration.
#[derive(Debug)]
pub(super) struct Deadlines {
    service: Duration,
    deliveries: Duration,
    shutdown: Duration,
}

impl Deadlines {
    /// Reads them from a configuration, for a service that takes as long as is given; what isn't there is as by default.
    ///
    /// # Errors
    ///
    /// It is no YAML, or a deadline is no duration.
    pub(super) fn read(config: &str, service: Duration) -> Result<Self, String> {
        let config: Value = yaml_serde::from_str(config).map_err(|error| error.to_string())?;
        let deadline = |key: &str, default| match config.get("drain").and_then(|drain| drain.get(key)) {
            None => Ok(Duration::from_secs(default)),
            Some(span) => match Span::parse(span.as_str().unwrap_or_default()) {
                Ok(span) => Ok(span.0),
                Err(error) => Err(format!("drain.{key}: {error}")),
            },
        };
        Ok(Self { service, deliveries: deadline("deliveries", 20)?, shutdown: deadline("shutdown", 5)? })
    }

    /// Has a pod give enough if it says nothing, and returns what was done, or what is wrong with what it says.
    pub(super) fn agree(&self, pod: &mut Mapping) -> Option<String> {
        let grace = match pod.get(GRACE) {
            None | Some(Value::Null) => None,
            Some(seconds) => Some(seconds.as_u64()?),
        };
        let Self { service, deliveries, shutdown } = self;
        let needed = (*deliveries.max(service) + *shutdown + REST).as_millis().div_ceil(1000);
        let needed = u64::try_from(needed).unwrap_or(u64::MAX);
        if grace.unwrap_or(KUBERNETES) >= needed {
            return None;
        }
        let why = format!(
            "draining takes up to {needed} s (drain.deliveries {deliveries:?} while the service stops, which may take {service:?}; \
             drain.shutdown {shutdown:?}; and a bridge that closes late)"
        );
        Some(if let Some(grace) = grace {
            format!("{GRACE} is {grace}, and {why}: make it {needed} or more, or shorten the deadlines")
        } else {
            pod.insert(GRACE.into(), needed.into());
            format!("{GRACE} is now {needed}, since {why}")
        })
    }
}

const GRACE: &str = "terminationGracePeriodSeconds";
/// For a bridge that closes late, and for the kubelet. The chart counts the same.
const REST: Duration = Duration::from_secs(2);
/// What Kubernetes gives where a pod says nothing.
const KUBERNETES: u64 = 30;
