//! Codes that nobody can make who does not know a secret.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sidespan_bridge::{Secret, SecretError};

/// Makes and checks codes (HMAC-SHA256, cut to 16 bytes) for one purpose: those of another are no good.
#[derive(Clone)]
pub struct Seal {
    /// The first makes codes.
    keys: Vec<Hmac<Sha256>>,
}

impl Seal {
    /// Derives a key of each secret. The first makes codes, those of all are recognised.
    pub fn of(secrets: &[String], purpose: &str) -> Self {
        let keys = secrets.iter().map(|secret| {
            let derived = keyed(secret.as_bytes()).chain_update(purpose).finalize();
            keyed(&derived.into_bytes())
        });
        Self { keys: keys.collect() }
    }

    /// Draws a key that nobody else has.
    ///
    /// # Errors
    ///
    /// The system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        // As long as a block of the hash.
        let mut key = [0; 64];
        getrandom::fill(&mut key)?;
        Ok(Self { keys: vec![keyed(&key)] })
    }

    /// Makes the code of some parts, which do not run together.
    pub fn code(&self, parts: &[&[u8]]) -> [u8; Self::LENGTH] {
        let mut code = [0; Self::LENGTH];
        if let Some(key) = self.keys.first() {
            code.copy_from_slice(&over(key, parts).finalize().into_bytes()[..Self::LENGTH]);
        }
        code
    }

    /// Tells whether a code is that of these parts.
    pub fn is_code(&self, parts: &[&[u8]], code: &[u8]) -> bool {
        code.len() == Self::LENGTH
            && self.keys.iter().any(|key| over(key, parts).verify_truncated_left(code).is_ok())
    }

    /// Makes a code as text for a header.
    pub fn text(&self, parts: &[&[u8]]) -> String {
        URL_SAFE_NO_PAD.encode(self.code(parts))
    }

    /// Tells whether a text is the code of these parts.
    pub fn is_text(&self, parts: &[&[u8]], text: &str) -> bool {
        let code = URL_SAFE_NO_PAD.decode(text);
        code.is_ok_and(|code| self.is_code(parts, &code))
    }

    /// How long a code is, in bytes.
    pub const LENGTH: usize = 16;
}

/// Reads a secret that processes share.
///
/// # Errors
///
/// It is not there, or short enough to be guessed.
pub fn reveal(secret: &Secret) -> Result<String, SharedSecretError> {
    let text = secret.reveal()?;
    if text.len() < SHORTEST {
        return Err(SharedSecretError::Short { bytes: text.len() });
    }
    Ok(text)
}

/// A shared secret that cannot be used. Never shows it.
#[derive(Debug, thiserror::Error)]
pub enum SharedSecretError {
    /// It is not where it should be.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Short enough to be guessed.
    #[error(
        "too short: it has {bytes} bytes, and {SHORTEST} are the least; `openssl rand -base64 32` makes one that \
         nobody guesses"
    )]
    Short {
        /// How many there are.
        bytes: usize,
    },
}

const SHORTEST: usize = 32;

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

fn over(key: &Hmac<Sha256>, parts: &[&[u8]]) -> Hmac<Sha256> {
    parts.iter().fold(key.clone(), |code, part| {
        code.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
    })
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // A key of any length will do; a longer one than a block is hashed, as HMAC says.
    let mut block = [0; 64];
    if key.len() <= block.len() {
        block[..key.len()].copy_from_slice(key);
    } else {
        let hash: [u8; 32] = <Sha256 as sha2::Digest>::digest(key).into();
        block[..hash.len()].copy_from_slice(&hash);
    }
    Hmac::new(&block.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(secrets: &[&str], purpose: &str) -> Seal {
        let secrets: Vec<String> = secrets.iter().map(ToString::to_string).collect();
        Seal::of(&secrets, purpose)
    }

    #[test]
    fn a_code_is_good_for_its_parts_secret_and_purpose_alone() {
        let ours = seal(&["one"], "calls");
        let code = ours.text(&[b"a", b"bc"]);
        assert!(seal(&["one"], "calls").is_text(&[b"a", b"bc"], &code));
        assert!(!ours.is_text(&[b"ab", b"c"], &code));
        assert!(!seal(&["two"], "calls").is_text(&[b"a", b"bc"], &code));
        assert!(!seal(&["one"], "ids").is_text(&[b"a", b"bc"], &code));
        for other in ["", "AAAA", "%", &code[..code.len() - 1], &format!("{code}A")] {
            assert!(!ours.is_text(&[b"a", b"bc"], other), "{other}");
        }
    }

    #[test]
    fn a_secret_can_be_rotated() {
        let (old, both, new) = (seal(&["old"], "p"), seal(&["new", "old"], "p"), seal(&["new"], "p"));
        assert!(both.is_text(&[b"a"], &old.text(&[b"a"])));
        assert!(new.is_text(&[b"a"], &both.text(&[b"a"])));
        assert!(!new.is_text(&[b"a"], &old.text(&[b"a"])));
    }

    #[test]
    fn a_random_key_is_nobody_elses() {
        let (one, other) = (Seal::random().unwrap(), Seal::random().unwrap());
        assert!(!other.is_code(&[b"a"], &one.code(&[b"a"])));
    }
}
