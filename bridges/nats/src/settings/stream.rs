//! What a stream is to be like.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sidespan_bridge::{Pattern, SettingsError, Size, Span};

/// A stream that the bridge makes sure of.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamSettings {
    /// Its name: no dots, blanks, slashes or wildcards.
    pub(crate) name: String,
    /// The subjects that it captures; `*` and `>` stand for tokens.
    #[schemars(length(min = 1))]
    pub(crate) subjects: Vec<String>,
    /// How many servers keep a copy.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 5))]
    pub(crate) replicas: u8,
    /// What is kept: everything up to its limits, what some consumer still has to settle
    /// (`interest`), or what has not been settled (`work_queue`).
    #[serde(default)]
    pub(crate) retention: Retention,
    /// Where it is kept.
    #[serde(default)]
    pub(crate) storage: Storage,
    /// How long messages are kept, such as `7d`. Default: without end.
    #[serde(default)]
    pub(crate) max_age: Option<Span>,
    /// How much is kept, such as `10GiB`. Default: as much as the server allows.
    #[serde(default)]
    pub(crate) max_bytes: Option<Size>,
    /// How long the broker remembers idempotency keys.
    #[serde(default = "duplicate_window")]
    pub(crate) duplicate_window: Span,
}

/// How a stream for one topic is made.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateStreams {
    /// How many servers keep a copy.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 5))]
    replicas: u8,
    /// Where it is kept.
    #[serde(default)]
    storage: Storage,
    /// How long messages are kept, such as `7d`. Default: without end.
    #[serde(default)]
    max_age: Option<Span>,
    /// How much each stream keeps, such as `1GiB`. Default: as much as the server allows.
    #[serde(default)]
    max_bytes: Option<Size>,
    /// How long the broker remembers idempotency keys.
    #[serde(default = "duplicate_window")]
    duplicate_window: Span,
}

/// What a stream keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Retention {
    /// What some consumer has yet to settle.
    Interest,
    /// Everything, up to its limits.
    #[default]
    Limits,
    /// What has not been settled; each message is for one consumer.
    #[serde(alias = "workqueue")]
    WorkQueue,
}

/// Where a stream is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Storage {
    /// On disk.
    #[default]
    File,
    /// In memory: gone when the servers are.
    Memory,
}

impl StreamSettings {
    /// Checks a stream's settings; `key` is where they stand.
    pub(super) fn check(&self, key: &str) -> Result<(), SettingsError> {
        if !is_stream_name(&self.name) {
            let reason = format!(
                "{:?} is no name for a stream: it holds no dots, blanks, slashes or wildcards, and at most 255 bytes",
                self.name
            );
            return Err(SettingsError::new(format!("{key}.name"), reason));
        }
        if self.subjects.is_empty() {
            return Err(SettingsError::new(format!("{key}.subjects"), "expected at least one subject"));
        }
        for (index, subject) in self.subjects.iter().enumerate() {
            if let Err(error) = Pattern::parse(subject) {
                return Err(SettingsError::new(format!("{key}.subjects[{index}]"), error.to_string()));
            }
        }
        check_replicas(key, self.replicas)
    }
}

impl CreateStreams {
    /// Checks the settings; `key` is where they stand.
    pub(super) fn check(&self, key: &str) -> Result<(), SettingsError> {
        check_replicas(key, self.replicas)
    }

    /// Returns the stream for one topic.
    pub(crate) fn stream(&self, name: String, topic: &str) -> StreamSettings {
        StreamSettings {
            name,
            subjects: vec![topic.to_owned()],
            replicas: self.replicas,
            retention: Retention::Limits,
            storage: self.storage,
            max_age: self.max_age,
            max_bytes: self.max_bytes,
            duplicate_window: self.duplicate_window,
        }
    }
}

fn check_replicas(key: &str, replicas: u8) -> Result<(), SettingsError> {
    if !(1..=5).contains(&replicas) {
        let reason = format!("expected 1 to 5, found {replicas}");
        return Err(SettingsError::new(format!("{key}.replicas"), reason));
    }
    Ok(())
}

fn is_stream_name(name: &str) -> bool {
    let legal = |c: char| !(c.is_whitespace() || c.is_control() || ".*>/\\".contains(c));
    !name.is_empty() && name.len() <= 255 && name.chars().all(legal)
}

pub(super) fn one() -> u8 {
    1
}

fn duplicate_window() -> Span {
    Span(Duration::from_secs(120))
}
