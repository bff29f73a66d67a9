//! What is wrong with the connections to a cluster, in words that say what to change.
//!
//! The client library tells a class of errors and a text. Where the class is too wide the text is
//! looked at: it is all that tells a wrong port from a broker that is away. Of a broker's
//! certificate it says only that it could not be verified, so that is asked anew ([`second_opinion`]).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use sidespan_bridge::{Error, Fault, Tls, tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// An error that the client told about a connection.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    kind: Kind,
    reason: String,
    /// What a handshake of our own came upon.
    pub(crate) opinion: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The broker does not take the credentials, or there are none to show.
    Credentials,
    /// The broker offers other mechanisms.
    Mechanism,
    /// A name among the brokers is not known.
    Name,
    /// There is no token to show.
    NoToken,
    /// The broker wants credentials, and there are none.
    NoSasl,
    /// The port asks for no credentials.
    NoSaslPort,
    /// TLS where the broker speaks none.
    NoTlsPort,
    /// No TLS where the broker speaks it.
    TlsPort,
    /// TLS cannot be agreed on.
    Tls,
    /// Anything else: mostly a broker that is away.
    Other,
}

impl Trouble {
    /// Takes what the client told.
    pub(crate) fn new(code: Code, reason: &str) -> Self {
        Self { kind: kind(code, reason), reason: reason.to_owned(), opinion: None }
    }

    /// Tells whether this is a cause, and not what follows from one.
    pub(crate) fn is_cause(&self) -> bool {
        self.kind != Kind::Other
    }

    /// Is in the place of what the client tells later: there is no token to show.
    pub(crate) fn no_token(reason: String) -> Self {
        Self { kind: Kind::NoToken, reason, opinion: None }
    }

    /// Is in the place of what the client does not tell at all: it waits for an answer that it can read.
    pub(crate) fn tls_port() -> Self {
        Self { kind: Kind::TlsPort, reason: String::new(), opinion: None }
    }

    /// Is in the place of what the client does not tell: a connection ended at its first question.
    pub(crate) fn no_sasl() -> Self {
        Self { kind: Kind::NoSasl, reason: String::new(), opinion: None }
    }

    /// Tells whether another says the same, but for times and the broker's name.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && said(&self.reason) == said(&other.reason)
    }

    /// Tells whether a handshake of our own may say more.
    pub(crate) fn is_about_tls(&self) -> bool {
        self.kind == Kind::Tls && self.opinion.is_none()
    }

    /// Says in a line what is wrong and what to change.
    pub(crate) fn explain(&self, brokers: &str) -> Error {
        let reason = self.reason.as_str();
        let (fault, text) = match (&self.kind, &self.opinion) {
            (Kind::Credentials, _) => (
                Fault::Denied,
                format!(
                    "kafka at {brokers} refuses the credentials: check `sasl` of the bridge ({})",
                    said(reason)
                ),
            ),
            (Kind::Mechanism, _) => (
                Fault::Denied,
                format!(
                    "kafka at {brokers} does not offer this mechanism: change `sasl.mechanism` ({})",
                    said(reason)
                ),
            ),
            (Kind::Name, _) => {
                (Fault::Unavailable, format!("a name among `brokers` cannot be resolved: {}", said(reason)))
            }
            (Kind::NoToken, _) => {
                (Fault::Denied, format!("no token for kafka at {brokers} can be had: {}", said(reason)))
            }
            (Kind::NoSasl, _) => (
                Fault::Denied,
                format!(
                    "kafka at {brokers} ends connections as soon as they stand: if it is not going down it asks \
                     for credentials: set `sasl`"
                ),
            ),
            (Kind::NoSaslPort, _) => (
                Fault::Unavailable,
                format!(
                    "kafka at {brokers} takes no credentials at this port: name its SASL port in `brokers`, or \
                     leave `sasl` out"
                ),
            ),
            (Kind::NoTlsPort, _) => (
                Fault::Unavailable,
                format!(
                    "kafka at {brokers} does not speak TLS at this port: name its TLS port in `brokers`, or \
                     leave `tls` out"
                ),
            ),
            (Kind::TlsPort, _) => (
                Fault::Unavailable,
                format!(
                    "kafka at {brokers} speaks only TLS at this port: set `tls`, or name another port in `brokers`"
                ),
            ),
            (Kind::Tls, Some(opinion)) => {
                (Fault::Unavailable, format!("TLS with kafka at {brokers} fails: {opinion}"))
            }
            (Kind::Tls, None) => {
                (Fault::Unavailable, format!("TLS with kafka at {brokers} fails: {}", said(reason)))
            }
            (Kind::Other, _) => (
                Fault::Unavailable,
                format!(
                    "no kafka broker answers at {brokers}: is it running, and are `brokers` right? ({reason})"
                ),
            ),
        };
        Error::new(fault).detail(text)
    }
}

