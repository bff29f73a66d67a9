//! Makes what a subscription needs at the broker, and a consumer on it.

use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use sidespan_bridge::{Error, Fault, Order, Role};

use crate::address::{Address, Source};
use crate::fault;
use crate::settings::{Create, QueueType};
use crate::topology;
use crate::wire::{CALL, Wire, within};

/// What a subscription reads, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) source: Source,
    /// The name of its queue; `None` is a cursor of its own.
    pub(crate) group: Option<Box<str>>,
    pub(crate) order: Order,
    pub(crate) prefetch: u16,
    pub(crate) queue_type: QueueType,
    pub(crate) create: Vec<Create>,
}

/// A consumer on a channel of its own.
pub(super) struct Attached {
    pub(super) channel: Channel,
    pub(super) consumer: Consumer,
    pub(super) queue: Box<str>,
    pub(super) role: Role,
}

impl Plan {
    /// Returns the queue that is read; `None` where the broker is to name one.
    pub(super) fn queue(&self) -> Option<&str> {
        match &self.source {
            Source::Queue(queue) => Some(queue),
            Source::Bound(_) => self.group.as_deref(),
        }
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.order != Order::None
    }

    /// Makes queue, binding and consumer.
    pub(super) async fn attach(&self, wire: &Wire) -> Result<Attached, Error> {
        match &self.source {
            Source::Queue(queue) => self.find_queue(wire, queue).await?,
            Source::Bound(address) => self.find_exchange(wire, address).await?,
        }
        let channel = wire.channel().await?;
        let queue: Box<str> = match (&self.source, self.queue()) {
            (Source::Queue(queue), _) => queue.clone(),
            (Source::Bound(address), Some(queue)) => {
                self.make_queue(wire, queue).await?;
                topology::bind(&channel, queue, address).await?;
                queue.into()
            }
            (Source::Bound(address), None) => {
                let queue = topology::make_passing_queue(&channel).await?;
                topology::bind(&channel, queue.as_str(), address).await?;
                queue.as_str().into()
            }
        };
        // Before there is a consumer of ours: who else reads?
        let role = match self.is_ordered() {
            true => self.look(wire, &queue, 0).await?,
            false => Role::Active,
        };
        within(CALL, channel.basic_qos(self.prefetch, BasicQosOptions::default())).await?;
        within(CALL, channel.tx_select()).await?;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel.basic_consume(topology::short(&queue)?, "".into(), options, none);
        let consumer = within(CALL, consumer).await?;
        Ok(Attached { channel, consumer, queue, role })
    }

    /// Tells from the number of consumers, `ours` among them, what a member is that got nothing yet.
    pub(super) async fn look(&self, wire: &Wire, queue: &str, ours: u32) -> Result<Role, Error> {
        let depth = topology::depth(wire, queue).await?.ok_or_else(|| fault::no_queue(queue))?;
        Ok(if depth.consumers <= ours { Role::Active } else { Role::Standby })
    }

    async fn find_exchange(&self, wire: &Wire, address: &Address) -> Result<(), Error> {
        if topology::has_exchange(wire, &address.exchange).await? {
            return Ok(());
        }
        if self.create.contains(&Create::Exchanges) {
            return topology::make_exchange(wire, &address.exchange).await;
        }
        Err(fault::no_exchange(&address.exchange))
    }

    /// Finds the queue that was named. An ordered one must have one active consumer, which only
    /// declaring it can tell.
    async fn find_queue(&self, wire: &Wire, queue: &str) -> Result<(), Error> {
        let exists = topology::depth(wire, queue).await?.is_some();
        if !exists && !self.create.contains(&Create::Queues) {
            return Err(fault::no_queue(queue));
        }
        if exists && !self.is_ordered() { Ok(()) } else { self.make_queue(wire, queue).await }
    }

    async fn make_queue(&self, wire: &Wire, queue: &str) -> Result<(), Error> {
        let arguments = topology::arguments(self.queue_type, self.is_ordered());
        topology::make_queue(wire, queue, arguments).await.map_err(|error| match error.fault {
            Fault::Conflict => {
                let detail = format!(
                    "queue {queue:?} exists with other settings than the subscription has; give it another group, or delete the queue once it is empty: {error}"
                );
                Error::new(Fault::Conflict).detail(detail).because(error)
            }
            _ => error,
        })
    }
}
