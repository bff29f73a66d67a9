//! Waits for a condition instead of sleeping.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Waits until `condition` holds. Panics at the deadline, naming `what` was waited for.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(receiver: &std::sync::Mutex<Vec<u8>>) {
/// sidespan_test_support::eventually(Duration::from_secs(10), "three messages", async || {
///     receiver.lock().unwrap().len() == 3
/// })
/// .await;
/// # }
/// ```
pub async fn eventually(deadline: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !condition().await {
        assert!(Instant::now() < end, "after {deadline:?} still not: {what}");
        sleep(PAUSE).await;
    }
}

/// How often conditions are looked at.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);
