//! Who calls, and what they may do.
//!
//! A caller shows a token; what is compared are hashes, all of them and in constant time. Every door
//! has its callers authenticated by one guard, which leaves a [`Caller`] with the request; use cases
//! ask that for rights, by the names that callers use.
//!
//! Tokens that are kept in files are read again now and then, so that a secret can be changed without a
//! restart. A file that is gone takes its caller's access; one that cannot be read or used leaves what
//! was read before. Streams that were opened with a token end with it: [`Caller::revoked`].

use std::borrow::Cow;
use std::fmt;
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::digest::CtOutput;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{Extensions, HeaderMap};
use sha2::{Digest, Sha256};
use sidespan_bridge::{Pattern, Secret, SecretError};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Auth, Name, Token};
use crate::error::Error;

/// Somebody who calls. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Caller(Option<Arc<Known>>);

#[derive(Clone, Debug)]
struct Known {
    name: Name,
    publish: Vec<Pattern>,
    subscribe: Vec<Pattern>,
    manage: bool,
    /// Cancelled once the token that was shown is this caller's no more.
    revoked: CancellationToken,
}

impl Caller {
    /// Returns the caller of a server that asks nobody: it may do everything.
    pub fn anyone() -> Self {
        Self(None)
    }

    /// Returns who sent a request. Where callers are configured, the guard has said so in its
    /// extensions before a door gets to see it.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_else(Self::anyone)
    }

    /// Returns the caller's name in the configuration; anyone's is empty.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("", |known| known.name.as_str())
    }

    /// Waits until the token that was shown is taken away, or another is in its place; returns what to end
    /// with then.
    pub async fn revoked(&self) -> Error {
        match &self.0 {
            Some(known) => known.revoked.cancelled().await,
            None => pending().await,
        }
        Error::Unauthenticated(
            "the token was taken away, or another is in its place: come back with that one",
        )
    }

    /// Tells whether the caller may publish to a topic.
    pub fn may_publish(&self, topic: &str) -> bool {
        self.0.as_ref().is_none_or(|known| known.publish.iter().any(|pattern| pattern.covers(topic)))
    }

    /// Tells whether the caller may read a topic, a pattern over topics, or a subscription.
    pub fn may_subscribe(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|known| known.subscribe.iter().any(|pattern| pattern.covers(name)))
    }

    /// Tells whether the caller may know of a topic: it may publish to it, or read it.
    pub fn may_see(&self, topic: &str) -> bool {
        self.may_publish(topic) || self.may_subscribe(topic)
    }

    /// Tells whether the caller may know of topics beyond those that are declared.
    pub fn may_see_beyond(&self, is_declared: impl Fn(&str) -> bool) -> bool {
        let goes_beyond =
            |pattern: &Pattern| !pattern.literal().is_some_and(|topic| is_declared(topic.as_str()));
        self.0.as_ref().is_none_or(|known| known.publish.iter().chain(&known.subscribe).any(goes_beyond))
    }

    /// Tells whether the caller may change the server itself.
    pub fn may_manage(&self) -> bool {
        self.0.as_ref().is_none_or(|known| known.manage)
    }

    /// Checks that the caller may publish to a topic.
    ///
    /// # Errors
    ///
    /// `Denied`, with the right and the topic.
    pub fn require_publish(&self, topic: &str) -> Result<(), Error> {
        if self.may_publish(topic) { Ok(()) } else { Err(self.denied("publish", "publish to", topic)) }
    }

    /// Checks that the caller may read a topic, a pattern over topics, or a subscription.
    ///
    /// # Errors
    ///
    /// `Denied`, with the right and the name.
    pub fn require_subscribe(&self, name: &str) -> Result<(), Error> {
        if self.may_subscribe(name) { Ok(()) } else { Err(self.denied("subscribe", "read", name)) }
    }

    /// Checks that the caller may change the server itself.
    ///
    /// # Errors
    ///
    /// `Denied`, with the right.
    pub fn require_manage(&self) -> Result<(), Error> {
        if self.may_manage() {
            return Ok(());
        }
        let name = self.name();
        Err(Error::Denied(format!(
            "the caller {name:?} may not change this server: set `manage: true` with its token under \
             `auth.tokens`"
        )))
    }

    fn denied(&self, right: &str, verb: &str, what: &str) -> Error {
        let (name, what) = (self.name(), what.chars().take(SHOWN).collect::<String>());
        Error::Denied(format!(
            "the caller {name:?} may not {verb} {what:?}: list it under `{right}` of its token in `auth.tokens`"
        ))
    }
}

