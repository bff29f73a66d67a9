//! What bridges with replies share: the requests that still await theirs.
//!
//! A bridge takes a place for each request, sends its correlation along, and whoever reads replies hands them
//! in by that correlation. A request that is dropped gives its place back at once: what comes for it then is
//! for nobody.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::{Error, Fault, Message};

/// The requests of one bridge that await replies: so many at a time, at most.
pub struct Requests {
    prefix: Box<str>,
    /// Keyed at random, so that who answers one request cannot guess what another is called.
    names: RandomState,
    most: usize,
    /// What whoever finds no place can do about it.
    advice: &'static str,
    next: AtomicU64,
    awaited: Mutex<Places>,
}

/// Who waits, by correlation.
type Places = HashMap<Box<str>, oneshot::Sender<Result<Message, Error>>>;

/// A place among them, given back when dropped.
pub struct Awaited {
    requests: Arc<Requests>,
    correlation: Box<str>,
    outcome: oneshot::Receiver<Result<Message, Error>>,
}

impl Requests {
    /// How many may await their replies at a time unless settings say otherwise.
    pub const MOST: usize = 10_000;

    /// Makes a table whose correlations begin with `prefix`, which must be unique to it: replies of several
    /// bridges may come to one place.
    pub fn new(prefix: impl Into<Box<str>>) -> Arc<Self> {
        Self::of(prefix.into(), Self::MOST, "try again later")
    }

    /// Makes such a table with as many places as the setting `max_requests` of the bridge says.
    pub fn bounded(prefix: impl Into<Box<str>>, most: usize) -> Arc<Self> {
        Self::of(prefix.into(), most, "try again later, or raise `max_requests` of the bridge")
    }

    fn of(prefix: Box<str>, most: usize, advice: &'static str) -> Arc<Self> {
        let (names, next) = (RandomState::new(), AtomicU64::new(1));
        Arc::new(Self { prefix, names, most, advice, next, awaited: Mutex::default() })
    }

    /// Takes a place for a request.
    ///
    /// # Errors
    ///
    /// `Limited` where there is none.
    pub fn take(self: &Arc<Self>) -> Result<Awaited, Error> {
        let (sender, outcome) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = self.names.hash_one(number);
        let correlation: Box<str> = format!("{}{number:x}-{name:016x}", self.prefix).into();
        let mut awaited = self.lock();
        if awaited.len() >= self.most {
            let detail =
                format!("{} requests await their replies at this bridge: {}", self.most, self.advice);
            return Err(Error::new(Fault::Limited).detail(detail));
        }
        awaited.insert(correlation.clone(), sender);
        drop(awaited);
        Ok(Awaited { requests: Arc::clone(self), correlation, outcome })
    }

    /// Tells whether somebody still awaits the reply to a request.
    pub fn awaits(&self, correlation: &str) -> bool {
        self.lock().contains_key(correlation)
    }

    /// Hands in what became of a request; false where nobody awaits it.
    pub fn conclude(&self, correlation: &str, outcome: Result<Message, Error>) -> bool {
        let sender = self.lock().remove(correlation);
        sender.is_some_and(|sender| sender.send(outcome).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Awaited {
    /// Returns what the reply must name.
    pub fn correlation(&self) -> &str {
        &self.correlation
    }

    /// Waits for the reply.
    ///
    /// # Errors
    ///
    /// What was handed in instead; `Timeout` where nothing was by `deadline`.
    pub async fn reply(&mut self, deadline: Instant) -> Result<Message, Error> {
        match timeout_at(deadline, &mut self.outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => {
                let detail = "no reply came in time; the request may have been handled";
                Err(Error::new(Fault::Timeout).detail(detail))
            }
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.requests.lock().remove(&self.correlation);
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("awaited", &self.lock().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Awaited").field(&self.correlation).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fault<T>(outcome: Result<T, Error>) -> Option<Fault> {
        outcome.err().map(|error| error.fault)
    }

    #[tokio::test]
    async fn a_reply_goes_to_the_request_that_it_names() {
        let requests = Requests::new("a.");
        let [mut one, mut other] = [requests.take().unwrap(), requests.take().unwrap()];
        let reply = Message { key: Some("one".into()), ..Message::default() };
        assert!(requests.conclude(one.correlation(), Ok(reply.clone())));
        assert!(requests.conclude(other.correlation(), Err(Fault::Unroutable.into())));
        let soon = Instant::now() + Duration::from_secs(5);
        assert_eq!(one.reply(soon).await.unwrap(), reply);
        assert_eq!(fault(other.reply(soon).await), Some(Fault::Unroutable));
        assert!(!requests.conclude(one.correlation(), Ok(reply)), "a second reply is for nobody");
    }

    #[tokio::test]
    async fn a_request_without_a_reply_times_out() {
        let mut awaited = Requests::new("").take().unwrap();
        assert_eq!(fault(awaited.reply(Instant::now()).await), Some(Fault::Timeout));
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let requests = Requests::bounded("", 3);
        let mut taken: Vec<Awaited> = (0..3).map(|_| requests.take().unwrap()).collect();
        let refused = requests.take().err().unwrap();
        assert_eq!(refused.fault, Fault::Limited);
        assert!(refused.to_string().contains("`max_requests`"), "{refused}");
        let dropped = taken.pop().unwrap();
        let correlation = dropped.correlation().to_owned();
        assert!(requests.awaits(&correlation));
        drop(dropped);
        assert!(!requests.awaits(&correlation));
        assert!(!requests.conclude(&correlation, Ok(Message::default())));
        assert!(requests.take().is_ok());
    }
}
