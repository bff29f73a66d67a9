//! What failed attempts to connect mean, and what to change.
//!
//! The client library keeps no more of a failure than its text. So this reads texts: the library's, those of
//! rustls behind it, and the server's. The tests have each of them from a real server.

use async_nats::Server;
use sidespan_bridge::{Error, Fault};

use super::login::Login;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    fault: Fault,
    line: String,
}

/// What is needed to say what to change.
pub(super) struct Explainer {
    pub(super) servers: String,
    pub(super) login: Login,
    pub(super) tls: bool,
    pub(super) tls_first: bool,
}

impl Trouble {
    pub(super) fn error(&self) -> Error {
        Error::new(self.fault).detail(self.line.clone())
    }

    pub(super) fn line(&self) -> &str {
        &self.line
    }
}

impl Explainer {
    /// Explains the failure that somebody has to mend, if one of the servers had such a one; else one that may
    /// pass by itself.
    pub(super) fn explain(&self, servers: &[Server]) -> Option<Trouble> {
        let errors: Vec<&str> = servers.iter().filter_map(|server| server.last_error.as_deref()).collect();
        let to_mend = errors.iter().find_map(|error| self.to_mend(error));
        to_mend.or_else(|| errors.last().map(|error| self.away(Some(error))))
    }

    /// Says that nobody answers.
    pub(super) fn away(&self, reason: Option<&str>) -> Trouble {
        let servers = &self.servers;
        let line = match reason {
            Some("DNS error") => format!("a name among `servers` cannot be resolved: {servers}"),
            Some(reason) => {
                let reason = reason.strip_prefix("IO error: ").unwrap_or(reason);
                format!(
                    "no nats server answers at {servers}: is it running, and are `servers` right? ({reason})"
                )
            }
            None => format!("no nats server answers at {servers}: is it running, and are `servers` right?"),
        };
        Trouble { fault: Fault::Unavailable, line }
    }

    fn to_mend(&self, error: &str) -> Option<Trouble> {
        let servers = &self.servers;
        let (fault, line) = match self.credentials(error) {
            Some(line) => (Fault::Denied, line),
            None => (Fault::Unavailable, self.tls(error)?),
        };
        Some(Trouble { fault, line: format!("nats at {servers}: {line}") })
    }

    fn credentials(&self, error: &str) -> Option<String> {
        let keys = self.login.keys();
        let error = error.to_lowercase();
        if let Some(reason) = error.strip_prefix("failed signing nonce: ") {
            // In the words of `login`.
            return Some(format!("cannot log in: {reason}"));
        }
        if error.contains("authorization violation") {
            return Some(format!("the server refuses the credentials: are they right? ({keys})"));
        }
        if error.contains("authentication expired") || error.contains("authentication revoked") {
            return Some(format!(
                "the server refuses the credentials: they have expired, or were revoked ({keys})"
            ));
        }
        None
    }

    fn tls(&self, error: &str) -> Option<String> {
        if let Some((_, line)) = CERTIFICATES.iter().find(|(text, _)| error.contains(text)) {
            return Some((*line).to_owned());
        }
        let is_plain = error.contains("corrupt message");
        let is_silent = error.starts_with("timed out") || error.contains("expected INFO, got nothing");
        let line = match (self.tls, self.tls_first) {
            (_, true) if is_plain => {
                "the server does not begin with TLS: leave `tls_first` out, or set `handshake_first` there"
            }
            (true, false) if is_plain => "the server does not speak TLS: set it up there, or leave `tls` out",
            (true, false) if is_silent => {
                "the server says nothing: is it running? If it begins with TLS (`handshake_first`), set \
                 `tls_first: true`"
            }
            (false, _) if is_silent => {
                "the server says nothing: is it running? If it begins with TLS (`handshake_first`), set \
                 `tls: {}` and `tls_first: true`"
            }
            _ if OTHERS.iter().any(|text| error.contains(text)) => {
                return Some(format!("TLS fails: {error}"));
            }
            _ => return None,
        };
        Some(line.to_owned())
    }
}

/// What rustls says of certificates, and what to change.
const CERTIFICATES: [(&str, &str); 10] = [
    ("certificate expired", "the server's certificate has expired: renew it at the server"),
    (
        "not valid for name",
        "the server's certificate is for another name: name the server in `servers` as its certificate does",
    ),
    ("UnknownIssuer", UNKNOWN_AUTHORITY),
    ("BadSignature", UNKNOWN_AUTHORITY),
    ("alert: CertificateRequired", "the server asks for a certificate: set `tls.certificate` and `tls.key`"),
    ("alert: CertificateExpired", "the server refuses `tls.certificate`: it has expired"),
    ("alert: UnknownCA", REFUSED),
    ("alert: DecryptError", REFUSED),
    ("alert: BadCertificate", REFUSED),
    ("alert: CertificateUnknown", REFUSED),
];
const UNKNOWN_AUTHORITY: &str =
    "the server's certificate is from an unknown authority: set `tls.ca` to the one it is from";
const REFUSED: &str = "the server refuses `tls.certificate`: is it from an authority that the server knows?";
/// What else tells of TLS.
const OTHERS: [&str; 4] = ["peer certificate", "TLS error", "fatal alert", "unexpected error: "];
