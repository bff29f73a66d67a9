//! Answering requests by their ack ids, wherever they are leased.

use std::net::SocketAddr;

use sidespan_bridge::{Fault, Header, Message, REPLY_STATUS};
use tokio::time::Instant;

use super::Fetching;
use super::ack_id::Leased;
use super::peers::Sent;
use super::peers::wire::Outcome;
use super::verdicts::{NO_ANSWER, NO_CONFIRMATION, unconfirmed};
use crate::delivery::Unreplied;
use crate::error::Error;

impl Fetching {
    /// Answers the request that an ack id names, and settles it as handled: done when the broker has both. Where
    /// nobody awaits the reply any more, the request is settled all the same; where the reply cannot be sent, it
    /// comes again. The reply says `status`, as HTTP counts. A request of another replica is its to answer.
    ///
    /// # Errors
    ///
    /// `LeaseEnded`; `NoReplyAwaited`; `Invalid` for what is no ack id, and no status of an answer; `Unreached` where the other replica has not
    /// been told; `Timeout` where the outcome is not known by `deadline`.
    pub async fn reply(
        &self,
        ack_id: &str,
        status: u16,
        mut reply: Message,
        deadline: Instant,
    ) -> Result<(), Error> {
        if !(200..=599).contains(&status) {
            return Err(Error::Invalid("`status` must be from 200 to 599".into()));
        }
        reply.headers.insert(0, Header::new(REPLY_STATUS, status.to_string()));
        match self.ids.read(&self.subscription, ack_id)? {
            Leased::Here(number) => self.reply_here(number, reply, deadline).await,
            Leased::There(there) => self.reply_at(there.address, ack_id, reply, deadline).await,
        }
    }

    /// Answers for a peer, which says that the request is leased here.
    pub(super) async fn reply_for(&self, ack_id: &str, reply: Message, deadline: Instant) -> Outcome {
        let Ok(Leased::Here(number)) = self.ids.read(&self.subscription, ack_id) else {
            return Outcome::Gone;
        };
        match self.reply_here(number, reply, deadline).await {
            Ok(()) => Outcome::Done,
            Err(Error::Broker(_)) => Outcome::Unconfirmed,
            Err(Error::NoReplyAwaited) => Outcome::NotAwaited,
            Err(_) => Outcome::Ended,
        }
    }

    async fn reply_here(&self, number: u64, reply: Message, deadline: Instant) -> Result<(), Error> {
        match self.shelf.reply(number, reply) {
            Ok(told) => self.confirmed(told, deadline).await,
            Err(Unreplied::Ended) => Err(Error::LeaseEnded),
            Err(Unreplied::NotAwaited) => Err(Error::NoReplyAwaited),
        }
    }

    async fn reply_at(
        &self,
        peer: SocketAddr,
        ack_id: &str,
        reply: Message,
        deadline: Instant,
    ) -> Result<(), Error> {
        let Some(peers) = &self.peers else { return Err(Error::LeaseEnded) };
        if reply.weight() > LARGEST {
            let detail =
                "another replica leased the request, and a reply of more than 1 MiB does not go on to it";
            return Err(sidespan_bridge::Error::new(Fault::TooLarge).detail(detail).into());
        }
        match peers.reply(peer, &self.subscription, ack_id, &reply, deadline).await {
            Sent::Outcomes(outcomes) => match outcomes.first() {
                Some(Outcome::Done) => Ok(()),
                Some(Outcome::NotAwaited) => Err(Error::NoReplyAwaited),
                Some(Outcome::Unconfirmed) => Err(unconfirmed(NO_CONFIRMATION)),
                Some(Outcome::Ended | Outcome::Gone) | None => Err(Error::LeaseEnded),
            },
            Sent::Gone => Err(Error::LeaseEnded),
            Sent::Unreached => Err(Error::Unreached),
            Sent::Unanswered => Err(unconfirmed(NO_ANSWER)),
        }
    }
}

/// A reply that a call between replicas has room for, in bytes.
const LARGEST: usize = 1 << 20;
