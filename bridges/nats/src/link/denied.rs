//! What the server's permissions forbid, as it says so.

use sidespan_bridge::{Error, Fault};

/// What the server's permissions forbid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// To publish to a subject.
    Publish(String),
    /// To subscribe to one.
    Subscribe(String),
}

impl Denied {
    /// Reads the server's words.
    pub(super) fn read(reason: &str) -> Option<Self> {
        let (_, rest) = reason.split_once("Permissions Violation for ")?;
        let (verb, rest) = rest.split_once(" to \"")?;
        let subject = rest.split('"').next()?.to_owned();
        match verb {
            "Publish" => Some(Self::Publish(subject)),
            "Subscription" => Some(Self::Subscribe(subject)),
            _ => None,
        }
    }

    /// Says so to whoever asked for it.
    pub(crate) fn error(&self) -> Error {
        let (verb, subject) = match self {
            Self::Publish(subject) => ("publish", subject),
            Self::Subscribe(subject) => ("subscribe", subject),
        };
        Error::new(Fault::Denied).detail(format!("nats does not allow this user to {verb} to {subject}"))
    }
}
