//! Who calls, and what they may do.
//!
//! A caller shows a token; what is compared are hashes, all of them and in constant time. Every door
//! has its callers authenticated by one guard, which leaves a [`Caller`] with the request; use cases
//! ask that for rights, by the names that callers use.
//!
//! Tokens that are kept in files are read again now and then, so that a secret can be changed without a
//! restart. A file that is gone takes its caller's access; one that cannot be read or used leaves what
//! was read before. Streams that were opened with a token end with it: [`Caller::revoked`].

mod ring;

use std::borrow::Cow;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{Extensions, HeaderMap};
use sidespan_bridge::Pattern;
use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::ring::{FRESH, Ring};
use crate::config::{Auth, Name};
use crate::error::Error;

pub use self::ring::{TokenError, check};

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
        let ring = Arc::new(Mutex::new(Ring::new(auth)));
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
        let token = shown(headers)?;
        lock(&self.ring)
            .find(&token)
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
const SCHEME: &[u8] = b"bearer ";
const PROTOCOL: &str = "sidespan.token.";
/// How much of a name is repeated to its caller.
const SHOWN: usize = 255;

#[cfg(test)]
mod tests;
