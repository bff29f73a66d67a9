//! The `sidespan` process, configured as a user would.

use sidespan_test_support::{Launch, Sidecar};

use crate::Plan;
use crate::brokers::{Broker, DELIVERED, TOPIC};
use crate::sink::Sink;

/// Starts it, and waits until it is ready.
pub(crate) async fn start<B: Broker>(broker: &B, plan: &Plan, sink: Option<&Sink>) -> Sidecar {
    let (bridge, published, delivered) = (broker.bridge(), B::address(TOPIC), B::address(DELIVERED));
    let mut configuration = format!(
        "version: 1
service: speed
bridges:
  main: {bridge}
topics:
  {TOPIC}: {{ address: {published} }}
  {DELIVERED}: {{ address: {delivered} }}
"
    );
    if let Some(sink) = sink {
        configuration += &format!(
            "subscriptions:
  sink:
    topic: {DELIVERED}
    max_in_flight: {IN_FLIGHT}
    push: {{ url: \"http://{}/\", timeout: 60s }}
",
            sink.address
        );
    }
    let sidecar = Launch::new(&plan.program).config(&configuration).start().await;
    sidecar.until_ready().await;
    sidecar
}

/// Deliveries that run at a time.
pub(crate) const IN_FLIGHT: usize = 64;
