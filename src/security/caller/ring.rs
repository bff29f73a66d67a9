//! The tokens, as they are compared: read, hashed, and read again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hmac::digest::CtOutput;
use sha2::{Digest, Sha256};
use sidespan_bridge::{Secret, SecretError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Caller, Known};
use crate::config::{Auth, Name, Token};

/// What all callers show.
pub(super) struct Ring {
    entries: Vec<Entry>,
    pub(super) read: Instant,
}

impl Ring {
    /// Reads the tokens.
    pub(super) fn new(auth: &Auth) -> Self {
        Self { entries: auth.tokens.iter().map(Entry::new).collect(), read: Instant::now() }
    }

    /// Finds the caller of a token.
    pub(super) fn find(&mut self, token: &[u8]) -> Option<Caller> {
        self.refresh();
        let (hash, mut found) = (hash(token), None);
        // To the end, so that the time taken does not tell which one it is.
        for entry in &self.entries {
            if entry.hash.as_ref() == Some(&hash) {
                found = Some(&entry.caller);
            }
        }
        found.cloned()
    }

    /// Has these from now on; those that it had before keep what they have.
    pub(super) fn replace(&mut self, auth: &Auth) {
        let mut before = std::mem::take(&mut self.entries);
        for token in &auth.tokens {
            let same = before.iter().position(|entry| entry.token == *token);
            self.entries.push(same.map_or_else(|| Entry::new(token), |index| before.swap_remove(index)));
        }
        for mut gone in before {
            gone.change(None);
        }
    }

    /// Reads again what may have changed, now and then.
    pub(super) fn refresh(&mut self) {
        if self.read.elapsed() < FRESH {
            return;
        }
        self.read = Instant::now();
        for entry in &mut self.entries {
            if entry.may_change() {
                entry.read();
            }
        }
    }
}

struct Entry {
    caller: Caller,
    token: Token,
    hash: Option<Hash>,
    /// The last reading failed, and that was said: is one read before in use?
    trouble: Option<bool>,
}

impl Entry {
    fn new(token: &Token) -> Self {
        let Token { name, publish, subscribe, manage, .. } = token.clone();
        let revoked = CancellationToken::new();
        let caller = Caller(Some(Arc::new(Known { name, publish, subscribe, manage, revoked })));
        let mut entry = Self { caller, token: token.clone(), hash: None, trouble: None };
        entry.read();
        entry
    }

    fn may_change(&self) -> bool {
        matches!(self.token.secret, Secret::File(_))
    }

    /// Has another token from here on, or none.
    fn change(&mut self, hash: Option<Hash>) {
        if self.hash == hash {
            return;
        }
        self.hash = hash;
        if let Some(known) = &mut self.caller.0 {
            let now = Known { revoked: CancellationToken::new(), ..Known::clone(known) };
            std::mem::replace(known, Arc::new(now)).revoked.cancel();
        }
    }

    fn read(&mut self) {
        match read(&self.token.secret) {
            Ok(hash) => {
                self.change(Some(hash));
                self.trouble = None;
            }
            Err(error) => {
                if error.is_gone() {
                    self.change(None);
                }
                let caller = self.caller.name();
                let usable = Some(self.hash.is_some());
                if std::mem::replace(&mut self.trouble, usable) != usable {
                    match usable {
                        Some(true) => {
                            tracing::warn!(caller, %error, "cannot read a token again; the last one holds")
                        }
                        _ => tracing::warn!(caller, %error, "cannot read a token; its caller is refused"),
                    }
                }
            }
        }
    }
}

/// The hash of a token; compared in constant time.
type Hash = CtOutput<Sha256>;

fn hash(token: &[u8]) -> Hash {
    CtOutput::new(Sha256::digest(token))
}

fn read(secret: &Secret) -> Result<Hash, TokenError> {
    let text = secret.reveal()?;
    if text.len() < SHORTEST {
        return Err(TokenError::Short { bytes: text.len() });
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::Letters);
    }
    Ok(hash(text.as_bytes()))
}

/// Checks that each token can be used, and is one caller's alone; one result a token, in order.
pub fn check(auth: &Auth) -> Vec<Result<(), TokenError>> {
    let mut hashes: Vec<(&Name, Hash)> = Vec::new();
    let checked = auth.tokens.iter().map(|token| {
        let hash = read(&token.secret)?;
        match hashes.iter().find(|(_, other)| *other == hash) {
            Some((other, _)) => return Err(TokenError::Shared { other: (*other).clone() }),
            None => hashes.push((&token.name, hash)),
        }
        Ok(())
    });
    checked.collect()
}

/// A caller's token that cannot be used. Never shows the token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It could not stand in a header.
    #[error("a token is one word of ASCII letters, digits and signs{ADVICE}")]
    Letters,
    /// It is not where it should be.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Somebody else has it too.
    #[error("{other} has the same token: give each caller its own{ADVICE}")]
    Shared {
        /// Who.
        other: Name,
    },
    /// Short enough to be guessed.
    #[error("a token has at least {SHORTEST} bytes, this one {bytes}{ADVICE}")]
    Short {
        /// How many there are.
        bytes: usize,
    },
}

impl TokenError {
    fn is_gone(&self) -> bool {
        matches!(self, Self::Secret(SecretError::File(_, error)) if error.kind() == io::ErrorKind::NotFound)
    }
}

const ADVICE: &str = "; make one with: openssl rand -base64 32";
const SHORTEST: usize = 24;
/// How long what was read from files is used.
pub(super) const FRESH: Duration = Duration::from_secs(1);
