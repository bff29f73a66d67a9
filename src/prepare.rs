//! Has the declared topics made, where a bridge's settings say that it may make topics.
//!
//! A name in the configuration is no accident, so a service that publishes first should not be told
//! that its topic is unknown. Names that callers make up are never made here.

use std::sync::Arc;
use std::time::Duration;

use sidespan_bridge::{Fault, Topic};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::publish::{Outlet, Routes};

/// How long one attempt may take, and the longest wait before the next.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Begins to make what is missing; tries again while a broker is away. Dropped, it stops.
pub fn topics(routes: &Routes) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for route in routes.declared() {
        tasks.spawn(ensure(route.outlet().clone(), route.address().clone()));
    }
    tasks
}

async fn ensure(outlet: Arc<Outlet>, topic: Topic) {
    let mut wait = Duration::from_millis(200);
    loop {
        let deadline = Instant::now() + PATIENCE;
        match timeout_at(deadline, outlet.bridge().ensure(&topic, deadline)).await {
            Ok(Ok(())) => return,
            // The broker that is away is told by its health, over and over; a topic only here.
            Ok(Err(error)) if error.fault != Fault::Unavailable && error.fault != Fault::Timeout => {
                tracing::warn!(bridge = %outlet.name(), %topic, %error, "a declared topic cannot be used yet");
                if error.fault == Fault::UnknownTopic {
                    return;
                }
            }
            Ok(Err(_)) | Err(_) => {}
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
