//! The server as a process: it says what it does, and listens to signals.

use std::io;
use std::pin::pin;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::field::display;

use super::{App, Bound, Ended, StartError};
use crate::config::Config;
use crate::reload::Source;
use crate::telemetry::log;

/// Why a server did not serve to a proper end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A second signal came while it was draining.
    #[error("stopped at once by a second signal; what was not settled stays with its broker")]
    Interrupted,
    /// The system refuses what every process needs.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// It does not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Serves until SIGTERM or SIGINT and then drains; a second signal ends it at once. `say` is told
/// where it listens.
///
/// # Errors
///
/// It cannot start, or was ended before it was drained.
pub async fn run(
    config: Config,
    source: Option<Source>,
    say: impl FnOnce(&Config, &Bound),
) -> Result<Ended, RunError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut told = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    let (file, hash) = source.as_ref().map(|source| (display(source.path.display()), source.hash())).unzip();
    tracing::info!(version, file, hash, development = config.development, "starting");
    let app = App::bind(config).await?;
    let app = match source {
        Some(source) => app.follow(source),
        None => app,
    };
    let bound = app.bound()?;
    let App { config, .. } = &app;
    let bridges: Vec<String> =
        config.bridges.iter().map(|(name, bridge)| format!("{name} ({})", bridge.driver.name())).collect();
    tracing::info!(
        services = %bound.services, admin = %bound.admin, health = config.health.map(display),
        bridges = bridges.join(", "), topics = config.topics.len(), subscriptions = config.subscriptions.len(),
        "listening"
    );
    say(&app.config, &bound);
    let stop = CancellationToken::new();
    let mut running = pin!(app.run(stop.clone().cancelled_owned()));
    tokio::select! {
        ended = &mut running => return Ok(ended),
        () = told() => stop.cancel(),
    }
    tokio::select! {
        ended = running => {
            let Ended { attempts_left, held, connections_cut } = ended;
            log::settle();
            if ended.is_clean() {
                tracing::info!(attempts_left, held, connections_cut, "stopped");
            } else {
                tracing::warn!(attempts_left, held, connections_cut, "stopped");
            }
            Ok(ended)
        }
        () = told() => Err(RunError::Interrupted),
    }
}
