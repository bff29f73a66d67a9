//! The `sidespan` process, configured as a user would.

use std::net::SocketAddr;

use sidespan_test_support::{Launch, Sidecar};

use crate::Plan;
use crate::brokers::{Broker, DELIVERED, FETCHED, TAKEN, TOPIC};

/// Starts it, and waits until it is ready. With a webhook, it delivers there what comes to [`DELIVERED`],
/// by a subscription of this name: a new one waits for no member that has just been killed.
pub(crate) async fn start<B: Broker>(
    broker: &B,
    plan: &Plan,
    webhook: Option<(&str, SocketAddr)>,
) -> Sidecar {
    start_with(broker, plan, webhook, "").await
}

/// The same, with more in its configuration.
pub(crate) async fn start_with<B: Broker>(
    broker: &B,
    plan: &Plan,
    webhook: Option<(&str, SocketAddr)>,
    more: &str,
) -> Sidecar {
    let subscriptions = webhook.map(|(name, address)| {
        format!(
            "subscriptions:
  {name}:
    topic: {DELIVERED}
    order: key
    max_in_flight: {IN_FLIGHT}
    push: {{ url: \"http://{address}/\", timeout: 60s }}
",
        )
    });
    let configuration = configuration(broker) + &subscriptions.unwrap_or_default() + more;
    let sidecar = Launch::new(&plan.program).config(&configuration).start().await;
    sidecar.until_ready().await;
    eprintln!("benches/run: sidespan runs as process {}", sidecar.id());
    sidecar
}

/// Returns a configuration without subscriptions.
pub(crate) fn configuration<B: Broker>(broker: &B) -> String {
    let (bridge, published, delivered) = (broker.bridge(), B::address(TOPIC), B::address(DELIVERED));
    let (fetched, taken) = (B::address(FETCHED), B::address(TAKEN));
    format!(
        "version: 1
service: speed
bridges:
  main: {bridge}
topics:
  {TOPIC}: {{ address: {published} }}
  {DELIVERED}: {{ address: {delivered} }}
  {FETCHED}: {{ address: {fetched} }}
  {TAKEN}: {{ address: {taken} }}
"
    )
}

/// Returns `address:port` of the door for services.
pub(crate) fn door(sidecar: &Sidecar) -> String {
    sidecar.url("").trim_start_matches("http://").to_owned()
}

/// Deliveries that run at a time.
pub(crate) const IN_FLIGHT: usize = 64;
