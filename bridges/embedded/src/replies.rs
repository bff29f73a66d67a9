//! Requests and their replies, all within this process: a request is a message of the log as any other, and a
//! reply is stored nowhere.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use sidespan_bridge::{Awaited, Error, Fault, Message, Requests, Topic};

use crate::index::check_name;

/// Where the replies to this process's requests come.
#[derive(Debug)]
pub(crate) struct Replies {
    /// Changes with each opening, so that nobody answers a request of an earlier process.
    address: Box<str>,
    requests: Arc<Requests>,
    largest: u64,
}

impl Replies {
    /// Takes replies up to so many bytes.
    pub(crate) fn new(largest: u64) -> Self {
        let address = format!("_INBOX.{:016x}", RandomState::new().hash_one(0));
        Self { address: address.into(), requests: Requests::new(""), largest }
    }

    /// Takes a place for a request, and writes onto it where its reply is awaited.
    pub(crate) fn await_one(&self, request: &mut Message) -> Result<Awaited, Error> {
        let awaited = self.requests.take()?;
        request.reply_to = Some(self.address.clone());
        request.correlation = Some(awaited.correlation().into());
        Ok(awaited)
    }

    /// Hands a reply to who awaits it.
    pub(crate) fn deliver(&self, to: &str, reply: Message) -> Result<(), Error> {
        check_name(&Topic::new(to))?;
        if reply.weight() as u64 > self.largest {
            let detail = format!("the reply is larger than the {} bytes of a message", self.largest);
            return Err(Error::new(Fault::TooLarge).detail(detail));
        }
        let named = reply.correlation.clone().filter(|_| *to == *self.address);
        if named.is_some_and(|correlation| self.requests.conclude(&correlation, Ok(reply))) {
            return Ok(());
        }
        Err(Error::new(Fault::Unroutable).detail("nobody awaits this reply any more"))
    }
}
