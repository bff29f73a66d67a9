//! How a command fails, and what the shell is told.

use std::io;

use crate::config::ConfigErrors;

/// How a command ends.
pub(super) type Outcome = Result<(), Failure>;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The configuration cannot be used.
    Config(ConfigErrors),
    /// Refused, or found to be wrong: the same command fails again.
    Failed(String),
    /// What is wrong was said already.
    Found,
    /// Cannot be reached, overloaded, or not known: the same command may succeed later.
    Later(String),
    /// Nobody reads the output any more.
    ReaderGone,
    /// The arguments do not fit together.
    Usage(String),
}

impl Failure {
    /// Returns what is said on standard error.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Config(errors) => Some(errors.to_string()),
            Self::Failed(text) | Self::Later(text) => Some(text.clone()),
            Self::Usage(text) => Some(format!("{text}\n\nFor more information, try '--help'.")),
            Self::Found | Self::ReaderGone => None,
        }
    }

    /// Returns the exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Config(_) => CONFIGURATION,
            Self::Failed(_) | Self::Found => FAILED,
            Self::Later(_) => LATER,
            Self::ReaderGone => 0,
            Self::Usage(_) => USAGE,
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(errors)
    }
}

/// Of writing to standard output; other failures of this type are worded where they happen.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(format!("cannot write to standard output: {error}")),
        }
    }
}

const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
/// `EX_TEMPFAIL` of sysexits.h.
const LATER: u8 = 75;
/// `EX_CONFIG` of sysexits.h.
const CONFIGURATION: u8 = 78;
