//! What the doors stand on: a broker that takes every message, keeps none, and has always some to hand out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sidespan::config::{Config, Limits};
use sidespan::delivery::Roster;
use sidespan::publish::{Budget, Outlet, Publishing, Routes};
use sidespan::pull::{AckIds, Pulling};
use sidespan::request::Requesting;
use sidespan::subscriptions::Subscriptions;
use sidespan_bridge::{
    AckToken, Bridge, Control, Delivery, Driver, Epoch, Error, Event, Fault, Guarantee, Guarantees, Lag,
    Message, Pattern, Publisher, Receipt, Role, Settle, Settled, Settlement, Shard, Subscribe, Subscription,
    Topic, TopicInfo, Verdict,
};
use sidespan_bridge_embedded::Embedded;
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The one runtime.
pub static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));

/// How many messages the broker was given.
pub static GIVEN: AtomicUsize = AtomicUsize::new(0);

/// What doors are made of.
pub struct Ground {
    pub limits: Limits,
    pub publishing: Arc<Publishing>,
    pub requesting: Arc<Requesting>,
    pub roster: Arc<Roster>,
    pub subscriptions: Arc<Subscriptions>,
    pub pulling: Arc<Pulling>,
}

impl Ground {
    /// Has the topic `declared`, any other one, and the subscription `jobs` to fetch from. To be called in
    /// the runtime.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("c.yaml");
        std::fs::write(&path, CONFIG).expect("writes the file");
        let drivers: [&'static dyn Driver; 1] = [&Embedded];
        let config = Config::load(&path, &drivers).expect("a configuration");
        let limits = config.limits.clone();
        let bridge = Arc::new(Nowhere);
        let outlets = config.bridges.keys().map(|name| {
            let budget = Budget::new(limits.max_in_flight, limits.max_in_flight_bytes);
            (name.clone(), Arc::new(Outlet::new(name.clone(), bridge.clone(), budget)))
        });
        let outlets: BTreeMap<_, _> = outlets.collect();
        let publishing = Arc::new(Publishing::new(Routes::new(&config, &outlets)));
        let bridges = config.bridges.keys().map(|name| (name.clone(), bridge.clone() as Arc<dyn Bridge>));
        let roster = Arc::new(Roster::new(bridges.collect()));
        let subscriptions = Subscriptions::new(Arc::new(config), roster.clone(), None);
        let ids = AckIds::alone().expect("random bytes");
        let pulling = Arc::new(Pulling::new(roster.clone(), ids, None));
        let requesting = Arc::new(Requesting::new(limits.max_requests, limits.max_message));
        Self { limits, publishing, requesting, roster, subscriptions, pulling }
    }
}

impl Default for Ground {
    fn default() -> Self {
        Self::new()
    }
}

const CONFIG: &str = "
version: 1
service: shop
bridges: { local: { kind: embedded, dir: d, open: true } }
topics: { declared: {} }
subscriptions:
  jobs: { topic: declared, dead_letter: false, retry: { backoff: { base: 1ms, cap: 1ms } }, pull: { lease: 1s } }
limits: { max_message: 64KiB, max_batch: 256KiB, max_batch_messages: 100, timeout: 1s, max_timeout: 1s }
";

/// Takes every message, and keeps none: doors are tried here, and no broker.
struct Nowhere;

#[async_trait]
impl Bridge for Nowhere {
    fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::new(Self)
    }

    async fn subscribe(&self, to: Subscribe) -> Result<Box<dyn Subscription>, Error> {
        Ok(Box::new(Endless { places: Arc::new(Semaphore::new(to.window.messages)), next: 0 }))
    }

    async fn probe(&self, _: Instant) -> Result<(), Error> {
        Ok(())
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees {
            delivery: Guarantee::AtLeastOnce,
            deduplicates: false,
            ordered: false,
            start: false,
            seek: false,
            requests: false,
        }
    }

    async fn topics(&self, _: &Pattern, _: Instant) -> Result<Vec<TopicInfo>, Error> {
        Ok(Vec::new())
    }

    async fn ensure(&self, _: &Topic, _: Instant) -> Result<(), Error> {
        Ok(())
    }

    async fn close(&self, _: Instant) {}
}

impl Publisher for Nowhere {
    fn publish(
        &self,
        _: &Topic,
        batch: Vec<Message>,
        _: Instant,
    ) -> BoxFuture<'static, Vec<Result<Receipt, Error>>> {
        GIVEN.fetch_add(batch.len(), Ordering::Relaxed);
        let receipt = Receipt {
            position: None,
            guarantee: Guarantee::AtLeastOnce,
            duplicate: false,
            deduplicated: false,
            local: true,
        };
        async move { batch.iter().map(|_| Ok(receipt)).collect() }.boxed()
    }
}

/// As many messages as may be unsettled at a time.
struct Endless {
    places: Arc<Semaphore>,
    next: u64,
}

#[async_trait]
impl Subscription for Endless {
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        let place = self.places.clone().acquire_owned().await.ok()?;
        self.next += 1;
        let delivery = Delivery {
            message: Message { payload: Some(self.next.to_string().into()), ..Message::default() },
            topic: Topic::new("declared"),
            shard: Shard::new("0"),
            epoch: Epoch(1),
            position: None,
            redelivered: None,
            lost: CancellationToken::new(),
            ack: AckToken::new(Place(place)),
        };
        Some(Ok(Event::Delivery(delivery)))
    }

    fn control(&self) -> Arc<dyn Control> {
        Arc::new(Nowhere)
    }
}

#[async_trait]
impl Control for Nowhere {
    fn stop_intake(&self) {}

    fn role(&self) -> Role {
        Role::Active
    }

    async fn lag(&self) -> Result<Lag, Error> {
        Err(Fault::Unsupported.into())
    }

    async fn close(&self, _: Instant) -> Result<(), Error> {
        Ok(())
    }
}

/// The place of a message that is not settled.
struct Place(#[expect(dead_code, reason = "it is given back when dropped")] OwnedSemaphorePermit);

impl Settle for Place {
    fn settle(self: Box<Self>, _: Verdict) -> Settled {
        Settled::ready(Settlement::Confirmed)
    }
}
