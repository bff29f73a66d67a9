//! What the broker has, which AMQP does not tell: its management API does, where it is configured.
//!
//! A topic is a queue that stays (`/queue`), or a routing key by which an exchange feeds one
//! (`exchange/routing.key`). Of a binding by a pattern nobody knows which keys there are.

mod api;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use sidespan_bridge::{Error, Fault, Pattern, Topic, TopicInfo};

use crate::address::Address;
use crate::settings::{AmqpSettings, Management};

use api::Api;

#[derive(Deserialize)]
struct Queue {
    name: String,
    #[serde(default)]
    exclusive: bool,
    /// Counted every few seconds: not there at first.
    #[serde(default)]
    messages: Option<u64>,
}

#[derive(Deserialize)]
struct Binding {
    source: String,
    routing_key: String,
}

#[derive(Deserialize)]
struct Exchange {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Lists the topics that a pattern stands for.
pub(crate) async fn topics(
    settings: &Arc<AmqpSettings>,
    management: &Management,
    pattern: &Pattern,
) -> Result<Vec<TopicInfo>, Error> {
    let api = Api::new(settings, management)?;
    if let Some(topic) = pattern.literal() {
        return one(&api, topic).await.map(|found| found.into_iter().collect());
    }
    let queues: Vec<Queue> = api.list("queues", "name,exclusive,messages").await?;
    let mut found: BTreeMap<Topic, Option<u64>> = BTreeMap::new();
    for queue in queues.into_iter().filter(|queue| !queue.exclusive) {
        found.insert(Address::topic("", &queue.name), queue.messages);
    }
    let keyed = keyed_exchanges(&api).await?;
    let bindings: Vec<Binding> = api.list("bindings", "source,routing_key").await?;
    for Binding { source, routing_key } in bindings {
        let words = !routing_key.split('.').any(|word| word == "*" || word == "#");
        if keyed.contains(&source) && words && !routing_key.is_empty() {
            found.insert(Address::topic(&source, &routing_key), None);
        }
    }
    let matching = found.into_iter().filter(|(topic, _)| pattern.matches(topic));
    Ok(matching.map(|(topic, messages)| info(topic, messages)).collect())
}

/// Looks one up: it is there if its queue is, or its exchange.
async fn one(api: &Api, topic: Topic) -> Result<Option<TopicInfo>, Error> {
    let address = Address::of(&topic)?;
    if address.is_queue() {
        let queue: Option<Queue> = api.one("queues", &address.key).await?;
        return Ok(queue.map(|queue| info(topic, queue.messages)));
    }
    let exchange: Option<Exchange> = api.one("exchanges", &address.exchange).await?;
    Ok(exchange.map(|_| info(topic, None)))
}

/// Names the exchanges to which routing keys mean something.
async fn keyed_exchanges(api: &Api) -> Result<BTreeSet<String>, Error> {
    let exchanges: Vec<Exchange> = api.list("exchanges", "name,type").await?;
    let keyed = exchanges.into_iter().filter(|exchange| {
        !exchange.name.is_empty() && matches!(&*exchange.kind, "direct" | "topic" | "x-consistent-hash")
    });
    Ok(keyed.map(|exchange| exchange.name).collect())
}

fn info(topic: Topic, messages: Option<u64>) -> TopicInfo {
    TopicInfo { topic, partitions: 1, messages, bytes: None }
}

/// Says that topics are not listed, and what to do.
pub(crate) fn absent() -> Error {
    let detail = "AMQP does not list exchanges or queues: set `management` of the bridge, which does";
    Error::new(Fault::Unsupported).detail(detail)
}
