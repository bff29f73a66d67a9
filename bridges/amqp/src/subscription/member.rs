//! The task of a subscription: it owns channel and consumer, and makes them anew.
//!
//! Acknowledgements go out in transactions: all that was settled while the broker was busy with the last
//! one goes into the next, the broker hands it to the queue as one command, and its answer says that
//! it has. Nothing waits while nothing is under way.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use sidespan_bridge::{Error, Fault, Role};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::attach::{Attached, Plan};
use super::longest_hold;
use super::shared::{Arrived, Shared};
use crate::address::Address;
use crate::link::{FIRST_PAUSE, LONGEST_PAUSE, Link, jittered};
use crate::wire::{CALL, Wire, within};
use crate::{fault, message};

/// Receives, acknowledges, and begins anew when channel or connection are gone.
pub(super) struct Member {
    pub(super) plan: Plan,
    pub(super) link: Arc<Link>,
    pub(super) shared: Arc<Shared>,
    /// How long a message may be held.
    pub(super) hold: Duration,
    /// By when to end, once somebody says so.
    pub(super) closing: watch::Receiver<Option<Instant>>,
    /// When the last acknowledgements went out.
    pub(super) committed: Instant,
}

/// Why a consumer is not read any more.
enum Why {
    /// Somebody ends the subscription.
    Closing(Instant),
    /// Something is held for so long that the broker would soon take it away.
    Held,
    /// Messages are so large that far more is here than the window takes: so many would have been enough.
    Swamped(u16),
    /// Channel or connection are gone, or the queue.
    Gone,
    /// It is of no use to try again.
    Hopeless(Error),
}

impl Member {
    /// Receives until the subscription is closed.
    pub(super) async fn run(mut self, wire: Arc<Wire>, attached: Attached) -> Result<(), Error> {
        let mut current = (wire, attached);
        loop {
            let (wire, mut attached) = current;
            self.shared.begin(attached.role);
            let why = self.serve(&wire, &mut attached).await;
            match why {
                Why::Closing(deadline) => return self.leave(&wire, attached, deadline).await,
                Why::Held => {
                    info!(queue = attached.queue, "giving back what is held, ahead of `consumer_timeout`");
                    self.give_back(&wire, &attached).await;
                }
                Why::Swamped(prefetch) => {
                    info!(
                        queue = attached.queue,
                        prefetch, "giving back large messages, to hold fewer of them"
                    );
                    self.plan.prefetch = prefetch;
                    self.give_back(&wire, &attached).await;
                }
                Why::Gone => self.shared.lose(),
                Why::Hopeless(error) => {
                    self.shared.lose();
                    self.shared.end(Err(error));
                    return Ok(());
                }
            }
            drop(attached);
            current = match self.again().await {
                Some(next) => next,
                None => return Ok(()),
            };
        }
    }

    /// Hands on what comes and acknowledges what is settled, as long as the consumer lives.
    async fn serve(&mut self, wire: &Wire, attached: &mut Attached) -> Why {
        let mut looks = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        loop {
            let held = self.shared.oldest().map(|came| came + self.hold);
            tokio::select! {
                delivery = attached.consumer.next() => match delivery {
                    Some(Ok(delivery)) => {
                        if let Err(error) = self.receive(&attached.queue, delivery) {
                            return Why::Hopeless(error);
                        }
                        if let Some(prefetch) = self.shared.swamped()
                            && prefetch < self.plan.prefetch
                        {
                            return Why::Swamped(prefetch);
                        }
                    }
                    Some(Err(error)) => {
                        self.learn(&attached.queue, &error);
                        return Why::Gone;
                    }
                    None => {
                        warn!(
                            queue = attached.queue,
                            "rabbitmq has cancelled a consumer: if its queue was deleted, what it held is gone"
                        );
                        return Why::Gone;
                    }
                },
                () = self.shared.settled.notified() => {
                    if let Err(error) = self.acknowledge(attached).await {
                        debug!(queue = attached.queue, %error, "acknowledgements are lost");
                        // A connection that others share is theirs, too.
                        if self.plan.is_ordered() {
                            wire.cut();
                        }
                        return Why::Gone;
                    }
                }
                _ = looks.tick(), if self.plan.is_ordered() && self.shared.is_in_doubt() => {
                    self.look(wire, &attached.queue).await;
                }
                () = at(held) => return Why::Held,
                Ok(deadline) = closing(&mut self.closing) => return Why::Closing(deadline),
            }
        }
    }

    fn receive(&self, queue: &str, delivery: Delivery) -> Result<(), Error> {
        let tag = delivery.delivery_tag;
        let topic = Address::topic(delivery.exchange.as_str(), delivery.routing_key.as_str());
        let (message, given) = message::of_delivery(delivery);
        if given.of_stream {
            let detail = format!("{queue:?} is a stream, of which nothing can be settled: use a queue");
            return Err(Error::new(Fault::Conflict).detail(detail));
        }
        self.shared.receive(Arrived { tag, message, topic, before: given.before });
        Ok(())
    }

