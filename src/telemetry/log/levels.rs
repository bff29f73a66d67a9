//! What is said: as the configuration has it, or as somebody has asked for, perhaps for a while.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio_util::task::AbortOnDropHandle;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::{Registry, reload};

use super::{LEVELS, OWN};
use crate::config::Level;

/// What is said, and how to change it.
#[derive(Debug)]
pub(super) struct Levels {
    handle: reload::Handle<Targets, Registry>,
    quiet: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    configured: Level,
    asked: Option<Asked>,
}

/// What holds in the place of the configuration.
#[derive(Debug)]
struct Asked {
    level: Level,
    until: Option<Timestamp>,
    /// Puts an end to it.
    _end: Option<AbortOnDropHandle<()>>,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LevelReport {
    /// What holds now.
    pub level: String,
    /// What the configuration says.
    pub configured: String,
    /// When that holds again, if a time was given (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Why a level cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unchanged {
    /// The log is another's.
    #[error("this process has a log of its own")]
    NotOurs,
}

/// Returns what is said.
///
/// # Errors
///
/// The log is not ours.
pub fn level() -> Result<LevelReport, Unchanged> {
    Ok(LEVELS.get().ok_or(Unchanged::NotOurs)?.report())
}

/// Has this said in the place of what is configured: until the configured level changes, or for `time`. Call it
/// within a runtime.
///
/// # Errors
///
/// The log is not ours.
pub fn ask(level: Level, time: Option<Duration>) -> Result<LevelReport, Unchanged> {
    let levels = LEVELS.get().ok_or(Unchanged::NotOurs)?;
    let end = time.map(|time| {
        AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::time::sleep(time).await;
            levels.change(|state| state.asked = None);
        }))
    });
    let until = time.and_then(|time| Timestamp::now().checked_add(time).ok());
    levels.change(|state| {
        let as_configured = time.is_none() && level == state.configured;
        state.asked = (!as_configured).then(|| Asked { level, until, _end: end });
    });
    Ok(levels.report())
}

/// Takes over what the configuration says now. Only a change of it ends what somebody has asked for.
pub fn configure(level: &Level) {
    let Some(levels) = LEVELS.get() else { return };
    levels.change(|state| {
        if state.configured != *level {
            state.configured = level.clone();
            state.asked = None;
        }
    });
}

impl Levels {
    pub(super) fn new(handle: reload::Handle<Targets, Registry>, quiet: &'static str, level: Level) -> Self {
        heed_other_crates();
        Self { handle, quiet, state: Mutex::new(State { configured: level, asked: None }) }
    }

    fn report(&self) -> LevelReport {
        let state = self.lock();
        LevelReport {
            level: state.level().to_string(),
            configured: state.configured.to_string(),
            until: state.asked.as_ref().and_then(|asked| asked.until).map(|until| until.to_string()),
        }
    }

    /// Changes what is said, and says so.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let (before, after) = {
            let mut state = self.lock();
            let before = state.level().clone();
            change(&mut state);
            let after = state.level().clone();
            if before != after {
                // It fails where the log has ended.
                let _ = self.handle.reload(wanted(self.quiet, &after));
                heed_other_crates();
            }
            (before, after)
        };
        if before != after {
            tracing::warn!(target: OWN, level = %after, before = %before, "the log's level has changed");
        }
    }

    /// Nobody panics while holding it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn level(&self) -> &Level {
        self.asked.as_ref().map_or(&self.configured, |asked| &asked.level)
    }
}

/// What speaks through the crate `log` asks that one first, which learns the level of a start only.
fn heed_other_crates() {
    log::set_max_level(match LevelFilter::current() {
        LevelFilter::OFF => log::LevelFilter::Off,
        LevelFilter::ERROR => log::LevelFilter::Error,
        LevelFilter::WARN => log::LevelFilter::Warn,
        LevelFilter::INFO => log::LevelFilter::Info,
        LevelFilter::DEBUG => log::LevelFilter::Debug,
        LevelFilter::TRACE => log::LevelFilter::Trace,
    });
}

/// Returns what passes: `quiet` first, and what was asked for over it.
pub(super) fn wanted(quiet: &str, level: &Level) -> Targets {
    // A `Level` has only what is read here.
    let directives = format!("{quiet},{OWN}=warn,{level}");
    directives.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO))
}

#[cfg(test)]
mod tests {
    use tracing::Level as Of;

    use super::*;

    #[test]
    fn who_is_quiet_is_heard_only_where_it_is_asked_for() {
        let hears =
            |level, part| wanted("lapin=off", &Level::parse(level).unwrap()).would_enable(part, &Of::WARN);
        assert!(!hears("debug", "lapin::channel") && hears("debug", "h2"));
        assert!(hears("info,lapin=warn", "lapin::channel"));
        assert!(hears("error", OWN) && !hears("error", "sidespan::delivery"), "what is missing is said");
    }
}
