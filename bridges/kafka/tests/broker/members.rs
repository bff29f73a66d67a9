//! Members that come and go.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidespan_bridge::{Bridge, Event, Message, Settlement, Verdict};
use sidespan_test_support::{Kafka, eventually, unique_name};
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, accept, all_of, body, close, next, open, publish, subscribe, text, until};

#[tokio::test]
async fn only_what_was_not_settled_comes_again() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("again");
    kafka.create_topic(&topic, 1).await;
    let bridge = open(kafka);
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    publish(&*bridge, &topic, (0..100).map(text).collect()).await;
    let mut held = Vec::new();
    for n in 0..100 {
        let delivery = next(&mut inbox).await;
        if n == 3 || n == 50 {
            held.push(delivery);
        } else if n == 99 {
            accept(delivery).await;
        } else {
            drop(delivery.ack.settle(Verdict::Accept));
        }
    }
    // Nothing is handed over at the end: what was confirmed is with the broker already.
    drop((bridge, held, inbox));

    let bridge = open(kafka);
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    publish(&*bridge, &topic, vec![text("last")]).await;
    assert_eq!(until(&mut inbox, "last").await, ["3", "50"]);
    close(inbox).await;
}

/// Three members join one after the other; one leaves politely, one is killed. Everything is
/// accepted, and nothing that was confirmed is seen again.
#[tokio::test]
async fn members_that_join_and_leave_lose_nothing_and_repeat_nothing_confirmed() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("members");
    kafka.create_topic(&topic, 12).await;
    let ledger = Arc::new(Ledger::default());
    let publisher = open(kafka);
    let published = async {
        for n in 0..MESSAGES {
            let message = Message { key: Some(format!("key {}", n % 40).into()), ..text(n) };
            publish(&*publisher, &topic, vec![message]).await;
            // The members set the pace.
            ledger.reach(n.saturating_sub(50)).await;
        }
    };
    let members = async {
        let [first, second, third] = [(); 3].map(|()| CancellationToken::new());
        let [one, two, three] = [(); 3].map(|()| open(kafka));
        let one = tokio::spawn(work(one, topic.clone(), Arc::clone(&ledger), first.clone(), false));
        ledger.reach(100).await;
        let two = tokio::spawn(work(two, topic.clone(), Arc::clone(&ledger), second.clone(), true));
        ledger.reach(200).await;
        let three = tokio::spawn(work(three, topic.clone(), Arc::clone(&ledger), third.clone(), false));
        ledger.reach(300).await;
        first.cancel();
        one.await.unwrap();
        ledger.reach(400).await;
        second.cancel();
        two.await.unwrap();
        ledger.reach(MESSAGES).await;
        third.cancel();
        three.await.unwrap();
    };
    tokio::join!(published, members);
}

/// What was accepted in time, and what of that was confirmed. What was neither confirmed nor known
/// to be stale at the end of a membership may be with the broker, or come again.
#[derive(Default)]
struct Ledger {
    accepted: Mutex<BTreeSet<String>>,
    confirmed: Mutex<BTreeSet<String>>,
}

impl Ledger {
    async fn reach(&self, count: usize) {
        eventually(PATIENCE, &format!("{count} messages accepted"), async || {
            self.accepted.lock().unwrap().len() >= count
        })
        .await;
    }
}

async fn work(
    bridge: Arc<dyn Bridge>,
    topic: String,
    ledger: Arc<Ledger>,
    end: CancellationToken,
    killed: bool,
) {
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    while let Some(event) = end.run_until_cancelled(inbox.next()).await {
        let Event::Delivery(delivery) = event.unwrap().unwrap() else { continue };
        let body = body(&delivery);
        assert!(!ledger.confirmed.lock().unwrap().contains(&body), "{body} was confirmed and came again");
        let ledger = Arc::clone(&ledger);
        if !delivery.lost.is_cancelled() {
            ledger.accepted.lock().unwrap().insert(body.clone());
        }
        tokio::spawn(async move {
            if delivery.ack.settle(Verdict::Accept).await == Settlement::Confirmed {
                ledger.confirmed.lock().unwrap().insert(body);
            }
        });
    }
    if killed {
        drop(bridge);
        drop(inbox);
    } else {
        inbox.control().close(super::soon()).await.unwrap();
        bridge.close(super::soon()).await;
    }
}

/// A member whose reader does nothing for longer than a session goes on sending heartbeats.
#[tokio::test]
async fn a_member_that_is_slow_keeps_its_partitions() {
    let kafka = Kafka::shared().await;
    let topic = unique_name("slow");
    kafka.create_topic(&topic, 3).await;
    let bridge = open(kafka);
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    publish(&*bridge, &topic, vec![text("held")]).await;
    let held = next(&mut inbox).await;
    // Longer than the session: heartbeats go on though the reader does nothing.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(!held.lost.is_cancelled());
    accept(held).await;
    close(inbox).await;
}

const MESSAGES: usize = 600;
