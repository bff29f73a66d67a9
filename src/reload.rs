//! Reads the configuration file again when it changes, and does what can be done without a restart.
//!
//! # Why it is read every second
//!
//! Kubernetes changes a mounted ConfigMap by turning a symbolic link two directories up, editors put a new file in
//! the place of the old one, and some file systems tell of neither. Reading a small file costs some
//! microseconds, and finds all of it. A change counts once two readings agree, so that a file that is being
//! written is not taken for whole.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{Config, ConfigErrors, Name};
use crate::prepare::{self, Preparing};
use crate::publish::{Outlet, Publishing};
use crate::security::caller::Callers;
use crate::subscriptions::Subscriptions;
use crate::telemetry::log;
use crate::telemetry::metrics::Snapshot;
use crate::telemetry::names;

/// Where the configuration comes from.
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Reads it.
    pub load: fn(&Path) -> Result<Config, ConfigErrors>,
}

impl Source {
    /// Returns what tells the file's content from others: the beginning of its SHA-256.
    pub fn hash(&self) -> Option<String> {
        Some(hash(&std::fs::read(&self.path).ok()?))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What is to be said of the file.
#[derive(Debug, Default)]
pub struct FileState {
    report: Mutex<FileReport>,
    used: Mutex<Option<Used>>,
}

/// The file that is in use.
#[derive(Debug)]
struct Used {
    hash: String,
    since: SystemTime,
}

/// What is to be said of the file since it changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// Why it is not used as it is now; the one before is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Keys that have changed, and are used only after a restart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs_restart: Vec<&'static str>,
}

impl FileState {
    /// Returns what there is to say, if there is.
    pub fn report(&self) -> Option<FileReport> {
        let report = self.lock().clone();
        (report != FileReport::default()).then_some(report)
    }

    /// Puts which file is in use into a snapshot, where there is one.
    pub fn figures(&self, out: &mut Snapshot) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Used { hash, since }) = &*used else { return };
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        out.put(&names::CONFIG_INFO, &[(names::HASH, hash)], 1_u64);
        out.put(&names::CONFIG_RELOADED, &[], self.lock().error.is_none());
        out.put(&names::CONFIG_RELOAD_TIME, &[], since.as_secs_f64());
    }

    fn used(&self, content: &[u8]) {
        let used = Used { hash: hash(content), since: SystemTime::now() };
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Some(used);
    }

    /// Nobody panics while holding it.
    fn lock(&self) -> MutexGuard<'_, FileReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The parts of a server that a change concerns.
#[derive(Debug)]
pub struct Reload {
    /// What is in use.
    pub config: Arc<Config>,
    /// The bridges that run.
    pub outlets: BTreeMap<Name, Arc<Outlet>>,
    /// Where topics are declared.
    pub publishing: Arc<Publishing>,
    /// The subscriptions.
    pub subscriptions: Arc<Subscriptions>,
    /// Who may call, if anybody is asked.
    pub callers: Option<Arc<Callers>>,
    /// Where it is said how that went.
    pub state: Arc<FileState>,
}

impl Reload {
    /// Follows the file for ever.
    pub async fn follow(mut self, source: Source) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut used = read(&source.path).await;
        self.state.used(used.as_deref().unwrap_or_default());
        let mut seen = used.clone();
        // Has new topics made for as long as they are declared.
        let mut preparing = None;
        loop {
            ticks.tick().await;
            let now = read(&source.path).await;
            let is_settled = now == seen;
            seen = now;
            if is_settled && seen != used {
                used.clone_from(&seen);
                preparing = self.renew(&source).or(preparing);
                if self.state.lock().error.is_none() {
                    self.state.used(used.as_deref().unwrap_or_default());
                }
            }
        }
    }

    fn renew(&mut self, source: &Source) -> Option<Preparing> {
        let newer = match (source.load)(&source.path) {
            Ok(newer) => newer,
            Err(errors) => {
                let error = errors.to_string();
                tracing::error!(
                    error,
                    "the configuration has changed and cannot be used; the one before still is: mend the file"
                );
                self.state.lock().error = Some(error);
                return None;
            }
        };
        let (renewed, needs_restart) = self.config.renewed(newer);
        if let (Some(callers), Some(auth)) = (&self.callers, &renewed.auth)
            && self.config.auth.as_ref() != Some(auth)
        {
            callers.replace(auth);
        }
        log::configure(&renewed.log.level);
        let renewed = Arc::new(renewed);
        self.publishing.routes().declare(&renewed, &self.outlets);
        self.subscriptions.reconfigure(renewed.clone());
        self.config = renewed;
        tracing::info!(hash = source.hash(), "the configuration has changed and is in use");
        if !needs_restart.is_empty() {
            let keys = needs_restart.join(", ");
            tracing::warn!(keys, "some of what has changed in the configuration needs a restart");
        }
        *self.state.lock() = FileReport { error: None, needs_restart };
        Some(prepare::topics(&self.publishing.routes().declared()))
    }
}

/// Returns what tells one content from another: the beginning of its SHA-256, in hexadecimal digits.
fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what is there; nothing is a content too.
async fn read(path: &Path) -> Option<Vec<u8>> {
    tokio::fs::read(path).await.ok()
}

const EVERY: Duration = Duration::from_secs(1);
