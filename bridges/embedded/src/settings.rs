//! The settings of the embedded bridge.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sidespan_bridge::{SettingsError, Size, Span};

/// The embedded log: durable messages in one local directory, without a broker.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedSettings {
    /// Directory of the log. It is made if it does not exist; one process owns it at a time.
    pub dir: PathBuf,
    /// Makes a topic when somebody first publishes to it or subscribes to it.
    #[serde(default = "default_create_topics")]
    pub create_topics: bool,
    /// Largest message: payload, key and headers together.
    #[serde(default = "default_max_message")]
    pub max_message: Size,
    /// How long messages are kept.
    #[serde(default)]
    pub retention: Retention,
    /// How long an idempotency key is remembered; `0s` turns it off.
    #[serde(default = "default_deduplication")]
    pub deduplication: Span,
}

/// How long messages are kept. What a durable subscription has not settled is kept in any case,
/// unless `discard: old` says otherwise.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Age at which messages are removed, such as `7d`. Default: age alone removes nothing.
    pub age: Option<Span>,
    /// Size of all records at which the oldest are removed. The file may grow to about twice this.
    pub size: Size,
    /// What gives way when the limit is reached and the oldest messages are not settled yet.
    pub discard: Discard,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: None, size: Size(1 << 30), discard: Discard::default() }
    }
}

/// What gives way at the limit of retention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Discard {
    /// New messages are refused until there is room.
    #[default]
    New,
    /// Old messages are removed although a subscription has yet to settle them.
    Old,
}

impl EmbeddedSettings {
    /// Checks what types cannot say.
    ///
    /// # Errors
    ///
    /// A directory without a name, or sizes that leave no room for a message.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.dir.as_os_str().is_empty() {
            return Err(SettingsError::new("dir", "is empty: name a directory"));
        }
        if self.max_message.0 == 0 || self.max_message.0 > LARGEST_MESSAGE {
            return Err(SettingsError::new("max_message", "must be between 1 byte and 256MiB"));
        }
        if self.retention.size.0 < self.max_message.0.saturating_mul(2) {
            let reason = "must be at least twice max_message, else a single message fills the log";
            return Err(SettingsError::new("retention.size", reason));
        }
        if self.retention.age.is_some_and(|age| age.0.is_zero()) {
            return Err(SettingsError::new("retention.age", "is zero: leave it out to keep any age"));
        }
        Ok(())
    }
}

fn default_create_topics() -> bool {
    true
}

fn default_max_message() -> Size {
    Size(2 << 20)
}

fn default_deduplication() -> Span {
    Span(Duration::from_secs(120))
}

const LARGEST_MESSAGE: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sidespan_bridge::Settings;

    use super::*;

    #[test]
    fn a_directory_alone_is_enough() {
        let settings: EmbeddedSettings = Settings::new("s", json!({"dir": "x"})).parse().unwrap();
        assert!(settings.create_topics);
        assert_eq!(settings.retention.size, Size(1 << 30));
        assert_eq!(settings.deduplication, Span(Duration::from_secs(120)));
        assert_eq!(settings.check(), Ok(()));
    }

    #[test]
    fn mistakes_are_named_by_their_key() {
        let cases = [
            (json!({}), "dir"),
            (json!({"dir": ""}), "dir"),
            (json!({"dir": "x", "dri": 1}), "dri"),
            (json!({"dir": "x", "deduplication": 120}), "deduplication"),
            (json!({"dir": "x", "deduplication": "120"}), "deduplication"),
            (json!({"dir": "x", "retention": {"size": "1 furlong"}}), "retention.size"),
            (json!({"dir": "x", "retention": {"size": "1KiB"}}), "retention.size"),
            (json!({"dir": "x", "retention": {"age": "0s"}}), "retention.age"),
            (json!({"dir": "x", "retention": {"discard": "all"}}), "retention.discard"),
            (json!({"dir": "x", "max_message": 0}), "max_message"),
        ];
        for (keys, key) in cases {
            let settings = Settings::new("s", keys.clone()).parse::<EmbeddedSettings>();
            let error = settings.and_then(|settings| settings.check()).unwrap_err();
            assert!(error.to_string().contains(key), "{keys}: {error}");
        }
    }
}
