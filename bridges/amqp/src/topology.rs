//! What stands at the broker: exchanges, queues, bindings.
//!
//! Each look has a channel of its own, because the broker closes a channel on which something was
//! named that does not exist, or exists with other settings.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};
use sidespan_bridge::{Error, Fault};
use tokio::time::timeout;

use crate::address::Address;
use crate::fault;
use crate::settings::QueueType;
use crate::wire::{CALL, Wire, within};

/// What a queue holds, and who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Depth {
    /// Messages that no consumer holds.
    pub(crate) ready: u64,
    /// Consumers of all members.
    pub(crate) consumers: u32,
}

/// Tells whether an exchange exists.
pub(crate) async fn has_exchange(wire: &Wire, exchange: &str) -> Result<bool, Error> {
    if exchange.is_empty() {
        return Ok(true);
    }
    let channel = wire.channel().await?;
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let declared =
        channel.exchange_declare(short(exchange)?, ExchangeKind::Topic, passive, FieldTable::default());
    found(CALL, declared).await
}

/// Makes an exchange that routes by patterns over the routing key.
pub(crate) async fn make_exchange(wire: &Wire, exchange: &str) -> Result<(), Error> {
    let channel = wire.channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared =
        channel.exchange_declare(short(exchange)?, ExchangeKind::Topic, durable, FieldTable::default());
    within(CALL, declared).await
}

/// Looks at a queue; `None` if there is none.
pub(crate) async fn depth(wire: &Wire, queue: &str) -> Result<Option<Depth>, Error> {
    let channel = wire.channel().await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let declared = channel.queue_declare(short(queue)?, options, FieldTable::default());
    match timeout(CALL, declared).await {
        Ok(Ok(queue)) => {
            Ok(Some(Depth { ready: queue.message_count().into(), consumers: queue.consumer_count() }))
        }
        Ok(Err(error)) if fault::is_not_found(&error) => Ok(None),
        Ok(Err(error)) => Err(fault::of_call(error)),
        Err(_) => Err(Error::new(Fault::Unavailable).detail("rabbitmq does not answer")),
    }
}

/// Makes a durable queue, or finds that it exists with just these settings.
pub(crate) async fn make_queue(wire: &Wire, queue: &str, arguments: FieldTable) -> Result<(), Error> {
    let channel = wire.channel().await?;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    within(CALL, channel.queue_declare(short(queue)?, options, arguments)).await.map(drop)
}

/// Makes a queue that goes with its connection, and returns its name.
pub(crate) async fn make_passing_queue(channel: &Channel) -> Result<ShortString, Error> {
    let options =
        QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let queue = within(CALL, channel.queue_declare("".into(), options, FieldTable::default())).await?;
    Ok(queue.name().clone())
}

/// Binds a queue to an exchange, if it is not yet.
pub(crate) async fn bind(channel: &Channel, queue: &str, to: &Address) -> Result<(), Error> {
    let bound = channel.queue_bind(
        short(queue)?,
        short(&to.exchange)?,
        short(&to.key)?,
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    within(CALL, bound).await
}

/// Returns the settings of a queue that is made.
pub(crate) fn arguments(queue_type: QueueType, single_active: bool) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(queue_type.name().into()));
    if queue_type == QueueType::Quorum {
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(i32::MAX));
    }
    if single_active {
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    }
    arguments
}

/// Makes a name of AMQP's.
pub(crate) fn short(name: &str) -> Result<ShortString, Error> {
    ShortString::try_new(name).map_err(|error| {
        let detail = format!("{name:?} is longer than AMQP allows, 255 bytes");
        Error::new(Fault::Invalid).detail(detail).because(error)
    })
}

async fn found(limit: Duration, look: impl Future<Output = lapin::Result<()>>) -> Result<bool, Error> {
    match timeout(limit, look).await {
        Ok(Ok(())) => Ok(true),
        Ok(Err(error)) if fault::is_not_found(&error) => Ok(false),
        Ok(Err(error)) => Err(fault::of_call(error)),
        Err(_) => Err(Error::new(Fault::Unavailable).detail("rabbitmq does not answer")),
    }
}
