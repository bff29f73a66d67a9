//! A member of a group, as the delivery engine sees it.

use std::sync::Arc;

use async_trait::async_trait;
use sidespan_bridge::{
    AckToken, Control, Error, Event, Fault, Lag, Position, Role, Settle, Settled, Settlement, Subscribe,
    Subscription, Topic, Verdict,
};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::fault;
use crate::group::{Group, Next, Seat};

/// The receiving end of a membership; dropping it ends the membership.
#[derive(Debug)]
pub(crate) struct Inbox {
    member: Arc<Member>,
    /// Where a private cursor began.
    begun: Option<Vec<(Topic, Position)>>,
}

/// A membership of a group.
#[derive(Debug)]
struct Member {
    group: Arc<Group>,
    id: u64,
    seat: Seat,
}

impl Inbox {
    /// Joins a group, under a number of its own.
    pub(crate) async fn join(
        group: Arc<Group>,
        id: u64,
        to: &Subscribe,
        begun: Option<Vec<(Topic, Position)>>,
    ) -> Result<Self, Error> {
        let seat = Seat::default();
        let version = group.join(id, &to.pattern, to.order, to.window, seat.clone())?;
        let inbox = Self { member: Arc::new(Member { group, id, seat }), begun };
        // Another pattern than before must be on the disk before the first delivery.
        match inbox.member.group.until_saved(version).await {
            Settlement::Confirmed => Ok(inbox),
            Settlement::Stale => Err(fault::closed()),
        }
    }
}

#[async_trait]
impl Subscription for Inbox {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        let Member { group, id, seat } = &*self.member;
        loop {
            match group.next(*id) {
                Next::Message(handed) => {
                    let token = Token { group: Arc::clone(group), member: *id, sequence: handed.sequence };
                    let delivery = handed.into_delivery(*id, seat.lost.clone(), AckToken::new(token));
                    return Some(Ok(Event::Delivery(delivery)));
                }
                Next::End => return None,
                Next::Wait(None) => seat.bell.notified().await,
                Next::Wait(Some(until)) => {
                    tokio::select! {
                        () = seat.bell.notified() => {}
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
    }

    fn begun(&self) -> Option<Vec<(Topic, Position)>> {
        self.begun.clone()
    }

    fn control(&self) -> Arc<dyn Control> {
        Arc::clone(&self.member) as Arc<dyn Control>
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.member.group.leave(self.member.id);
    }
}

#[async_trait]
impl Control for Member {
    fn stop_intake(&self) {
        self.group.stop(self.id);
    }

    /// One process has the log, and all that read it there are at work.
    fn role(&self) -> Role {
        Role::Active
    }

    async fn lag(&self) -> Result<Lag, Error> {
        lag(Arc::clone(&self.group)).await
    }

    async fn close(&self, deadline: Instant) -> Result<(), Error> {
        let version = self.group.leave(self.id);
        match timeout_at(deadline, self.group.until_saved(version)).await {
            Ok(Settlement::Confirmed) => Ok(()),
            Ok(Settlement::Stale) => Err(fault::closed()),
            Err(_) => Err(Error::new(Fault::Timeout).detail(
                "the embedded log did not store what was settled in time: some messages may come again",
            )),
        }
    }
}

/// Counts what a group has not settled.
pub(crate) async fn lag(group: Arc<Group>) -> Result<Lag, Error> {
    let failed = || Error::new(Fault::Unavailable).detail("the embedded log cannot be read");
    match tokio::task::spawn_blocking(move || group.lag()).await {
        Ok(lag) => lag.map_err(|error| failed().because(error)),
        Err(error) => Err(failed().because(error)),
    }
}

/// The duty to settle one delivery.
struct Token {
    group: Arc<Group>,
    member: u64,
    sequence: u64,
}

impl Settle for Token {
    fn settle(self: Box<Self>, verdict: Verdict) -> Settled {
        let Self { group, member, sequence } = *self;
        let version = match verdict {
            Verdict::Accept => group.accept(member, sequence),
            Verdict::Release { after } => group.release(member, sequence, after),
        };
        match version {
            Some(version) => Settled::when(async move { group.until_saved(version).await }),
            None => Settled::ready(Settlement::Stale),
        }
    }
}
