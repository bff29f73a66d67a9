//! What other replicas ask of this one.

use std::time::Duration;

use tokio::time::Instant;

use super::ack_id::Leased;
use super::peers::Peers;
use super::peers::wire::{Ask, Taken, Told, What};
use super::{Fetching, Pulling};
use crate::delivery::Draining;
use crate::security::caller::Caller;

impl Pulling {
    /// Returns the other replicas, if there are any.
    pub fn peers(&self) -> Option<&Peers> {
        self.peers.as_deref()
    }

    /// Answers a replica, which has checked what its caller may do. Nothing that it asks goes on to a third.
    pub async fn answer(&self, ask: Ask) -> Told {
        let Ok(fetching) = self.find(&Caller::anyone(), &ask.subscription) else { return Told::Nothing };
        match ask.what {
            What::Leave { consumer } => fetching.shelf.leave(consumer),
            What::Look { wait } => {
                return match fetching.shelf.look(Instant::now() + wait.min(LONGEST)).await {
                    Ok(waits) => Told::Seen { waits, owns: waits || fetching.is_owner() },
                    Err(Draining) => Told::Draining,
                };
            }
            What::PutBack { ack_ids } => fetching.put_back(&ack_ids),
            What::Reply { ack_id, reply, wait } => {
                let deadline = Instant::now() + wait.min(LONGEST);
                let outcome = fetching.reply_for(&ack_id, reply.into_message(), deadline).await;
                return Told::Settled(vec![outcome]);
            }
            What::Settle { ack_ids, verdict, wait } => {
                let deadline = Instant::now() + wait.min(LONGEST);
                return Told::Settled(fetching.settle_here(&ack_ids, verdict, deadline).await);
            }
            What::Take { most, consumer } => {
                let leases = fetching.shelf.fetch_as(consumer, most).await;
                return match fetching.handed(leases) {
                    Ok(handed) => Told::Taken(handed.iter().map(Taken::of).collect()),
                    Err(_) => Told::Draining,
                };
            }
        }
        Told::Done
    }
}

impl Fetching {
    fn put_back(&self, ack_ids: &[String]) {
        for id in ack_ids {
            if let Ok(Leased::Here(number)) = self.ids.read(&self.subscription, id) {
                self.shelf.put_back(number);
            }
        }
    }
}

/// How long a peer may have somebody wait here.
const LONGEST: Duration = Duration::from_secs(60);
