//! How long runs are, and how long faults last: short by default, or as they are in the wild.

use std::time::Duration;

/// Returns how many messages a run publishes.
pub(crate) fn messages() -> usize {
    match std::env::var("SIDESPAN_MESSAGES") {
        Ok(count) => count.parse().expect("SIDESPAN_MESSAGES is a number"),
        Err(_) => by_length(2_000, 20_000),
    }
}

/// Returns how often a sidecar is killed or stopped in a run.
pub(crate) fn sidecar_kills() -> usize {
    5
}

/// Returns how often a broker is killed in a run; it takes ten seconds to come back.
pub(crate) fn broker_kills() -> usize {
    by_length(2, 5)
}

/// Returns how long a broker is frozen, or silent.
pub(crate) fn freeze() -> Duration {
    Duration::from_secs(by_length(3, 30))
}

/// Returns how long a webhook is away.
pub(crate) fn outage() -> Duration {
    Duration::from_secs(by_length(5, 60))
}

/// Returns how long a slow webhook takes.
pub(crate) fn slowness() -> Duration {
    Duration::from_secs(by_length(1, 5))
}

fn by_length<T>(short: T, long: T) -> T {
    if std::env::var_os("SIDESPAN_LONG").is_some_and(|long| !long.is_empty()) { long } else { short }
}
