//! A membership in a group, or a cursor of its own.
//!
//! A group is a durable queue of its name, bound to the exchange; its members are consumers of that
//! queue. The broker gives a member as many messages as its window holds. They wait here until
//! [`next`](sidespan_bridge::Subscription::next) has room for their bytes. One task ([`member`]) owns channel
//! and consumer; what happens to a message in between is in [`shared`].
//!
//! # How order survives members
//!
//! The queue of an ordered subscription has one active consumer; the broker moves on to the next when
//! that one goes. It gives back what the first one held, in its place and order, when the
//! connection breaks. On a polite close or cancel the next member gets messages that are new
//! before those. So an ordered subscription has a connection of its own, and ends it by cutting the socket,
//! once the broker is known to have all acknowledgements.

mod attach;
mod control;
mod member;
mod shared;
mod token;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sidespan_bridge::{Control, Error, Event, Fault, Shard, Subscription, Window};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use crate::link::Link;

pub(crate) use attach::Plan;
use control::AmqpControl;
use member::{ATTACH, Member};
use shared::Shared;
use turn::Turn;

/// Reads what a group, or a cursor, is to get.
pub(crate) struct AmqpSubscription {
    shared: Arc<Shared>,
    control: Arc<AmqpControl>,
}

/// By what a subscription reads.
pub(crate) struct Way {
    pub(crate) link: Arc<Link>,
    /// The link is for this subscription only.
    pub(crate) alone: bool,
}

/// Joins a group, or opens a cursor.
pub(crate) async fn join(
    plan: Plan,
    way: Way,
    window: Window,
    hold: Duration,
) -> Result<AmqpSubscription, Error> {
    let Way { link, alone } = way;
    let wire = link.wire(Instant::now() + ATTACH).await?;
    let attached = match timeout(ATTACH, plan.attach(&wire)).await {
        Ok(attached) => attached?,
        Err(_) => return Err(Error::new(Fault::Unavailable).detail("rabbitmq does not answer")),
    };
    let queue = attached.queue.clone();
    let shard = Shard::new(&*queue);
    let shared = Arc::new(Shared::new(shard, window, plan.order, plan.group.is_some()));
    let (closing, end) = watch::channel(None);
    let member = Member {
        plan,
        link: Arc::clone(&link),
        shared: Arc::clone(&shared),
        hold,
        closing: end,
        committed: Instant::now(),
    };
    let member = Mutex::new(Some(tokio::spawn(member.run(wire, attached))));
    let control = AmqpControl { shared: Arc::clone(&shared), link, alone, queue, closing, member };
    Ok(AmqpSubscription { shared, control: Arc::new(control) })
}

/// Returns how long a message may be held: the broker looks at its `consumer_timeout` only now and
/// then, but a message must be back before.
pub(crate) fn longest_hold(consumer_timeout: Duration) -> Duration {
    consumer_timeout.mul_f64(0.9)
}

#[async_trait]
impl Subscription for AmqpSubscription {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        // A reader that always finds something must not keep the executor to itself.
        tokio::task::coop::consume_budget().await;
        loop {
            let woken = self.shared.wake.notified();
            let due = match self.shared.turn() {
                Turn::Event(event) => return Some(Ok(event)),
                Turn::End(end) => return end.map(Err),
                Turn::Wait(due) => due,
            };
            match due {
                None => woken.await,
                Some(due) => tokio::select! {
                    () = woken => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    fn control(&self) -> Arc<dyn Control> {
        Arc::clone(&self.control) as Arc<dyn Control>
    }
}

impl Drop for AmqpSubscription {
    fn drop(&mut self) {
        self.shared.stop_intake();
        let control = Arc::clone(&self.control);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.shared.abandon();
            runtime.spawn(async move {
                if let Err(error) = control.close(Instant::now() + DROPPED).await {
                    debug!(%error, "a subscription that was dropped could not settle everything");
                }
            });
        }
    }
}

/// How long a subscription that is dropped has to settle what it can.
const DROPPED: Duration = Duration::from_secs(5);
