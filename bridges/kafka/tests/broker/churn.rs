//! Members that come and go at random under load.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidespan_bridge::{Bridge, Event, Message, Order, Subscribe, Verdict};
use sidespan_test_support::history::{self, History};
use sidespan_test_support::{Kafka, Random, eventually, unique_name};
use tokio_util::sync::CancellationToken;

use super::{all_of, body, open, publish, soon, subscribe, text};

/// Three members of an ordered subscription join, leave politely and are killed at random, while
/// keyed messages are published and some are refused at first. Nothing is lost, and a key goes back
/// only for a repeat. `SIDESPAN_SEED` repeats a run.
#[tokio::test(flavor = "multi_thread")]
async fn members_that_come_and_go_at_random_lose_nothing_and_keep_the_order_of_each_key() {
    churn(3_000, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn members_that_come_and_go_at_random_for_long_lose_nothing_either() {
    churn(20_000, 40).await;
}

async fn churn(messages: usize, changes: usize) {
    let mut random = Random::from_env();
    let kafka = Kafka::shared().await;
    let topic = unique_name("churn");
    kafka.create_topic(&topic, 12).await;
    let history = Arc::new(Mutex::new(History::default()));
    let publisher = open(kafka);
    let load = async {
        for number in 0..messages / KEYS {
            let order = |key| history::Order { key, number };
            let keyed = |key| Message { key: Some(format!("key {key}").into()), ..text(order(key)) };
            publish(&*publisher, &topic, (0..KEYS).map(keyed).collect()).await;
            let mut history = history.lock().unwrap();
            (0..KEYS).for_each(|key| history.stored(order(key)));
        }
    };
    let members = async {
        let mut seats: [Option<Member>; 3] = [None, None, None];
        for change in 0..changes {
            let progress = messages * change / changes;
            until_settled(&history, progress).await;
            let seat = random.below(3) as usize;
            if let Some(member) = seats[seat].take() {
                member.end(random.chance(40)).await;
            }
            // Somebody always reads.
            if seats.iter().all(Option::is_none) || random.chance(80) {
                seats[seat] = Some(Member::begin(kafka, &topic, change, &history, random.fork()));
            }
        }
        if seats.iter().all(Option::is_none) {
            seats[0] = Some(Member::begin(kafka, &topic, changes, &history, random.fork()));
        }
        until_settled(&history, messages / KEYS * KEYS).await;
        for member in seats.into_iter().flatten() {
            member.end(false).await;
        }
    };
    tokio::join!(load, members);
    match history.lock().unwrap().check(messages / KEYS * KEYS, changes) {
        Ok(figures) => eprintln!("{figures}"),
        Err(broken) => panic!("{}", broken.join("\n")),
    }
}

async fn until_settled(history: &Mutex<History>, count: usize) {
    let what = format!("{count} messages accepted");
    eventually(Duration::from_secs(120), &what, async || history.lock().unwrap().delivered() >= count).await;
}

struct Member {
    bridge: Arc<dyn Bridge>,
    stop: CancellationToken,
    work: tokio::task::JoinHandle<()>,
    killed: Arc<Mutex<bool>>,
}

impl Member {
    fn begin(
        kafka: &Kafka,
        topic: &str,
        number: usize,
        history: &Arc<Mutex<History>>,
        random: Random,
    ) -> Self {
        let (bridge, stop, killed) = (open(kafka), CancellationToken::new(), Arc::default());
        let to = Subscribe { order: Order::Key, ..all_of(topic) };
        let (ends, history, how) = (stop.clone(), Arc::clone(history), Arc::clone(&killed));
        let served = Arc::clone(&bridge);
        let work =
            tokio::spawn(async move { work(&*served, to, number, &history, random, &ends, &how).await });
        Self { bridge, stop, work, killed }
    }

    async fn end(self, killed: bool) {
        *self.killed.lock().unwrap() = killed;
        self.stop.cancel();
        self.work.await.unwrap();
        if !killed {
            self.bridge.close(soon()).await;
        }
    }
}

async fn work(
    bridge: &dyn Bridge,
    to: Subscribe,
    number: usize,
    history: &Mutex<History>,
    mut random: Random,
    stop: &CancellationToken,
    killed: &Mutex<bool>,
) {
    let Some(mut inbox) = stop.run_until_cancelled(subscribe(bridge, to)).await else { return };
    while let Some(event) = stop.run_until_cancelled(inbox.next()).await {
        let Event::Delivery(delivery) = event.unwrap().unwrap() else { continue };
        if delivery.lost.is_cancelled() {
            continue;
        }
        let accepted = !random.chance(5);
        let (order, place) = (history::Order::read(&body(&delivery)), delivery.position.unwrap().to_string());
        let taken = history::Taken { accepted, takes: Duration::ZERO };
        history.lock().unwrap().attempt(order, &place, number, taken);
        let release = Verdict::Release { after: random.duration(Duration::ZERO, Duration::from_millis(50)) };
        drop(delivery.ack.settle(if accepted { Verdict::Accept } else { release }));
    }
    if *killed.lock().unwrap() {
        return drop(inbox);
    }
    inbox.control().close(soon()).await.unwrap();
}

const KEYS: usize = 40;
