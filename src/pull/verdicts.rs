//! Settling messages by their ack ids, wherever they are leased.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures_util::future::join_all;
use sidespan_bridge::{Fault, Settlement};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::ack_id::{Leased, There};
use super::peers::Sent;
use super::peers::wire::Outcome;
use super::{Fetching, Settle};
use crate::delivery::Settling;
use crate::error::Error;

/// What is known of a verdict when all are given.
enum Given {
    /// It is done, or refused.
    Known(Result<(), Error>),
    /// The broker will confirm it.
    Told(oneshot::Receiver<Settling>),
    /// It is for a peer, which leased the message.
    For(There),
}

impl Fetching {
    /// Settles messages by their ack ids: one outcome an id, in order. An `Ack` that is `Ok` is one that
    /// the broker has. Verdicts on messages of another replica are its to take.
    pub async fn settle(
        &self,
        ack_ids: &[impl AsRef<str>],
        verdict: Settle,
        deadline: Instant,
    ) -> Vec<Result<(), Error>> {
        // All are given before any is waited for: a broker confirms many as fast as one.
        let given: Vec<Given> = ack_ids.iter().map(|id| self.give(id.as_ref(), verdict)).collect();
        let mut away: BTreeMap<SocketAddr, Vec<(usize, There)>> = BTreeMap::new();
        for (index, given) in given.iter().enumerate() {
            if let Given::For(there) = given {
                away.entry(there.address).or_default().push((index, there.clone()));
            }
        }
        let own = async {
            let mut outcomes = Vec::with_capacity(given.len());
            for given in given {
                outcomes.push(match given {
                    Given::Known(outcome) => outcome,
                    Given::Told(told) => self.confirmed(told, deadline).await,
                    Given::For(_) => Err(Error::LeaseEnded),
                });
            }
            outcomes
        };
        let calls = away.iter().flat_map(|(peer, leases)| {
            leases.chunks(MOST_AT_ONCE).map(move |leases| async move {
                let ids = leases.iter().filter_map(|(index, _)| ack_ids.get(*index));
                let ids: Vec<String> = ids.map(|id| id.as_ref().to_owned()).collect();
                let told = self.settle_at(*peer, ids, verdict, deadline).await;
                let told = leases.iter().zip(told).map(|((index, there), told)| async move {
                    (*index, self.unless_gone(told, there, verdict, deadline).await)
                });
                join_all(told).await
            })
        });
        let (mut outcomes, told) = tokio::join!(own, join_all(calls));
        for (index, outcome) in told.into_iter().flatten() {
            if let Some(place) = outcomes.get_mut(index) {
                *place = outcome;
            }
        }
        outcomes
    }

    /// Settles what a peer says is leased here.
    pub(super) async fn settle_here(
        &self,
        ack_ids: &[String],
        verdict: Settle,
        deadline: Instant,
    ) -> Vec<Outcome> {
        let given: Vec<Given> = ack_ids.iter().map(|id| self.give(id, verdict)).collect();
        let mut outcomes = Vec::with_capacity(given.len());
        for given in given {
            let outcome = match given {
                Given::Known(outcome) => outcome,
                Given::Told(told) => self.confirmed(told, deadline).await,
                // An earlier process gave it, which had the address before.
                Given::For(_) => {
                    outcomes.push(Outcome::Gone);
                    continue;
                }
            };
            outcomes.push(match outcome {
                Ok(()) => Outcome::Done,
                Err(Error::Broker(_)) => Outcome::Unconfirmed,
                Err(_) => Outcome::Ended,
            });
        }
        outcomes
    }

    async fn settle_at(
        &self,
        peer: SocketAddr,
        ack_ids: Vec<String>,
        verdict: Settle,
        deadline: Instant,
    ) -> Vec<Result<Outcome, Error>> {
        let count = ack_ids.len();
        let all = |outcome: fn() -> Result<Outcome, Error>| (0..count).map(|_| outcome()).collect();
        let Some(peers) = &self.peers else { return all(|| Ok(Outcome::Gone)) };
        match peers.settle(peer, &self.subscription, ack_ids, verdict, deadline).await {
            Sent::Outcomes(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Sent::Gone => all(|| Ok(Outcome::Gone)),
            Sent::Unreached => all(|| Err(Error::Unreached)),
            Sent::Unanswered => all(|| Err(unconfirmed(NO_ANSWER))),
        }
    }

    /// Reads an outcome. What a process had that is gone comes again, unless the broker takes the verdict
    /// from anybody.
    async fn unless_gone(
        &self,
        told: Result<Outcome, Error>,
        there: &There,
        verdict: Settle,
        deadline: Instant,
    ) -> Result<(), Error> {
        match (told?, &there.receipt) {
            (Outcome::Done, _) => Ok(()),
            (Outcome::Unconfirmed, _) => Err(unconfirmed(NO_CONFIRMATION)),
            (Outcome::Gone, Some(receipt)) if verdict == Settle::Ack => {
                self.running.accept(receipt, deadline).await.map_err(|error| {
                    let is_over = matches!(error.fault, Fault::Unroutable | Fault::Unsupported);
                    if is_over { Error::LeaseEnded } else { error.into() }
                })
            }
            (Outcome::Ended | Outcome::Gone | Outcome::NotAwaited, _) => Err(Error::LeaseEnded),
        }
    }

    /// Gives one verdict; an `Ack` is yet to be confirmed.
    fn give(&self, ack_id: &str, verdict: Settle) -> Given {
        let number = match self.ids.read(&self.subscription, ack_id) {
            Ok(Leased::Here(number)) => number,
            Ok(Leased::There(there)) => return Given::For(there),
            Err(error) => return Given::Known(Err(error)),
        };
        let is_leased = match verdict {
            Settle::Ack => match self.shelf.ack(number) {
                Some(told) => return Given::Told(told),
                None => false,
            },
            Settle::Extend(by) => self.shelf.extend(number, by),
            Settle::Nack(delay) => self.shelf.nack(number, delay),
        };
        Given::Known(if is_leased { Ok(()) } else { Err(Error::LeaseEnded) })
    }

    /// Waits until the broker has a settlement.
    pub(super) async fn confirmed(
        &self,
        told: oneshot::Receiver<Settling>,
        deadline: Instant,
    ) -> Result<(), Error> {
        let settlement = match timeout_at(deadline, told).await {
            Ok(Ok(settling)) => self.running.confirmed(settling, deadline).await,
            Ok(Err(_)) => Some(Settlement::Stale),
            Err(_) => None,
        };
        match settlement {
            Some(Settlement::Confirmed) => Ok(()),
            Some(Settlement::Stale) => Err(Error::LeaseEnded),
            None => Err(unconfirmed(NO_CONFIRMATION)),
        }
    }
}

/// Says that an outcome is not known.
pub(super) fn unconfirmed(what: &str) -> Error {
    sidespan_bridge::Error::new(Fault::Timeout).detail(format!("{what}; the message may come again")).into()
}

pub(super) const NO_CONFIRMATION: &str = "the broker did not confirm in time";
pub(super) const NO_ANSWER: &str = "the replica that leased the message did not answer in time";
/// How many verdicts a peer is sent in one call.
const MOST_AT_ONCE: usize = 1000;
