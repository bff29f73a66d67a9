//! The brokers that runs take place on.

use crate::broker::{Broker, NotOurs};
use crate::kafka::Kafka;
use crate::nats::Nats;
use crate::port::free_port;
use crate::proxy::Proxy;
use crate::rabbit::Rabbit;
use crate::scene::Scene;

/// A broker by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// The embedded log.
    Embedded,
    /// NATS, with streams.
    Jetstream,
    /// Kafka.
    Kafka,
    /// RabbitMQ.
    Rabbitmq,
}

/// Makes a test of a function for each of the brokers: `on!(the_sidecar on every broker)` has it called with each
/// [`Ground`], `on every server` with those that are processes of their own.
#[macro_export]
macro_rules! on {
    ($run:ident: $($broker:ident = $ground:ident),+) => {
        mod $run {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $broker() {
                    super::$run($crate::Ground::$ground).await;
                }
            )+
        }
    };
    ($run:ident on every broker) => {
        $crate::on!($run: embedded = Embedded, kafka = Kafka, jetstream = Jetstream, rabbitmq = Rabbitmq);
    };
    ($run:ident on every server) => {
        $crate::on!($run: kafka = Kafka, jetstream = Jetstream, rabbitmq = Rabbitmq);
    };
}

/// A broker of a run's own, which may be killed and frozen.
#[derive(Debug)]
pub enum Own {
    /// Kafka.
    Kafka(Kafka),
    /// NATS.
    Nats(Nats),
    /// RabbitMQ.
    Rabbit(Box<Rabbit>),
}

impl Ground {
    /// Returns what it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Jetstream => "jetstream",
            Self::Kafka => "kafka",
            Self::Rabbitmq => "rabbitmq",
        }
    }

    /// Returns a place on the broker that runs share.
    pub async fn shared(self) -> Scene {
        match self {
            Self::Embedded => Scene::embedded(),
            Self::Jetstream => Scene::nats(Nats::shared().await),
            Self::Kafka => Scene::kafka(Kafka::shared().await).await,
            Self::Rabbitmq => Scene::rabbit(Rabbit::shared().await),
        }
    }

    /// Starts a broker of the run's own; `None`, and a word, where one is given from outside.
    pub async fn own(self) -> Option<(Own, Scene)> {
        let started = match self {
            Self::Embedded => panic!("the embedded log has no process of its own"),
            Self::Jetstream => Nats::start().await.map(Own::Nats),
            Self::Kafka => Kafka::start().await.map(Own::Kafka),
            Self::Rabbitmq => Rabbit::start().await.map(Box::new).map(Own::Rabbit),
        };
        let own = ours(started)?;
        let scene = own.scene().await;
        Some((own, scene))
    }

    /// Starts a broker like [`Ground::own`], to which a network of the run's own leads.
    pub async fn behind_a_proxy(self) -> Option<(Own, Proxy, Scene)> {
        if self != Self::Kafka {
            let (own, scene) = self.own().await?;
            let proxy = Proxy::start_on(0, own.broker().port()).await;
            let scene = scene.by_port(own.broker().port(), proxy.port());
            return Some((own, proxy, scene));
        }
        // Its clients go where it tells them to.
        let (outer, inner) = (free_port(), free_port());
        let own = ours(Kafka::start_behind(outer, inner).await.map(Own::Kafka))?;
        let proxy = Proxy::start_on(outer, inner).await;
        let scene = own.scene().await.by_port(own.broker().port(), outer);
        Some((own, proxy, scene))
    }
}

impl Own {
    async fn scene(&self) -> Scene {
        match self {
            Self::Kafka(kafka) => Scene::kafka(kafka).await,
            Self::Nats(nats) => Scene::nats(nats),
            Self::Rabbit(rabbit) => Scene::rabbit(rabbit),
        }
    }

    fn broker(&self) -> &Broker {
        match self {
            Self::Kafka(kafka) => kafka,
            Self::Nats(nats) => nats,
            Self::Rabbit(rabbit) => rabbit,
        }
    }

    /// Returns it as what can be killed.
    pub fn broker_mut(&mut self) -> &mut Broker {
        match self {
            Self::Kafka(kafka) => kafka,
            Self::Nats(nats) => nats,
            Self::Rabbit(rabbit) => rabbit,
        }
    }

    /// Prepares it for its first kill, once the run's queues are there.
    pub async fn flush(&self) {
        if let Self::Rabbit(rabbit) = self {
            rabbit.flush().await;
        }
    }
}

fn ours<T>(started: Result<T, NotOurs>) -> Option<T> {
    started.inspect_err(|skipped| eprintln!("{skipped}")).ok()
}