/// Everybody who may call.
pub struct Callers {
    ring: Arc<Mutex<Ring>>,
    /// Looks whether tokens were taken away while nobody calls, if there is a runtime.
    _reading: Option<AbortOnDropHandle<()>>,
}

impl Callers {
    /// Reads the tokens. One that is not there, or that cannot be used, is nobody's until it can.
    pub fn new(auth: &Auth) -> Self {
        let entries = auth.tokens.iter().map(Entry::new).collect();
        let ring = Arc::new(Mutex::new(Ring { entries, read: Instant::now() }));
        let reading = Handle::try_current().ok().map(|runtime| {
            let ring = ring.clone();
            AbortOnDropHandle::new(runtime.spawn(async move {
                loop {
                    sleep(FRESH).await;
                    lock(&ring).refresh();
                }
            }))
        });
        Self { ring, _reading: reading }
    }

    /// Knows these from now on, and nobody else. Whoever is among them as before is not disturbed.
    pub fn replace(&self, auth: &Auth) {
        lock(&self.ring).replace(auth);
    }

    /// Tells who sent a request with these headers.
    ///
    /// # Errors
    ///
    /// `Unauthenticated`: no token, more than one, or one that is nobody's.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        let hash = hash(&shown(headers)?);
        let mut ring = lock(&self.ring);
        ring.refresh();
        let mut found = None;
        // To the end, so that the time taken does not tell which one it is.
        for entry in &ring.entries {
            if entry.hash.as_ref() == Some(&hash) {
                found = Some(&entry.caller);
            }
        }
        found
            .cloned()
            .ok_or(Error::Unauthenticated("the token is nobody's: send one that `auth.tokens` lists"))
    }
}

impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callers").finish_non_exhaustive()
    }
}

fn lock(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Ring {
    entries: Vec<Entry>,
    read: Instant,
}

impl Ring {
    fn replace(&mut self, auth: &Auth) {
        let mut before = std::mem::take(&mut self.entries);
        for token in &auth.tokens {
            let same = before.iter().position(|entry| entry.token == *token);
            self.entries.push(same.map_or_else(|| Entry::new(token), |index| before.swap_remove(index)));
        }
        for mut gone in before {
            gone.change(None);
        }
    }

    fn refresh(&mut self) {
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

/// Finds the token that a request shows: in `Authorization`, or, as a page cannot set that for a
/// WebSocket, among the subprotocols.
fn shown(headers: &HeaderMap) -> Result<Cow<'_, [u8]>, Error> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    match (given.next(), given.next()) {
        (Some(_), Some(_)) => Err(Error::Unauthenticated("there is more than one header Authorization")),
        (Some(value), None) => bearer(value.as_bytes()).map(Cow::Borrowed).ok_or(WANTED),
        (None, _) => subprotocol(headers).map(Cow::Owned).ok_or(WANTED),
    }
}

/// RFC 6750, 2.1.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_ascii())
}

/// A subprotocol has fewer letters than a token may have: it is `sidespan.token.` and the token in
/// base64url without padding.
fn subprotocol(headers: &HeaderMap) -> Option<Vec<u8>> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut tokens =
        values.flat_map(|value| value.split(',')).filter_map(|one| one.trim().strip_prefix(PROTOCOL));
    URL_SAFE_NO_PAD.decode(tokens.next()?).ok()
}

const WANTED: Error = Error::Unauthenticated(
    "this server asks who calls: send `Authorization: Bearer <token>`, with a token that `auth.tokens` lists",
);
const ADVICE: &str = "; make one with: openssl rand -base64 32";
const SCHEME: &[u8] = b"bearer ";
const PROTOCOL: &str = "sidespan.token.";
const SHORTEST: usize = 24;
/// How much of a name is repeated to its caller.
const SHOWN: usize = 255;
/// How long what was read from files is used.
const FRESH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
