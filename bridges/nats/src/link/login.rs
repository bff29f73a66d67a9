//! Logging in, with secrets as they are when a connection is made.

use async_nats::{Auth, AuthError};
use nkeys::KeyPair;
use sidespan_bridge::Secret;

/// How to log in.
#[derive(Clone, Debug)]
pub(crate) enum Login {
    /// A token of a user, signed by an account, and the seed of its key: what `nsc` writes.
    Credentials(Secret),
    /// Not at all; a certificate may do.
    Nobody,
    /// The seed of a user's key.
    Nkey(Secret),
    /// A name and a password.
    Password { username: String, password: Secret },
    /// A token that all share.
    Token(Secret),
}

impl Login {
    /// Returns what to answer a server that asks with `nonce`.
    pub(super) fn answer(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let mut auth = Auth::new();
        match self {
            Self::Nobody => {}
            Self::Password { username, password } => {
                auth.username = Some(username.clone());
                auth.password = Some(reveal("password", password)?);
            }
            Self::Token(token) => auth.token = Some(reveal("token", token)?),
            Self::Nkey(seed) => {
                let pair = pair("nkey", &reveal("nkey", seed)?)?;
                auth.nkey = Some(pair.public_key());
                auth.signature = Some(sign("nkey", &pair, nonce)?);
            }
            Self::Credentials(credentials) => {
                let text = reveal("credentials", credentials)?;
                let part = |name: &str| {
                    let wrong =
                        || AuthError::new(format!("`credentials` holds no {name}: is it what `nsc` wrote?"));
                    part(&text, name).ok_or_else(wrong)
                };
                let pair = pair("credentials", part("USER NKEY SEED")?)?;
                auth.jwt = Some(part("NATS USER JWT")?.to_owned());
                auth.signature = Some(sign("credentials", &pair, nonce)?);
            }
        }
        Ok(auth)
    }

    /// Names the keys of the settings.
    pub(super) fn keys(&self) -> &'static str {
        match self {
            Self::Credentials(_) => "`credentials`",
            Self::Nkey(_) => "`nkey`",
            Self::Nobody => "none are given: set `username` and `password`, `token`, `nkey` or `credentials`",
            Self::Password { .. } => "`username` and `password`",
            Self::Token(_) => "`token`",
        }
    }
}

fn reveal(key: &str, secret: &Secret) -> Result<String, AuthError> {
    secret.reveal().map_err(|error| AuthError::new(format!("`{key}`: {error}")))
}

fn pair(key: &str, seed: &str) -> Result<KeyPair, AuthError> {
    // What is wrong with it is not shown: it may show the seed.
    KeyPair::from_seed(seed)
        .map_err(|_| AuthError::new(format!("`{key}` holds no seed of a user's key (SU...)")))
}

fn sign(key: &str, pair: &KeyPair, nonce: &[u8]) -> Result<Vec<u8>, AuthError> {
    pair.sign(nonce).map_err(|_| AuthError::new(format!("`{key}` cannot sign")))
}

/// Returns the line that stands behind the one that begins a part.
fn part<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let begin = format!("BEGIN {name}");
    text.lines()
        .skip_while(|line| !line.contains(&begin))
        .nth(1)
        .map(str::trim)
        .filter(|line| !line.is_empty())
}
