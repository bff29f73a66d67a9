//! A broker that takes back what is held for too long.

use serde_json::json;
use sidespan_bridge::{Event, Message, Order, Subscribe, Window};
use sidespan_test_support::{Rabbit, unique_name};
use tokio::sync::OnceCell;

use super::{accept, all_of, attempt, body, event, log, next, open, open_with, subscribe, text};

/// What is held for too long comes again before the broker takes it away, and in its order.
#[tokio::test]
async fn what_is_held_is_given_back_ahead_of_the_consumer_timeout() {
    let rabbit = Rabbit::shared().await;
    let bridge = open_with(rabbit, json!({"consumer_timeout": "10s"}));
    let topic = unique_name("held");
    let mut inbox = subscribe(&*bridge, Subscribe { order: Order::Key, ..all_of(&topic) }).await;
    for n in 0..3 {
        let keyed = Message { key: Some("key".into()), ..text(n) };
        attempt(&*bridge, &topic, keyed).await.unwrap();
    }
    let held = next(&mut inbox).await;
    let epoch = held.epoch;
    loop {
        match event(&mut inbox).await {
            Event::Lost { epoch: lost, .. } => break assert_eq!(lost, epoch),
            Event::Delivery(_) => {}
        }
    }
    assert!(held.lost.is_cancelled());
    for n in 0..3 {
        let delivery = next(&mut inbox).await;
        assert_eq!(body(&delivery), n.to_string());
        assert!(delivery.epoch > epoch);
        accept(delivery).await;
    }
}

/// The settings say 30 minutes, and the broker means seconds.
#[tokio::test]
async fn a_consumer_timeout_that_nobody_told_us_of_loses_nothing_and_is_learnt() {
    let Some(rabbit) = impatient().await else { return };
    tokio::join!(learns(rabbit, Order::None), learns(rabbit, Order::Key));
}

async fn learns(rabbit: &Rabbit, order: Order) {
    let bridge = open(rabbit);
    let topic = unique_name("impatient");
    let mut inbox = subscribe(&*bridge, Subscribe { order, ..all_of(&topic) }).await;
    for n in 0..3 {
        attempt(&*bridge, &topic, Message { key: Some("key".into()), ..text(n) }).await.unwrap();
    }
    // Once it is learnt, the broker is slower than we are, but for a machine that stands still.
    let mut rounds = 0;
    while log::lines(&[&topic, "giving back what is held"]).is_empty() {
        rounds += 1;
        assert!(rounds <= 5, "it is not learnt: {:?}", log::lines(&[&topic]));
        let held = next(&mut inbox).await;
        while !matches!(event(&mut inbox).await, Event::Lost { epoch, .. } if epoch == held.epoch) {}
        assert!(held.lost.is_cancelled());
    }
    let said = log::lines(&[&topic, "set `consumer_timeout`"]);
    assert!(said.iter().any(|line| line.contains("WARN") && line.contains("3s")), "{said:?}");
    for n in 0..3 {
        let delivery = next(&mut inbox).await;
        assert_eq!(body(&delivery), n.to_string());
        accept(delivery).await;
    }
}

#[tokio::test]
async fn a_consumer_timeout_keeps_the_order_between_members() {
    let Some(rabbit) = impatient().await else { return };
    let (bridge, other) = (open(rabbit), open(rabbit));
    let topic = unique_name("between");
    let window = Window { messages: 3, ..Window::default() };
    let to = Subscribe { order: Order::Topic, window, ..all_of(&topic) };
    let mut active = subscribe(&*bridge, to.clone()).await;
    let mut standby = subscribe(&*other, to).await;
    for n in 0..10 {
        attempt(&*bridge, &topic, text(n)).await.unwrap();
    }
    let held = next(&mut active).await;
    while !matches!(event(&mut active).await, Event::Lost { epoch, .. } if epoch == held.epoch) {}
    for n in 0..10 {
        let delivery = tokio::select! {
            delivery = next(&mut active) => delivery,
            delivery = next(&mut standby) => delivery,
        };
        assert_eq!(body(&delivery), n.to_string());
        accept(delivery).await;
    }
}

/// A broker that lets a message be held for three seconds, and looks every second.
async fn impatient() -> Option<&'static Rabbit> {
    static IMPATIENT: OnceCell<Option<Rabbit>> = OnceCell::const_new();
    let start = async || {
        let rabbit = Rabbit::start().await.map_err(|skipped| eprintln!("{skipped}")).ok()?;
        for (setting, millis) in [("consumer_timeout", 3000), ("channel_tick_interval", 1000)] {
            rabbit.ctl(&["eval", &format!("application:set_env(rabbit, {setting}, {millis}).")]).await;
        }
        Some(rabbit)
    };
    IMPATIENT.get_or_init(start).await.as_ref()
}