    /// Says why a consumer is gone, and holds nothing for so long again that the broker takes it away.
    fn learn(&mut self, queue: &str, error: &lapin::Error) {
        if fault::is_unreadable(error) {
            warn!(
                queue,
                "a message with a name that is not UTF-8 has ended the connection: it comes again, with `?` in place of what is odd"
            );
            self.link.mend();
            return;
        }
        match (fault::consumer_timeout(error), fault::text(error)) {
            (Some(consumer_timeout), _) => {
                warn!(
                    queue,
                    ?consumer_timeout,
                    "rabbitmq took back all that a consumer held, over its own `consumer_timeout`: set `consumer_timeout` of the bridge to that"
                );
                self.hold = self.hold.min(longest_hold(consumer_timeout));
            }
            (None, Some(said)) => warn!(queue, reason = said, "rabbitmq has ended a consumer"),
            (None, None) => debug!(queue, %error, "a consumer is gone"),
        }
    }

    /// Acknowledges what is settled, and waits until the broker has it.
    async fn acknowledge(&mut self, attached: &Attached) -> Result<(), Error> {
        sleep_until(self.committed + PACE).await;
        let Some(acks) = self.shared.acks() else { return Ok(()) };
        for tag in acks.tags {
            // The first poll queues it; the commit behind it tells that it has arrived.
            let _ = attached.channel.basic_ack(tag, BasicAckOptions::default()).now_or_never();
        }
        within(CALL, attached.channel.tx_commit()).await?;
        self.committed = Instant::now();
        self.shared.confirm(acks.batch);
        Ok(())
    }

    /// Looks who else reads the queue.
    async fn look(&self, wire: &Wire, queue: &str) {
        match self.plan.look(wire, queue, 1).await {
            // Nobody knows who of those that came together is first.
            Ok(Role::Standby) if self.shared.role() == Role::Active => self.shared.presume(Role::Unknown),
            Ok(role) => self.shared.presume(role),
            Err(error) => debug!(queue, %error, "the queue cannot be looked at for now"),
        }
    }

    /// Hands over what is settled and gives back the rest, to begin anew.
    async fn give_back(&mut self, wire: &Wire, attached: &Attached) {
        let _ = self.acknowledge(attached).await;
        self.shared.lose();
        self.part(wire, attached, Instant::now() + PART).await;
    }

    /// Ends for good: hands over what is settled, and gives back the rest.
    async fn leave(&mut self, wire: &Wire, attached: Attached, deadline: Instant) -> Result<(), Error> {
        self.shared.stop_intake();
        let settled = match timeout_at(deadline, self.acknowledge(&attached)).await {
            Ok(settled) => settled,
            Err(_) => Err(Error::new(Fault::Timeout)
                .detail("rabbitmq did not take all settlements in time: some messages may come again")),
        };
        self.shared.abandon();
        self.part(wire, &attached, deadline).await;
        settled
    }

    /// Gives back what is not settled. Of an ordered queue a polite end would give the next member
    /// new messages before those.
    async fn part(&self, wire: &Wire, attached: &Attached, deadline: Instant) {
        if self.plan.is_ordered() {
            wire.cut();
        } else {
            let _ = timeout_at(deadline, attached.channel.close(SUCCESS, "OK".into())).await;
        }
    }

    /// Makes channel and consumer anew; `None` if that came to an end.
    async fn again(&mut self) -> Option<(Arc<Wire>, Attached)> {
        if self.plan.group.is_none() {
            let detail = "the connection was lost, and with it what a cursor of its own would have seen";
            self.shared.end(Err(Error::new(Fault::Unavailable).detail(detail)));
            return None;
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let attach = async {
                sleep(jittered(pause)).await;
                let wire = self.link.up().await?;
                let attached = timeout(ATTACH, self.plan.attach(&wire)).await;
                Some((wire, attached))
            };
            let (wire, attached) = tokio::select! {
                attached = attach => attached?,
                _ = closing(&mut self.closing) => return None,
            };
            match attached {
                Ok(Ok(attached)) => return Some((wire, attached)),
                Ok(Err(error)) if is_passing(error.fault) => debug!(%error, "not attached again yet"),
                Ok(Err(error)) => {
                    self.shared.end(Err(error));
                    return None;
                }
                Err(_) => debug!("rabbitmq is slow to attach a consumer"),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Tells whether trouble heals by itself.
fn is_passing(fault: Fault) -> bool {
    match fault {
        Fault::Limited | Fault::Overloaded | Fault::Rejected | Fault::Timeout | Fault::Unavailable => true,
        Fault::Conflict
        | Fault::Denied
        | Fault::Invalid
        | Fault::StorageFull
        | Fault::TooLarge
        | Fault::UnknownTopic
        | Fault::Unroutable
        | Fault::Unsupported => false,
    }
}

/// Waits until somebody ends the subscription.
async fn closing(closing: &mut watch::Receiver<Option<Instant>>) -> Result<Instant, watch::error::RecvError> {
    let deadline = closing.wait_for(Option::is_some).await?;
    Ok(deadline.unwrap_or_else(Instant::now))
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The least time between two commits. A quorum queue takes each commit as one command and writes it to
/// disk; a channel with 32 commands unwritten keeps further ones to itself, and loses them when it ends. It
/// answers before they are written: should the disk stand still for more than 32 times this pace and the channel
/// end meanwhile, messages may come again although their settlement was confirmed.
const PACE: Duration = Duration::from_millis(2);
/// How long making queue, binding and consumer may take in all.
pub(super) const ATTACH: Duration = Duration::from_secs(10);
/// How often a member that got nothing looks who else reads.
const LOOK: Duration = Duration::from_secs(3);
/// How long giving back politely may take.
const PART: Duration = Duration::from_secs(2);
/// AMQP's reply code for an end without error.
const SUCCESS: u16 = 200;
