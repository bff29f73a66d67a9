//! The log: lines on standard error, for people or for programs.
//!
//! A line goes through what is wanted ([`levels`]), what is too much of the same ([`throttle`]), and a queue
//! ([`lines`]) whose thread alone may wait for whoever reads. What is left out on that way is counted, and said.
//!
//! # Fields
//!
//! The message of a line is constant, in lower case, and says what to do where something is to be done. What it is
//! about stands in fields, and the same thing always under the same name:
//!
//! | field | what |
//! |---|---|
//! | `id` | the message's id, as its receiver gets it |
//! | `topic` | the topic as callers name it, or the address that a pattern has found |
//! | `subscription` | the subscription's name |
//! | `bridge` | the bridge's name |
//! | `trace_id` | the trace that the message or the request belongs to |
//! | `attempt` | the number of the attempt, from 1; those that found nobody there are not counted |
//! | `status` | the HTTP status that was answered |
//! | `retry_in` | how long until the next attempt |
//! | `error` | what went wrong, in the words that callers get; `source` is why, in those of a library |
//! | `reason` | why something was decided: of a dead letter, say |
//! | `caller` | the caller's name, where callers are asked |

mod levels;
mod lines;
mod throttle;
mod trace_id;

use std::io::{self, IsTerminal};
use std::panic;
use std::sync::{Arc, OnceLock};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry, reload};

use super::counts::{LOG_DROPPED, LOG_SUPPRESSED};
use crate::config::{Log, LogFormat};

use self::levels::Levels;
use self::lines::Lines;
use self::throttle::{Gate, Throttle};

pub use levels::{LevelReport, Unchanged, ask, configure, level};
pub use throttle::ACCESS;
pub use trace_id::{trace_id, trace_id_of};

/// The log of this process. Ends it when dropped.
#[derive(Debug)]
pub struct Running {
    lines: Arc<Lines>,
    throttle: Arc<Throttle>,
    has_ended: bool,
}

/// Starts the log on standard error. What embeds this as a library may have a log already, which then stays.
///
/// `quiet` are directives that the configured ones go over.
///
/// # Errors
///
/// The system has no thread or no file for it.
pub fn start(log: &Log, quiet: &'static str) -> io::Result<Running> {
    let throttle = Arc::new(Throttle::default());
    let lines = Arc::new(Lines::default());
    let (wanted, handle) = reload::Layer::new(levels::wanted(quiet, &log.level));
    let layer = fmt::layer().with_writer(lines.clone());
    let layer = match log.format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Text if io::stderr().is_terminal() => layer.boxed(),
        LogFormat::Text => layer.with_ansi(false).boxed(),
    };
    if registry().with(wanted).with(layer).with(Gate(throttle.clone())).try_init().is_ok() {
        lines::write(lines.clone(), throttle.clone())?;
        panic::set_hook(Box::new(panicked));
        let _ = LEVELS.set(Levels::new(handle, quiet, log.level.clone()));
        let _ = THROTTLE.set(throttle.clone());
    }
    Ok(Running { lines, throttle, has_ended: false })
}

impl Running {
    /// Says what was left out so far and waits until all lines are written, for as long as that may take at the end of
    /// a process. Tells whether they are: nobody may be reading.
    pub fn end(mut self) -> bool {
        self.finish()
    }

    fn finish(&mut self) -> bool {
        self.has_ended = true;
        self.throttle.report();
        self.lines.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended {
            self.finish();
        }
    }
}

/// Says how many lines were left out until now, so that what is said next can be the last line.
pub fn settle() {
    if let Some(throttle) = THROTTLE.get() {
        throttle.report();
    }
}

/// Returns how many lines were left out since the start because there were too many of the kind.
pub fn suppressed() -> u64 {
    LOG_SUPPRESSED.value()
}

/// Returns how many lines were lost since the start because nobody read standard error.
pub fn dropped() -> u64 {
    LOG_DROPPED.value()
}

/// The usual hook writes to standard error itself, in its own form, and waits for whoever reads.
fn panicked(info: &panic::PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string);
    let error = info.payload_as_str();
    tracing::error!(error, location, "panicked: please report this as a fault of sidespan");
}

/// Where the log says what became of itself; always heard, and never too much.
const OWN: &str = "sidespan::log";

static LEVELS: OnceLock<Levels> = OnceLock::new();
static THROTTLE: OnceLock<Arc<Throttle>> = OnceLock::new();
