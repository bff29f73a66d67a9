//! How to reach the management API.

use schemars::JsonSchema;
use serde::Deserialize;
use sidespan_bridge::{Secret, SettingsError};
use url::Url;

/// RabbitMQ's management API (plugin `rabbitmq_management`).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Management {
    /// Where it is: `http://host:15672`, or `https://`, then with the certificates of `tls`.
    url: String,
    /// Who asks; needs the tag `monitoring`, or `management` to see the virtual hosts it may use. Default: the
    /// user of the bridge.
    #[serde(default)]
    pub(crate) username: Option<Secret>,
    /// The password of `username`, and only beside it. Read anew for each question. Default: that of the bridge.
    #[serde(default)]
    pub(crate) password: Option<Secret>,
}

impl Management {
    /// Checks what can be checked without any I/O.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let key = "management.url";
        let url = self
            .url()
            .ok_or_else(|| SettingsError::new(key, "expected `http://host:port`, or `https://`"))?;
        if !url.username().is_empty() || url.password().is_some() {
            let reason = "expected no user: use `management.username` and `management.password`";
            return Err(SettingsError::new(key, reason));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(SettingsError::new(key, "expected an address without parameters"));
        }
        if self.username.is_some() != self.password.is_some() {
            let reason = "expected `username` and `password`, or neither";
            return Err(SettingsError::new("management", reason));
        }
        Ok(())
    }

    /// Returns where the API is.
    pub(crate) fn url(&self) -> Option<Url> {
        let url = Url::parse(&self.url).ok()?;
        (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(keys: Value) -> Result<(), String> {
        let read: Management = serde_json::from_value(keys).unwrap();
        read.check().map_err(|error| error.key.to_string())
    }

    #[test]
    fn an_address_of_the_api_is_of_the_web_and_names_nobody() {
        for url in ["http://rabbit:15672", "https://rabbit/prefix"] {
            assert_eq!(check(json!({"url": url})), Ok(()), "{url}");
        }
        for url in ["amqp://rabbit", "rabbit:15672", "http://a:b@rabbit", "http://rabbit?a=b", ""] {
            assert_eq!(check(json!({"url": url})), Err("management.url".to_owned()), "{url}");
        }
        let half = json!({"url": "http://rabbit", "username": "a"});
        assert_eq!(check(half), Err("management".to_owned()));
    }
}
