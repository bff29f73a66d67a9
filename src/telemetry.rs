//! What Sidespan says of itself.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt;

use crate::config::{Log, LogFormat};

/// Starts the log on standard error. A second call changes nothing.
///
/// `quiet` are directives that the configured ones go over.
///
/// # Errors
///
/// The level is no filter directive.
pub fn start(log: &Log, quiet: &str) -> Result<(), LevelError> {
    let filter = filter(&log.level, quiet).map_err(|_| LevelError(log.level.clone()))?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Whoever embeds this as a library may have a log already, which then is theirs to keep.
    let _ = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
    Ok(())
}

fn filter(level: &str, quiet: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(format!("{quiet},{level}"))
}

/// Tells whether a header or metadata of this name, in lower case, is trace context: it goes with the message.
pub fn is_trace(name: &str) -> bool {
    matches!(name, "traceparent" | "tracestate" | "baggage")
}

/// A level that is no filter.
#[derive(Debug, thiserror::Error)]
#[error(
    "log.level: {0:?} is no filter: use error, warn, info, debug or trace, or `info,sidespan::delivery=debug`"
)]
pub struct LevelError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_quiet_is_heard_only_where_it_is_asked_for() {
        let read = |level| filter(level, "lapin=off").unwrap().to_string();
        assert!(read("debug").contains("lapin=off"), "{}", read("debug"));
        assert!(read("info,lapin=warn").contains("lapin=warn"), "{}", read("info,lapin=warn"));
        assert!(!read("info,lapin=warn").contains("lapin=off"), "{}", read("info,lapin=warn"));
    }
}
