//! Names that people give.

use std::borrow::Borrow;
use std::fmt;

/// A name of a service, bridge or subscription: it becomes part of group names and client ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<str>);

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    ///
    /// Anything but 1 to 100 letters, digits, `-` and `_`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if text.is_empty() || text.len() > 100 || !text.chars().all(legal) {
            return Err(NameError::Name(text.into()));
        }
        Ok(Self(text.into()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A topic as callers name it: declared in the configuration, or an address on an open bridge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Box<str>);

impl TopicName {
    /// Reads a topic name.
    ///
    /// # Errors
    ///
    /// Empty, longer than 255 bytes, or with control characters.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
            return Err(NameError::Topic(text.chars().take(300).collect()));
        }
        Ok(Self(text.into()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A text that is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a name of a service, bridge or subscription.
    #[error("{0:?} is no name: use 1 to 100 letters, digits, `-` and `_`")]
    Name(Box<str>),
    /// Not a topic's name.
    #[error("{0:?} is no topic name: use 1 to 255 bytes without control characters")]
    Topic(Box<str>),
}
