//! Compares what a pod gives its containers to stop with what Sidespan takes to drain.

use std::time::Duration;

use sidespan_bridge::Span;
use yaml_serde::Value;

/// The deadlines of stopping, as a configuration has them.
#[derive(Debug)]
pub(super) struct Deadlines {
    deliveries: Duration,
    shutdown: Duration,
}

impl Deadlines {
    /// Reads them from a configuration; what isn't there is as by default.
    ///
    /// # Errors
    ///
    /// It is no YAML, or a deadline is no duration.
    pub(super) fn read(config: &str) -> Result<Self, String> {
        let config: Value = yaml_serde::from_str(config).map_err(|error| error.to_string())?;
        let deadline = |key: &str, default| match config.get("drain").and_then(|drain| drain.get(key)) {
            None => Ok(Duration::from_secs(default)),
            Some(span) => match Span::parse(span.as_str().unwrap_or_default()) {
                Ok(span) => Ok(span.0),
                Err(error) => Err(format!("drain.{key}: {error}")),
            },
        };
        Ok(Self { deliveries: deadline("deliveries", 20)?, shutdown: deadline("shutdown", 5)? })
    }

    /// Says what is wrong with a pod's grace, if it is too short.
    pub(super) fn complaint(&self, pod: &Value) -> Option<String> {
        let grace = match pod.get("terminationGracePeriodSeconds") {
            None | Some(Value::Null) => KUBERNETES,
            Some(seconds) => seconds.as_u64()?,
        };
        let Self { deliveries, shutdown } = self;
        let needed = (*deliveries + *shutdown + REST).as_millis().div_ceil(1000);
        (u128::from(grace) < needed).then(|| {
            format!(
                "terminationGracePeriodSeconds is {grace}, and draining takes up to {needed} s \
                 (drain.deliveries {deliveries:?}, drain.shutdown {shutdown:?}, and a bridge that closes late): make it {needed} or more, and \
                 add what the service itself takes to stop; or shorten the deadlines"
            )
        })
    }
}

/// For a bridge that closes late, and for the kubelet. The chart counts the same.
const REST: Duration = Duration::from_secs(2);
/// What Kubernetes gives where a pod says nothing.
const KUBERNETES: u64 = 30;
