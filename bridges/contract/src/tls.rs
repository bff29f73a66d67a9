//! TLS to a broker: what the configuration says of it, and the certificates as they are now.
//!
//! A certificate is renewed while the process runs. So nothing here is read once and kept: a new
//! connection uses what the files hold at that moment.

mod client;
mod explain;

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Secret, SecretError, SettingsError};

pub use {client::TlsError, explain::explain};

/// TLS to a broker. Without keys the broker's certificate is checked against the machine's
/// authorities, and none is shown to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The authorities that the broker's certificate may be from, in PEM. Default: the machine's.
    #[serde(default)]
    ca: Option<Secret>,
    /// The certificate to show to the broker, in PEM, with those between it and its authority. Default: none.
    #[serde(default)]
    certificate: Option<Secret>,
    /// The private key of `certificate`, in PEM, not encrypted. Required beside `certificate`, and only there.
    #[serde(default)]
    key: Option<Secret>,
}

/// Certificates as they are now, in PEM. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// The authorities to trust; `None` means the machine's.
    pub authorities: Option<String>,
    /// What to show to the broker.
    pub identity: Option<Identity>,
}

/// A certificate and its private key, in PEM. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and those between it and its authority.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Tls {
    /// Checks what can be checked without reading a file. `path` is the key of this section.
    ///
    /// # Errors
    ///
    /// A certificate without its key, or a key without its certificate.
    pub fn check(&self, path: &str) -> Result<(), SettingsError> {
        let (missing, there) = match (&self.certificate, &self.key) {
            (Some(_), None) => ("key", "certificate"),
            (None, Some(_)) => ("certificate", "key"),
            (Some(_), Some(_)) | (None, None) => return Ok(()),
        };
        Err(SettingsError::new(format!("{path}.{missing}"), format!("expected beside `{path}.{there}`")))
    }

    /// Tells whether a certificate is shown to the broker.
    pub fn has_identity(&self) -> bool {
        self.certificate.is_some()
    }

    /// Reads the certificates as they are now.
    ///
    /// # Errors
    ///
    /// One is not where it should be.
    pub fn read(&self) -> Result<Pem, SecretError> {
        let authorities = self.ca.as_ref().map(Secret::reveal).transpose()?;
        let identity = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                Some(Identity { certificate: certificate.reveal()?, key: key.reveal()? })
            }
            _ => None,
        };
        Ok(Pem { authorities, identity })
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Settings;

    #[test]
    fn a_certificate_and_its_key_go_together() {
        for (given, missing) in [("certificate", "tls.key"), ("key", "tls.certificate")] {
            let tls: Tls = Settings::new("s", json!({given: {"file": "/a"}})).parse().unwrap();
            assert_eq!(tls.check("tls").unwrap_err().key, missing);
        }
        Tls::default().check("tls").unwrap();
    }

    #[test]
    fn a_key_written_out_is_never_shown() {
        let keys = json!({"certificate": "hidden", "key": "hidden"});
        let tls: Tls = Settings::new("s", keys).parse().unwrap();
        let shown = format!("{tls:?} {:?}", tls.read().unwrap());
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
