//! Signs webhooks as Standard Webhooks says: `v1`, HMAC-SHA256 over `id.timestamp.body`.
//!
//! Every secret signs, so that a secret can be rotated: the receiver checks against the one it
//! knows. Secrets that are kept in files are read again now and then, so that a mounted secret that
//! changes is used without a restart.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sidespan_bridge::{Secret, SecretError};
use tokio::time::Instant;

/// Checks that a text can be a signing secret.
///
/// # Errors
///
/// What is wrong with it, and how to make a good one.
pub fn check(text: &str) -> Result<(), SigningError> {
    Key::parse(text).map(drop)
}

/// Signs with all of a webhook's secrets.
pub struct Signer {
    secrets: Vec<Secret>,
    ring: Mutex<Ring>,
    /// How long what was read from files is used.
    fresh: Duration,
}

impl Signer {
    /// Reads the secrets. Without any, nothing is signed.
    ///
    /// # Errors
    ///
    /// The first secret that is not where it should be, or that cannot be used.
    pub fn new(secrets: Vec<Secret>) -> Result<Self, SigningError> {
        let keys = keys(&secrets)?;
        Ok(Self {
            secrets,
            ring: Mutex::new(Ring { keys, read: Instant::now(), stale: false }),
            fresh: FRESH,
        })
    }

    /// Returns the value of `webhook-signature`: one signature a secret. `None` without secrets.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> Option<String> {
        if self.secrets.is_empty() {
            return None;
        }
        let keys = self.keys();
        let mut value = String::with_capacity(keys.len() * 48);
        for key in keys.iter() {
            if !value.is_empty() {
                value.push(' ');
            }
            key.sign(id, timestamp, body, &mut value);
        }
        Some(value)
    }

    fn keys(&self) -> Arc<[Key]> {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.read.elapsed() >= self.fresh && self.secrets.iter().any(|s| matches!(s, Secret::File(_))) {
            ring.read = Instant::now();
            match keys(&self.secrets) {
                Ok(keys) => (ring.keys, ring.stale) = (keys, false),
                Err(error) if !ring.stale => {
                    ring.stale = true;
                    tracing::warn!(%error, "cannot read the signing secrets again; signing with those read before");
                }
                Err(_) => {}
            }
        }
        ring.keys.clone()
    }
}

struct Ring {
    keys: Arc<[Key]>,
    read: Instant,
    /// The last reading failed, and that was said.
    stale: bool,
}

/// A secret, ready to sign with.
struct Key(Hmac<Sha256>);

impl Key {
    fn parse(text: &str) -> Result<Self, SigningError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(SigningError::Prefix)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| SigningError::Base64)?;
        if bytes.len() < SHORTEST {
            return Err(SigningError::Short { bytes: bytes.len() });
        }
        Hmac::new_from_slice(&bytes).map(Self).map_err(|_| SigningError::Base64)
    }

    fn sign(&self, id: &str, timestamp: u64, body: &[u8], out: &mut String) {
        let mut digits = String::with_capacity(22);
        // Writing to a string cannot fail.
        let _ = write!(digits, ".{timestamp}.");
        let mut mac = self.0.clone();
        mac.update(id.as_bytes());
        mac.update(digits.as_bytes());
        mac.update(body);
        out.push_str("v1,");
        STANDARD.encode_string(mac.finalize().into_bytes(), out);
    }
}

fn keys(secrets: &[Secret]) -> Result<Arc<[Key]>, SigningError> {
    secrets.iter().map(|secret| Key::parse(&secret.reveal()?)).collect()
}

/// A signing secret that cannot be used. Never shows the secret.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// What follows the prefix is not base64.
    #[error("a signing secret is `whsec_` and base64 with padding: this is not base64{ADVICE}")]
    Base64,
    /// The prefix is missing.
    #[error("a signing secret begins with `whsec_`{ADVICE}")]
    Prefix,
    /// It is not where it should be.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Too short to be safe.
    #[error("a signing secret holds at least {SHORTEST} bytes, this one {bytes}{ADVICE}")]
    Short {
        /// How many there are.
        bytes: usize,
    },
}

const ADVICE: &str = "; make one with: echo whsec_$(openssl rand -base64 32)";
const PREFIX: &str = "whsec_";
/// What Standard Webhooks asks for.
const SHORTEST: usize = 24;
const FRESH: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// From the tests of the `standardwebhooks` crate.
    const VECTOR: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn secret(text: &str) -> Secret {
        serde_json::from_value(serde_json::json!(text)).unwrap()
    }

    #[test]
    fn a_signature_is_that_of_the_official_libraries() {
        let signer = Signer::new(vec![secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")]).unwrap();
        let signed = signer.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, VECTOR).unwrap();
        assert_eq!(signed, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn every_secret_signs_for_itself() {
        let other = format!("whsec_{}", STANDARD.encode([7; 32]));
        let alone = |text: &str| Signer::new(vec![secret(text)]).unwrap().sign("a", 1, b"x").unwrap();
        let both = Signer::new(vec![secret(SECRET), secret(&other)]).unwrap().sign("a", 1, b"x").unwrap();
        assert_eq!(both, format!("{} {}", alone(SECRET), alone(&other)));
        assert_eq!(Signer::new(Vec::new()).unwrap().sign("a", 1, b"x"), None);
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_without_showing_it() {
        assert!(check(SECRET).is_ok());
        for bad in ["", "hunter2hunter2hunter2hunter2hunter2", "whsec_", "whsec_%%%", "whsec_c2hvcnQ="] {
            let error = check(bad).unwrap_err().to_string();
            assert!(bad.is_empty() || bad == "whsec_" || !error.contains(bad), "{error}");
        }
        assert!(matches!(check("whsec_c2hvcnQ="), Err(SigningError::Short { bytes: 5 })));
    }

    #[test]
    fn a_secret_in_a_file_may_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, format!("{SECRET}\n")).unwrap();
        let file: Secret = serde_json::from_value(serde_json::json!({"file": path})).unwrap();
        let signer = Signer { fresh: Duration::ZERO, ..Signer::new(vec![file]).unwrap() };
        let first = signer.sign("a", 1, b"x");

        fs::write(&path, format!("whsec_{}\n", STANDARD.encode([7; 32]))).unwrap();
        let second = signer.sign("a", 1, b"x");
        assert_ne!(first, second);

        fs::remove_file(&path).unwrap();
        assert_eq!(signer.sign("a", 1, b"x"), second, "an unreadable file leaves the last secret in use");
    }
}
