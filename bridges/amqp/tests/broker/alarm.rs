//! A broker that takes nothing, as it has no memory left.

use std::collections::BTreeMap;
use std::time::Duration;

use sidespan_bridge::{Bridge, Fault, Topic};
use sidespan_test_support::{Rabbit, eventually, unique_name};
use tokio::time::Instant;

use super::{PATIENCE, accept, all_of, attempt, body, next, open, soon, subscribe, text};

/// What is answered is true: nothing that was called stored is missing, and nothing that was refused is there.
#[tokio::test]
async fn while_an_alarm_stands_publishing_is_refused_and_receiving_goes_on() {
    let rabbit = match Rabbit::start().await {
        Ok(rabbit) => rabbit,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let bridge = open(&rabbit);
    let topic = unique_name("alarm");
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    attempt(&*bridge, &topic, text("ahead")).await.unwrap();

    rabbit.ctl(&["set_vm_memory_high_watermark", "0"]).await;

    // One that connects now hears of the alarm only when it publishes.
    let newcomer = open(&rabbit);
    let mut outcomes = BTreeMap::new();
    for (name, bridge) in [("known", &bridge), ("new", &newcomer)] {
        let mut count = 0;
        eventually(PATIENCE, "publishing to be refused", async || {
            count += 1;
            let outcome = within_a_deadline(&**bridge, &topic, &format!("{name} {count}")).await;
            outcomes.insert(format!("{name} {count}"), outcome);
            outcome == Err(Fault::Overloaded)
        })
        .await;
        let error = bridge.probe(soon()).await.unwrap_err();
        assert_eq!(error.fault, Fault::Overloaded);
        assert!(error.to_string().contains("memory"), "{error}");
    }
    // Far more than may be on its way, all refused at once.
    let large = vec![text("x".repeat(100_000)); 1000];
    let began = Instant::now();
    let refused = bridge.publisher().publish(&Topic::new(topic.as_str()), large, soon()).await;
    assert!(refused.iter().all(|outcome| outcome.as_ref().is_err_and(|e| e.fault == Fault::Overloaded)));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let delivery = next(&mut inbox).await;
    assert_eq!(body(&delivery), "ahead");
    accept(delivery).await;

    rabbit.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;

    for bridge in [&bridge, &newcomer] {
        eventually(PATIENCE, "publishing to work again", async || bridge.probe(soon()).await.is_ok()).await;
    }
    for bridge in [&newcomer, &bridge] {
        attempt(&**bridge, &topic, text("last")).await.unwrap();
    }
    let mut last = 0;
    while last < 2 {
        let delivery = next(&mut inbox).await;
        match body(&delivery).as_str() {
            "last" => last += 1,
            other => match outcomes.remove(other) {
                Some(Ok(()) | Err(Fault::Timeout)) => {}
                outcome => panic!("{other} was stored, and answered {outcome:?}"),
            },
        }
        accept(delivery).await;
    }
    assert!(outcomes.values().all(Result::is_err), "{outcomes:?}");
}

/// Publishes a message, and checks that the answer keeps to the caller's deadline.
async fn within_a_deadline(bridge: &dyn Bridge, topic: &str, body: &str) -> Result<(), Fault> {
    let deadline = Instant::now() + Duration::from_millis(300);
    let publish = bridge.publisher().publish(&Topic::new(topic), vec![text(body)], deadline);
    let outcome = publish.await.pop().unwrap();
    assert!(deadline.elapsed() < Duration::from_secs(1), "answered {:?} late", deadline.elapsed());
    outcome.map(drop).map_err(|error| error.fault)
}
