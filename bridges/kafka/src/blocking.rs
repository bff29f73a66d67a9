//! Calls into the client library that block, kept off the executor.

use std::thread;

use sidespan_bridge::{Error, Fault};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use tracing::error;

/// Runs a call that ends by itself within a known time.
pub(crate) async fn call<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(Fault::Unavailable).because(error)),
    }
}

/// Runs work that goes on for long on a thread of its own; the receiver hears when it has ended.
pub(crate) fn thread(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<oneshot::Receiver<()>, Error> {
    let (done, ended) = oneshot::channel();
    let work = move || {
        work();
        let _ = done.send(());
    };
    match thread::Builder::new().name(name.to_owned()).spawn(work) {
        Ok(_) => Ok(ended),
        Err(error) => Err(Error::new(Fault::Unavailable).because(error)),
    }
}

/// Drops a client on a thread of its own and waits for that until `deadline`.
///
/// Dropping one may hang for as long as the broker does not answer. A runtime that ends waits for
/// its own blocking threads, so this is none of them.
pub(crate) async fn drop_by<T: Send + 'static>(client: T, deadline: Instant) -> bool {
    let (done, dropped) = oneshot::channel();
    drop_apart(client, move || {
        let _ = done.send(());
    });
    timeout_at(deadline, dropped).await.is_ok()
}

/// Drops a client on a thread of its own, then calls `after`.
pub(crate) fn drop_apart<T: Send + 'static>(client: T, after: impl FnOnce() + Send + 'static) {
    let work = move || {
        drop(client);
        after();
    };
    if let Err(error) = thread::Builder::new().name("kafka-drop".to_owned()).spawn(work) {
        error!(%error, "no thread to let go of a kafka client: it was dropped in place");
    }
}
