//! The settings of one bridge, as its section of the configuration gives them.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// One bridge's section of the configuration, without `kind`.
///
/// `service` is given to every bridge: it is the client id at the broker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sidespan's identity: the client id at the broker.
    pub service: Box<str>,
    /// The bridge's name in the configuration, which its lines in the log have as `bridge`.
    pub bridge: Option<Box<str>>,
    /// The bridge's own keys.
    pub keys: Value,
}

impl Settings {
    /// Collects settings of a bridge without a name.
    pub fn new(service: impl Into<Box<str>>, keys: Value) -> Self {
        Self { service: service.into(), bridge: None, keys }
    }

    /// Gives the bridge a name.
    pub fn named(self, bridge: impl Into<Box<str>>) -> Self {
        Self { bridge: Some(bridge.into()), ..self }
    }

    /// Reads the keys into a bridge's own type (`deny_unknown_fields`).
    ///
    /// # Errors
    ///
    /// The first key that does not fit, by its path.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        serde_path_to_error::deserialize(&self.keys).map_err(|error| {
            let path = error.path().to_string();
            let key = if path == "." { String::new() } else { path };
            SettingsError { key, reason: error.into_inner().to_string() }
        })
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", .key.is_empty().then(String::new).unwrap_or_else(|| format!("{key}: ")))]
pub struct SettingsError {
    /// Path of the key below the bridge's section; empty for the section itself.
    pub key: String,
    /// What is wrong, and what was expected.
    pub reason: String,
}

impl SettingsError {
    /// Says what is wrong with a key.
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Inner,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        port: u16,
    }

    #[test]
    fn an_error_names_the_path_of_the_key() {
        let settings = Settings::new("s", json!({"inner": {"port": 7}}));
        assert_eq!(settings.parse::<Outer>().unwrap().inner.port, 7);
        let settings = Settings::new("s", json!({"inner": {"port": "x"}}));
        let error = settings.parse::<Outer>().unwrap_err();
        assert_eq!(error.key, "inner.port");
        assert!(error.to_string().starts_with("inner.port: invalid type"), "{error}");
    }
}
