//! Who we are to the brokers: SASL, as the configuration says it.

use schemars::JsonSchema;
use serde::Deserialize;
use sidespan_bridge::{Secret, SettingsError, Tls};
use url::Url;

/// How clients show the brokers who they are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sasl {
    /// The mechanism, which the brokers must offer.
    pub(crate) mechanism: Mechanism,
    /// The user's name. Required, but not with `oauthbearer`.
    #[serde(default)]
    username: Option<Secret>,
    /// The user's password. Required, but not with `oauthbearer`.
    #[serde(default)]
    password: Option<Secret>,
    /// Where tokens are issued for client credentials (OAuth 2.0): an http or https URL. Required
    /// with `oauthbearer`, and only there.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    token_endpoint: Option<Url>,
    /// Who asks for tokens. Required with `oauthbearer`, and only there.
    #[serde(default)]
    client_id: Option<String>,
    /// The secret of `client_id`. Required with `oauthbearer`, and only there.
    #[serde(default)]
    client_secret: Option<Secret>,
    /// What tokens are to be good for, if the issuer wants to be told; only with `oauthbearer`. Default: not told.
    #[serde(default)]
    scope: Option<String>,
    /// TLS to a `token_endpoint` with https. Default: with the machine's authorities.
    #[serde(default)]
    token_endpoint_tls: Option<Tls>,
}

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mechanism {
    /// A token of an OAuth 2.0 issuer.
    Oauthbearer,
    /// Name and password as they are: only with `tls` is that safe.
    Plain,
    /// A proof of the password, with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// A proof of the password, with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// SASL with all that its mechanism needs.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// A user with a password.
    User { username: Secret, password: Secret },
    /// Tokens of an issuer.
    Client(Issuer),
}

/// Where tokens come from.
#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    pub(crate) endpoint: Url,
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
    pub(crate) scope: Option<String>,
    pub(crate) tls: Tls,
}

impl Sasl {
    /// Checks that what the mechanism needs is there, and nothing else.
    pub(crate) fn identity(&self) -> Result<Identity, SettingsError> {
        let oauth = self.mechanism == Mechanism::Oauthbearer;
        let of_users = [("username", self.username.is_some()), ("password", self.password.is_some())];
        let of_clients = [
            ("token_endpoint", self.token_endpoint.is_some()),
            ("client_id", self.client_id.is_some()),
            ("client_secret", self.client_secret.is_some()),
            ("scope", self.scope.is_some()),
            ("token_endpoint_tls", self.token_endpoint_tls.is_some()),
        ];
        let strangers: &[(&str, bool)] = if oauth { &of_users } else { &of_clients };
        if let Some((key, _)) = strangers.iter().find(|(_, given)| *given) {
            let reason = format!("does not belong to the mechanism {}", self.mechanism.name());
            return Err(SettingsError::new(format!("sasl.{key}"), reason));
        }
        let missing = |key: &str| {
            let reason = format!("expected with the mechanism {}", self.mechanism.name());
            SettingsError::new(format!("sasl.{key}"), reason)
        };
        if !oauth {
            let username = self.username.clone().ok_or_else(|| missing("username"))?;
            let password = self.password.clone().ok_or_else(|| missing("password"))?;
            return Ok(Identity::User { username, password });
        }
        let endpoint = self.token_endpoint.clone().ok_or_else(|| missing("token_endpoint"))?;
        if !matches!(endpoint.scheme(), "http" | "https") || !endpoint.username().is_empty() {
            let reason = "expected an http or https URL; the client's name goes into `client_id`";
            return Err(SettingsError::new("sasl.token_endpoint", reason));
        }
        let tls = self.token_endpoint_tls.clone().unwrap_or_default();
        tls.check("sasl.token_endpoint_tls")?;
        Ok(Identity::Client(Issuer {
            endpoint,
            client_id: self.client_id.clone().ok_or_else(|| missing("client_id"))?,
            client_secret: self.client_secret.clone().ok_or_else(|| missing("client_secret"))?,
            scope: self.scope.clone(),
            tls,
        }))
    }
}

impl Mechanism {
    /// Returns the name that brokers know.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Oauthbearer => "OAUTHBEARER",
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}