fn kind(code: Code, reason: &str) -> Kind {
    let says = |text| reason.contains(text);
    match code {
        Code::Authentication if says("Failed to acquire SASL OAUTHBEARER token") => Kind::NoToken,
        Code::Authentication if says("Unsupported SASL mechanism") => Kind::Mechanism,
        Code::Authentication if says("mechanism handshake failed") => Kind::NoSaslPort,
        Code::Authentication => Kind::Credentials,
        Code::Resolve => Kind::Name,
        _ if says("connecting to a PLAINTEXT broker listener") => Kind::NoTlsPort,
        _ if says("connecting to a SSL listener") => Kind::TlsPort,
        Code::SSL => Kind::Tls,
        _ if says("SSL routines") => Kind::Tls,
        _ => Kind::Other,
    }
}

/// Leaves out where and when the client came upon it: "ssl://k:9093/bootstrap: … (after 3ms in state …)".
fn said(reason: &str) -> &str {
    let reason = reason.rsplit_once(" (after ").map_or(reason, |(said, _)| said);
    reason.split_once(": ").filter(|(whom, _)| whom.contains("://")).map_or(reason, |(_, said)| said)
}

/// Makes a handshake of our own with a broker and returns what it came upon, if anything.
pub(crate) async fn second_opinion(tls: &Tls, broker: &str) -> Option<String> {
    let config = match tls.client() {
        Ok(config) => Arc::new(config),
        Err(error) => return Some(error.to_string()),
    };
    match timeout(PATIENCE, shake_hands(config, broker)).await {
        Ok(Err(error)) => tls::explain(&error),
        Ok(Ok(())) | Err(_) => None,
    }
}

/// What a port shows to whoever knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// Nobody takes a connection.
    Shut,
    /// It speaks TLS.
    Tls,
    /// It ends a connection at the first question that wants to know who asks.
    HangsUp,
    /// Nothing of that.
    Plain,
}

/// Finds out what a broker's port is. Takes a few seconds at most.
pub(crate) async fn knock(broker: &str) -> Port {
    if !matches!(timeout(PATIENCE, TcpStream::connect(broker)).await, Ok(Ok(_))) {
        Port::Shut
    } else if speaks_tls(broker).await {
        Port::Tls
    } else if hangs_up(broker).await {
        Port::HangsUp
    } else {
        Port::Plain
    }
}

/// Tells whether a port speaks TLS: only then somebody shows us a certificate, which we don't trust.
async fn speaks_tls(broker: &str) -> bool {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let Ok(builder) = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
    else {
        return false;
    };
    let config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    match timeout(PATIENCE, shake_hands(Arc::new(config), broker)).await {
        Ok(Err(error)) => {
            let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
            matches!(error, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)))
        }
        Ok(Ok(())) | Err(_) => false,
    }
}

/// Tells whether a broker takes a connection and ends it at the first question that wants to know who asks.
async fn hangs_up(broker: &str) -> bool {
    let asked = async {
        let mut socket = TcpStream::connect(broker).await.ok()?;
        socket.write_all(METADATA).await.ok()?;
        Some(socket.read_u8().await.is_err())
    };
    timeout(PATIENCE, asked).await.ok().flatten().unwrap_or(false)
}

async fn shake_hands(config: Arc<ClientConfig>, broker: &str) -> io::Result<()> {
    let (host, _) = broker.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
    let socket = TcpStream::connect(broker).await?;
    let mut stream = TlsConnector::from(config).connect(name, socket).await?;
    // A broker that refuses our certificate says so only behind the handshake.
    stream.write_all(API_VERSIONS).await?;
    stream.read_u8().await?;
    Ok(())
}

/// The first question of any client: its length, which it is (18), version 0, a number, no name.
const API_VERSIONS: &[u8] = &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
/// Asks for the brokers of the cluster (3), version 4, and for no topic; none is to be made.
const METADATA: &[u8] = &[0, 0, 0, 15, 0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0];
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_broker_said_is_passed_on() {
        let reason =
            "sasl_ssl://k:9093/bootstrap: SASL authentication error: no (after 3ms in state AUTH_REQ)";
        assert_eq!(said(reason), "SASL authentication error: no");
        assert_eq!(said("it is: away"), "it is: away");
    }
}
