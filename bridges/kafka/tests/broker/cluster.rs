//! Three brokers that each have a copy of everything; a message is stored once two have it.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use sidespan_bridge::{Bridge, Driver, Error, Fault, Message, Receipt, Settings, Topic};
use sidespan_bridge_kafka::Kafka as KafkaDriver;
use sidespan_test_support::{Kafka, eventually, unique_name};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{accept, all_of, body, close, next, subscribe, text};

/// The leader is killed under load, then one of the two that are left. What was answered as stored is
/// there; what was answered as not stored is not, also when all are back; every answer comes within
/// its deadline; and publishing heals by itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_has_stored_outlives_the_brokers_that_took_it() {
    let mut cluster = match Kafka::cluster().await {
        Ok(cluster) => cluster,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let topic = unique_name("cluster");
    cluster[0].create_topic(&topic, PARTITIONS).await;
    let brokers: Vec<&str> = cluster.iter().map(|kafka| kafka.address()).collect();
    let bridge =
        KafkaDriver.open(&Settings::new("kafka-tests", json!({"brokers": brokers, "max_deadline": "5s"})));
    let bridge = bridge.unwrap();
    let (ledger, end) = (Ledger::default(), CancellationToken::new());
    let load = async {
        tokio::join!(ledger.load(&*bridge, &topic, 0, &end), ledger.load(&*bridge, &topic, 1, &end))
    };

    let faults = async {
        ledger.until_more_is_stored("with three brokers").await;
        let leader = cluster[0].leader(&topic, 0).await.expect("a leader");
        cluster[leader - 1].kill();
        ledger.until_more_is_stored("with two brokers").await;

        let second = leader % 3 + 1;
        cluster[second - 1].kill();
        ledger.until_more_fails().await;

        cluster[leader - 1].start_again_unready();
        cluster[second - 1].start_again_unready();
        ledger.until_more_is_stored("with three brokers again").await;
        end.cancel();
    };
    tokio::join!(load, faults);

    let stored = ledger.stored.into_inner().unwrap();
    let refused = ledger.refused.into_inner().unwrap();
    let mut missing = stored.clone();
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    while !missing.is_empty() {
        let delivery = next(&mut inbox).await;
        let body = body(&delivery);
        assert!(!refused.contains(&body), "{body} was said not to be stored");
        missing.remove(&body);
        accept(delivery).await;
    }
    let unknown = ledger.unknown.into_inner().unwrap();
    eprintln!("{} stored, {} refused, {unknown} unknown", stored.len(), refused.len());
    close(inbox).await;
}

/// What was said of each message.
#[derive(Default)]
struct Ledger {
    stored: Mutex<BTreeSet<String>>,
    refused: Mutex<BTreeSet<String>>,
    unknown: Mutex<usize>,
}

impl Ledger {
    /// Publishes batches until the end.
    async fn load(&self, bridge: &dyn Bridge, topic: &str, name: usize, end: &CancellationToken) {
        let mut number = 0;
        while !end.is_cancelled() {
            let bodies: Vec<String> = (number..number + BATCH).map(|n| format!("{name} {n}")).collect();
            let keyed = |body: &String| Message { key: Some(body.clone().into()), ..text(body) };
            let begin = Instant::now();
            let batch = bodies.iter().map(keyed).collect();
            let outcomes = bridge.publisher().publish(&Topic::new(topic), batch, begin + DEADLINE).await;
            assert!(begin.elapsed() < DEADLINE + SLACK, "answered after {:?}", begin.elapsed());
            bodies.into_iter().zip(outcomes).for_each(|(body, outcome)| self.note(body, outcome));
            number += BATCH;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn note(&self, body: String, outcome: Result<Receipt, Error>) {
        match outcome.map_err(|error| error.fault) {
            Ok(_) => drop(self.stored.lock().unwrap().insert(body)),
            Err(Fault::Unavailable) => drop(self.refused.lock().unwrap().insert(body)),
            Err(Fault::Timeout) => *self.unknown.lock().unwrap() += 1,
            Err(fault) => panic!("{body}: {fault:?}"),
        }
    }

    async fn until_more_is_stored(&self, what: &str) {
        let count = || self.stored.lock().unwrap().len();
        let before = count();
        eventually(HEALED, &format!("500 more stored {what}"), async || count() > before + 500).await;
    }

    /// Waits until messages were refused, and nothing more is stored.
    async fn until_more_fails(&self) {
        let failed = || self.refused.lock().unwrap().len() + *self.unknown.lock().unwrap();
        let before = failed();
        eventually(HEALED, "what one broker alone cannot store is refused", async || failed() > before + 200)
            .await;
    }
}

const PARTITIONS: u32 = 6;
const BATCH: usize = 10;
const DEADLINE: Duration = Duration::from_secs(3);
/// A machine with much else to do answers a little later.
const SLACK: Duration = Duration::from_secs(2);
/// How long a cluster and those who publish to it may take to go on.
const HEALED: Duration = Duration::from_secs(60);
