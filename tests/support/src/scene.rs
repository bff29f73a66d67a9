//! Where a run of faults takes place: a broker, topics that are ready there, and what a sidecar's
//! configuration says of them.
//!
//! This is the one list of what such a run has to know about brokers.

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
    active_of_two: usize,
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
        scene
    }

    /// A JetStream, where each topic is a stream of its own. Members are soon taken to be gone.
    pub fn nats(nats: &Nats) -> Self {
        Self::new(format!(
            "{{ kind: nats, servers: ['{}'], create_streams: {{}}, ack_wait: 2s, priority_timeout: 3s }}",
            nats.url()
        ))
    }

    /// A RabbitMQ. Dead letters go into a queue that has their name: what an exchange routes to
    /// nobody, nobody can read later.
    pub fn rabbit(rabbit: &Rabbit) -> Self {
        let bridge = format!("{{ kind: amqp, url: '{}', create: [queues], heartbeat: 2s }}", rabbit.url());
        Self { dead: format!("/{}", unique_name("dead")), ..Self::new(bridge) }
    }

    /// Returns the configuration of a sidecar that delivers to `webhook` what is published once it is
    /// ready, ordered by key, and pushes
    /// what was given up to `dead`. Retries are quick, so that runs are short.
    pub fn config(&self, webhook: &str, dead: &str, attempts: u32) -> String {
        let Self { service, bridge, orders, dead: letters, .. } = self;
        format!(
            "
version: 1
service: {service}
bridges: {{ main: {bridge} }}
topics: {{ orders: {{ address: '{orders}' }}, dead-orders: {{ address: '{letters}' }} }}
subscriptions:
  billing:
    topic: orders
    order: key
    dead_letter: dead-orders
    push: {{ url: '{webhook}', timeout: 400ms }}
    retry: {{ max_attempts: {attempts}, backoff: {{ base: 5ms, cap: 100ms }} }}
  undertaker:
    topic: dead-orders
    dead_letter: false
    push: {{ url: '{dead}' }}
"
        )
    }

    /// Returns the address of the topic `orders` at the broker.
    pub fn orders(&self) -> &str {
        &self.orders
    }

    /// Returns how many of two members of an ordered subscription get messages: one, and the other
    /// stands by, unless they share partitions.
    pub fn active_of_two(&self) -> usize {
        self.active_of_two
    }

    fn new(bridge: String) -> Self {
        Self {
            service: unique_name("faults"),
            bridge,
            orders: unique_name("orders"),
            dead: unique_name("dead"),
            active_of_two: 1,
        }
    }
}
