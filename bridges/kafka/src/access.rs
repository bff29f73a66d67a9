//! How clients get in: TLS and SASL as configured, with the secrets as they are now.
//!
//! The client library takes certificates and passwords when a client is made, and keeps them. So
//! each client remembers what it was made with ([`Credentials`]), and whoever owns it makes another
//! once the secrets have changed.

use std::fmt;
use std::sync::Arc;

use rdkafka::ClientConfig;
use sidespan_bridge::{Secret, SecretError, Tls};

use crate::sasl::{Identity, Mechanism};
use crate::settings::KafkaSettings;
use crate::tokens::Tokens;

/// The way into one cluster.
pub(crate) struct Access {
    tls: Option<Tls>,
    user: Option<(Mechanism, Secret, Secret)>,
    pub(crate) tokens: Option<Tokens>,
}

/// The client library's settings for getting in, secrets among them. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials(Vec<(&'static str, String)>);

impl Access {
    /// Takes the settings, and begins to fetch tokens if they are needed.
    pub(crate) fn new(settings: &KafkaSettings) -> Arc<Self> {
        let (mut user, mut tokens) = (None, None);
        if let Some((mechanism, identity)) = settings.identity() {
            match identity {
                Identity::User { username, password } => user = Some((mechanism, username, password)),
                Identity::Client(issuer) => tokens = Some(Tokens::fetch(issuer)),
            }
        }
        Arc::new(Self { tls: settings.tls.clone(), user, tokens })
    }

    /// Returns how TLS is configured.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Reads the secrets as they are now.
    pub(crate) fn credentials(&self) -> Result<Credentials, SecretError> {
        let mut pairs = Vec::new();
        let sasl = self.user.is_some() || self.tokens.is_some();
        let protocol = match (&self.tls, sasl) {
            (None, false) => "plaintext",
            (None, true) => "sasl_plaintext",
            (Some(_), false) => "ssl",
            (Some(_), true) => "sasl_ssl",
        };
        pairs.push(("security.protocol", protocol.to_owned()));
        if let Some(tls) = &self.tls {
            let pem = tls.read()?;
            pairs.push(match pem.authorities {
                Some(authorities) => ("ssl.ca.pem", authorities),
                None => ("ssl.ca.location", "probe".to_owned()),
            });
            if let Some(identity) = pem.identity {
                pairs.push(("ssl.certificate.pem", identity.certificate));
                pairs.push(("ssl.key.pem", identity.key));
            }
        }
        if let Some((mechanism, username, password)) = &self.user {
            pairs.push(("sasl.mechanisms", mechanism.name().to_owned()));
            pairs.push(("sasl.username", username.reveal()?));
            pairs.push(("sasl.password", password.reveal()?));
        }
        if self.tokens.is_some() {
            pairs.push(("sasl.mechanisms", Mechanism::Oauthbearer.name().to_owned()));
        }
        Ok(Credentials(pairs))
    }
}

impl Credentials {
    /// Puts them into a client's configuration.
    pub(crate) fn apply(&self, config: &mut ClientConfig) {
        for (name, value) in &self.0 {
            config.set(*name, value.as_str());
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
