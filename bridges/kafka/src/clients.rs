//! Makes the clients of one cluster, and hears what they say.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use sidespan_bridge::{Error, Fault};
use tracing::debug;

use crate::access::{Access, Credentials};
use crate::link::Link;
use crate::settings::KafkaSettings;
use crate::tokens::Tokens;
use crate::trouble::Trouble;

/// What clients are made from.
pub(crate) struct Clients {
    settings: KafkaSettings,
    service: Box<str>,
    access: Arc<Access>,
    pub(crate) link: Arc<Link>,
}

/// What a client is made with and speaks through.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) link: Arc<Link>,
    access: Arc<Access>,
    /// What the client was made with.
    credentials: Credentials,
    /// How long it may wait for a token on the thread that serves it.
    patience: Duration,
}

impl Clients {
    /// Takes the settings; makes no client yet.
    pub(crate) fn new(settings: KafkaSettings, service: Box<str>) -> Self {
        let access = Access::new(&settings);
        let link = Link::new(settings.brokers.clone(), access.tls().cloned(), settings.sasl.is_some());
        let link = Arc::new(link.of(settings.bridge.clone()));
        Self { settings, service, access, link }
    }

    /// Returns what the one producer is made from.
    pub(crate) fn producer(&self) -> Result<(ClientConfig, Line), Error> {
        self.enter(self.settings.producer(&self.service), PATIENCE)
    }

    /// Returns what the consumer of a group is made from.
    pub(crate) fn consumer(&self, group: &str) -> Result<(ClientConfig, Line), Error> {
        self.enter(self.settings.consumer(&self.service, group), PATIENCE)
    }

    /// Returns what a client is made from that only asks, or administers.
    pub(crate) fn asker(&self) -> Result<(ClientConfig, Line), Error> {
        self.enter(self.settings.asker(&self.service), Duration::ZERO)
    }

    /// Says in a line why nobody answers, and what to do.
    pub(crate) fn explain(&self) -> Error {
        // The client tells of it after seconds, when it has given up waiting for a token.
        match self.access.tokens.as_ref().and_then(Tokens::trouble) {
            Some(reason) => self.link.explain_by(&Trouble::no_token(reason)),
            None => self.link.explain(),
        }
    }

    fn enter(&self, mut config: ClientConfig, patience: Duration) -> Result<(ClientConfig, Line), Error> {
        let credentials = self
            .access
            .credentials()
            .map_err(|error| Error::new(Fault::Unavailable).detail(error.to_string()).because(error))?;
        credentials.apply(&mut config);
        let (link, access) = (Arc::clone(&self.link), Arc::clone(&self.access));
        Ok((config, Line { link, access, credentials, patience }))
    }
}

impl Line {
    /// Tells whether the secrets have changed since the client was made. Secrets that cannot be read,
    /// as while they are being written, have not.
    pub(crate) fn is_outdated(&self) -> bool {
        match self.access.credentials() {
            Ok(now) => now != self.credentials,
            Err(error) => {
                debug!(bridge = self.link.bridge(), %error, "kafka clients go on with the secrets that they have");
                false
            }
        }
    }
}

impl ClientContext for Line {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.link.log(level, facility, message);
    }

    // The producer's connections tell whether the cluster is there; others idle for long.
    fn error(&self, error: KafkaError, reason: &str) {
        debug!(bridge = self.link.bridge(), %error, reason, "kafka client error");
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        match &self.access.tokens {
            Some(tokens) => Ok(tokens.token(self.patience)?),
            None => Err("this client uses no tokens".into()),
        }
    }
}

impl ConsumerContext for Line {}

/// The first token takes a moment, and the client library asks again only after ten seconds.
const PATIENCE: Duration = Duration::from_secs(5);
