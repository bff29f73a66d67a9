//! What is made at the broker, and what is not.

use serde_json::json;
use sidespan_bridge::{Fault, Topic};
use sidespan_test_support::{Rabbit, unique_name};

use super::{accept, all_of, attempt, body, fault_of, next, open, open_with, soon, subscribe, text};

#[tokio::test]
async fn nothing_is_made_that_the_settings_do_not_allow() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    for address in [format!("{}/key", unique_name("exchange")), format!("/{}", unique_name("queue"))] {
        let ensured = bridge.ensure(&Topic::new(address.as_str()), soon()).await;
        assert_eq!(ensured.unwrap_err().fault, Fault::UnknownTopic, "{address}");
        let refused = bridge.subscribe(all_of(&address)).await.map(drop);
        assert_eq!(refused.unwrap_err().fault, Fault::UnknownTopic, "{address}");
        let fault = fault_of(&*bridge, &address).await;
        assert!(matches!(fault, Some(Fault::UnknownTopic | Fault::Unroutable)), "{address}: {fault:?}");
    }
}

#[tokio::test]
async fn what_the_settings_allow_is_made() {
    let rabbit = Rabbit::shared().await;
    let bridge = open_with(rabbit, json!({"create": ["exchanges", "queues"]}));
    for address in [format!("{}/key", unique_name("exchange")), format!("/{}", unique_name("queue"))] {
        for _ in 0..2 {
            bridge.ensure(&Topic::new(address.as_str()), soon()).await.unwrap();
        }
        let mut inbox = subscribe(&*bridge, all_of(&address)).await;
        attempt(&*bridge, &address, text("x")).await.unwrap();
        let delivery = next(&mut inbox).await;
        assert_eq!(delivery.topic.as_str(), address);
        accept(delivery).await;
    }
}

#[tokio::test]
async fn a_dead_letter_is_kept_until_somebody_reads_it() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let dead = unique_name("dead.shop.billing");
    assert_eq!(fault_of(&*bridge, &dead).await, Some(Fault::Unroutable));
    for _ in 0..2 {
        bridge.ensure_kept(&Topic::new(dead.as_str()), soon()).await.unwrap();
    }
    attempt(&*bridge, &dead, text("dead")).await.unwrap();
    let mut inbox = subscribe(&*bridge, all_of(&format!("/{dead}"))).await;
    let delivery = next(&mut inbox).await;
    assert_eq!(body(&delivery), "dead");
    accept(delivery).await;
}
