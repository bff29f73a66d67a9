//! Where a run of faults takes place: a broker, topics that are ready there, and what a sidecar's
//! configuration says of them.
//!
//! This is the one list of what such a run has to know about brokers.

use std::time::Duration;

use crate::kafka::Kafka;
use crate::nats::Nats;
use crate::rabbit::Rabbit;
use crate::random::unique_name;

/// A broker as sidecars see it. All sidecars of a scene are members of one service.
#[derive(Clone, Debug)]
pub struct Scene {
    service: String,
    bridge: String,
    orders: String,
    dead: String,
    ballast: String,
    active_of_two: usize,
    order: &'static str,
    timeout: Duration,
    fetched: bool,
    /// Whether there are dead letters.
    buries: bool,
}

impl Scene {
    /// The embedded log, in the directory of a sidecar.
    pub fn embedded() -> Self {
        Self::new("{ kind: embedded, dir: ./data }".to_owned())
    }

    /// A Kafka, with 8 partitions to share. Sessions are short, so that the group soon lets a member
    /// go that was killed or frozen.
    pub async fn kafka(kafka: &Kafka) -> Self {
        let bridge = format!(
            "{{ kind: kafka, brokers: ['{}'], \
             properties: {{ session.timeout.ms: 3000, heartbeat.interval.ms: 500 }} }}",
            kafka.address()
        );
        let scene = Self { active_of_two: 2, ..Self::new(bridge) };
        kafka.create_topic(&scene.orders, 8).await;
        kafka.create_topic(&scene.dead, 1).await;
        kafka.create_topic(&scene.ballast, 1).await;
        scene
    }

    /// A JetStream, where each topic is a stream of its own. Members are soon taken to be gone.
    pub fn nats(nats: &Nats) -> Self {
        Self::new(format!(
            "{{ kind: nats, servers: ['{}'], create_streams: {{}}, ack_wait: 2s, priority_timeout: 3s }}",
            nats.url()
        ))
    }

    /// A NATS without streams: nothing is kept, and each message goes to any one member.
    pub fn core(nats: &Nats) -> Self {
        let bridge = format!("{{ kind: nats, servers: ['{}'], mode: core }}", nats.url());
        Self { buries: false, ..Self::new(bridge) }.unordered()
    }

    /// A RabbitMQ. What nobody reads goes into a queue that has its name: an exchange would route it to
    /// nobody.
    pub fn rabbit(rabbit: &Rabbit) -> Self {
        let bridge = format!("{{ kind: amqp, url: '{}', create: [queues], heartbeat: 2s }}", rabbit.url());
        let queue = |name| format!("/{}", unique_name(name));
        Self { dead: queue("dead"), ballast: queue("ballast"), ..Self::new(bridge) }
    }

    /// Delivers in no order.
    pub fn unordered(self) -> Self {
        Self { order: "none", active_of_two: 2, ..self }
    }

    /// Gives the webhook so long to answer.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Lets consumers fetch the orders, instead of posting them to the webhook.
    pub fn fetched(self) -> Self {
        Self { fetched: true, ..self }
    }

    /// Reaches the broker by another port of this machine: that of a proxy.
    pub fn by_port(self, broker: u16, port: u16) -> Self {
        Self { bridge: self.bridge.replace(&format!(":{broker}"), &format!(":{port}")), ..self }
    }

    /// Returns the configuration of a sidecar that delivers to `webhook` what is published once it is
    /// ready, and pushes what was given up to
    /// `dead`. Retries are quick, so that runs are short. Nobody reads the topic `ballast`.
    pub fn config(&self, webhook: &str, dead: &str, attempts: u32) -> String {
        let Self { service, bridge, orders, dead: letters, ballast, order, timeout, .. } = self;
        let target = if self.fetched {
            format!("pull: {{ lease: {}s }}", LEASE.as_secs())
        } else {
            let timeout = timeout.as_millis();
            format!("max_in_flight: {IN_FLIGHT}\n    push: {{ url: '{webhook}', timeout: {timeout}ms }}")
        };
        format!(
            "
version: 1
service: {service}
bridges: {{ main: {bridge} }}
topics:
  orders: {{ address: '{orders}' }}
  dead-orders: {{ address: '{letters}' }}
  ballast: {{ address: '{ballast}' }}
subscriptions:
  billing:
    topic: orders
    order: {order}
    max_held: {{ messages: {HELD} }}
    dead_letter: dead-orders
    {target}
    retry: {{ max_attempts: {attempts}, backoff: {{ base: 5ms, cap: 100ms }} }}
  undertaker:
    topic: dead-orders
    dead_letter: false
    push: {{ url: '{dead}' }}
"
        )
    }

    /// Returns the configuration of a sidecar from which consumers fetch what is published once it is ready,
    /// with further top-level sections.
    pub fn replica(&self, lease: Duration, sections: &str) -> String {
        let Self { service, bridge, orders, dead, order, .. } = self;
        let (lease, dead_letter) = (lease.as_millis(), if self.buries { "dead-orders" } else { "false" });
        format!(
            "
version: 1
service: {service}
bridges: {{ main: {bridge} }}
topics:
  orders: {{ address: '{orders}' }}
  dead-orders: {{ address: '{dead}' }}
subscriptions:
  billing:
    topic: orders
    order: {order}
    dead_letter: {dead_letter}
    pull: {{ lease: {lease}ms }}
    retry: {{ backoff: {{ base: 5ms, cap: 100ms }} }}
{sections}
"
        )
    }

    /// Returns the name of the service.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Returns the address of the topic `orders` at the broker.
    pub fn orders(&self) -> &str {
        &self.orders
    }

    /// Returns how many of two members of a subscription get messages: of an ordered one a single one, and
    /// the other stands by, unless they share partitions.
    pub fn active_of_two(&self) -> usize {
        self.active_of_two
    }

    fn new(bridge: String) -> Self {
        Self {
            service: unique_name("faults"),
            bridge,
            orders: unique_name("orders"),
            dead: unique_name("dead"),
            ballast: unique_name("ballast"),
            active_of_two: 1,
            order: "key",
            timeout: Duration::from_millis(500),
            fetched: false,
            buries: true,
        }
    }
}

/// How long a message is its consumer's.
const LEASE: Duration = Duration::from_secs(1);
/// How many messages a sidecar attempts at a time.
const IN_FLIGHT: usize = 128;
/// How many messages a sidecar holds.
pub const HELD: usize = 256;
