//! What can go wrong at a broker, as far as callers must tell apart.

use std::error::Error as StdError;
use std::fmt;

/// A failure at a broker. `Display` goes to callers; the source goes to logs.
#[derive(Debug)]
pub struct Error {
    /// What callers branch on.
    pub fault: Fault,
    detail: Option<Box<str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error without a cause.
    pub fn new(fault: Fault) -> Self {
        Self { fault, detail: None, source: None }
    }

    /// Adds a sentence for the caller: what is wrong and what to do. Never a secret or a password.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Box<str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the cause, for logs.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => f.write_str(detail),
            None => self.fault.fmt(f),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// The kinds of failure. Matched without `_`, so that a new one makes every caller decide.
///
/// All but [`Fault::Timeout`] mean, of a publish: not stored, and it never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// It exists at the broker with other settings.
    #[error("it exists at the broker with other settings")]
    Conflict,
    /// The broker's permissions forbid it, or the credentials are wrong.
    #[error("the broker does not allow this")]
    Denied,
    /// The broker cannot carry this: an illegal address, a partition that does not exist.
    #[error("the broker cannot carry this message")]
    Invalid,
    /// A limit of the bridge's settings is reached.
    #[error("a configured limit is reached")]
    Limited,
    /// The bridge's or the broker's queue is full: too much is in flight.
    #[error("too much is in flight to the broker")]
    Overloaded,
    /// The broker answered, and refused.
    #[error("the broker refused")]
    Rejected,
    /// The store has reached its limit.
    #[error("the storage is full")]
    StorageFull,
    /// Handed over, and not answered in time: it may or may not be stored.
    #[error("the broker did not answer in time; the message may have been stored")]
    Timeout,
    /// Larger than the broker takes.
    #[error("the message is larger than the broker takes")]
    TooLarge,
    /// The broker cannot be reached; nothing was handed over.
    #[error("the broker cannot be reached")]
    Unavailable,
    /// The topic does not exist at the broker.
    #[error("there is no such topic at the broker")]
    UnknownTopic,
    /// The broker took the message and found nowhere to put it.
    #[error("the broker has nowhere to put messages of this address")]
    Unroutable,
    /// This broker cannot do this at all.
    #[error("this broker cannot do this")]
    Unsupported,
}
