//! What streams in both directions have in common.

use std::future::pending;

use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc::{OwnedPermit, Sender};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::status::status;
use super::terms::Terms;
use crate::error::Error;

/// A place in the queue of answers.
pub(super) type Place<A> = OwnedPermit<Result<A, Status>>;

/// Where requests come in, each with a place for its answer: whoever does not read is not read from.
pub(super) struct Inlet<Q, A> {
    requests: Streaming<Q>,
    answers: Sender<Result<A, Status>>,
    /// How the client ended its side, if it has.
    ended: Option<Result<(), Status>>,
}

impl<Q, A> Inlet<Q, A> {
    pub(super) fn new(requests: Streaming<Q>, answers: Sender<Result<A, Status>>) -> Self {
        Self { requests, answers, ended: None }
    }

    /// Returns the queue of answers.
    pub(super) fn answers(&self) -> &Sender<Result<A, Status>> {
        &self.answers
    }

    /// Waits for a request, and for a place for its answer; fails with how the client's side ended.
    /// Cancel-safe.
    pub(super) async fn take(&mut self) -> Result<(Place<A>, Q), Result<(), Status>> {
        if let Some(ended) = self.ended.take() {
            return Err(ended);
        }
        let place = self.answers.clone().reserve_owned().await.map_err(|_| Ok(()))?;
        match self.requests.next().await {
            Some(Ok(request)) => Ok((place, request)),
            Some(Err(status)) => Err(Err(status)),
            None => Err(Ok(())),
        }
    }

    /// Takes a further request if one is there, and a place.
    pub(super) fn take_ready(&mut self) -> Option<(Place<A>, Q)> {
        let place = self.answers.clone().try_reserve_owned().ok()?;
        let ended = match self.requests.next().now_or_never()? {
            Some(Ok(request)) => return Some((place, request)),
            Some(Err(status)) => Err(status),
            None => Ok(()),
        };
        self.ended = Some(ended);
        None
    }
}

/// Waits until a stream is to end, whatever its client still says: with a status, or with none as
/// nobody is there to read it.
pub(super) async fn over<A>(
    answers: Sender<Result<A, Status>>,
    drain: CancellationToken,
    terms: &Terms,
) -> Option<Status> {
    let late = async {
        match terms.end() {
            Some(end) => sleep_until(end).await,
            None => pending().await,
        }
    };
    tokio::select! {
        () = answers.closed() => None,
        () = drain.cancelled() => Some(status(&Error::Draining, None)),
        error = terms.caller.revoked() => Some(status(&error, None)),
        () = late => Some(status(&Error::RequestTimeout, None)),
    }
}
