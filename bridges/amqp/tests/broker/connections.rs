//! Connections that are refused, and connections that are lost.

use std::time::Duration;

use serde_json::json;
use sidespan_bridge::{Event, Fault, Message, Order, Subscribe};
use sidespan_test_support::{Cut, Proxy, Rabbit, eventually, unique_name};
use tokio::time::{Instant, timeout};

use super::{PATIENCE, accept, all_of, attempt, body, event, next, open, open_with, soon, subscribe, text};

#[tokio::test]
async fn a_probe_explains_what_is_wrong() {
    let rabbit = Rabbit::shared().await;
    let nobody = rabbit.url().replace(&rabbit.port().to_string(), "1");
    let no_vhost = rabbit.url().replace("%2f", "missing");
    let cases = [
        (json!({"url": nobody}), Fault::Unavailable, "is it running"),
        (json!({"password": "hidden"}), Fault::Denied, "refuses the connection"),
        (json!({"url": no_vhost}), Fault::Denied, "missing"),
    ];
    for (keys, fault, expected) in cases {
        let error = open_with(rabbit, keys).probe(soon()).await.unwrap_err();
        assert_eq!(error.fault, fault, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.to_string().contains("hidden"), "{error}");
    }
    open(rabbit).probe(soon()).await.unwrap();
}

/// A broker that hangs says nothing, and keeps its connections: once a probe has noticed, nothing is
/// handed over until it answers again.
#[tokio::test]
async fn a_broker_that_hangs_is_noticed_and_so_is_its_return() {
    let mut rabbit = match Rabbit::start().await {
        Ok(rabbit) => rabbit,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let bridge = open_with(&rabbit, json!({"heartbeat": "60s"}));
    let topic = unique_name("hangs");
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    attempt(&*bridge, &topic, text("ahead")).await.unwrap();

    rabbit.freeze();
    eventually(PATIENCE, "a probe that says so", async || {
        let probed = bridge.probe(Instant::now() + Duration::from_millis(1100)).await;
        probed.is_err_and(|error| error.fault == Fault::Unavailable)
    })
    .await;
    let begin = Instant::now();
    assert_eq!(attempt(&*bridge, &topic, text("never")).await.unwrap_err().fault, Fault::Unavailable);
    assert!(begin.elapsed() < Duration::from_millis(100), "{:?}", begin.elapsed());

    rabbit.thaw();
    eventually(PATIENCE, "publishing to work again", async || {
        attempt(&*bridge, &topic, text("behind")).await.is_ok()
    })
    .await;
    for expected in ["ahead", "behind"] {
        let delivery = next(&mut inbox).await;
        assert_eq!(body(&delivery), expected);
        accept(delivery).await;
    }
}

/// Each time, all that was lost is made anew, and nothing else: neither connections nor consumers pile
/// up, and what was held comes again.
#[tokio::test]
async fn connections_that_the_broker_ends_come_back_and_leave_nothing_behind() {
    let rabbit = match Rabbit::start().await {
        Ok(rabbit) => rabbit,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let bridge = open(&rabbit);
    let (plain, ordered) = (unique_name("plain"), unique_name("ordered"));
    let mut inboxes = [
        subscribe(&*bridge, all_of(&plain)).await,
        subscribe(&*bridge, Subscribe { order: Order::Key, ..all_of(&ordered) }).await,
    ];
    for round in 0..ROUNDS {
        for (topic, inbox) in [&plain, &ordered].into_iter().zip(&mut inboxes) {
            eventually(PATIENCE, "publishing to work", async || {
                attempt(&*bridge, topic, text(round)).await.is_ok()
            })
            .await;
            let delivery = next(inbox).await;
            assert_eq!(body(&delivery), round.to_string());
        }
        rabbit.ctl(&["close_all_connections", "a test"]).await;
        for inbox in &mut inboxes {
            while !matches!(event(inbox).await, Event::Lost { .. }) {}
            let again = next(inbox).await;
            assert_eq!(body(&again), round.to_string(), "what was held comes again");
            accept(again).await;
        }
    }
    // The publishing one, the shared one, and that of the ordered subscription.
    eventually(PATIENCE, "three connections and two consumers", async || {
        let connections = rabbit.ctl(&["list_connections", "client_properties"]).await;
        let consumers = rabbit.ctl(&["list_consumers"]).await;
        connections.matches("amqp-tests (").count() == 3 && consumers.matches("amq.ctag").count() == 2
    })
    .await;
}

/// With an end, with a reset, and with neither: then only the heartbeat tells.
#[tokio::test]
async fn a_network_that_fails_ends_a_cursor_and_brings_back_what_was_held_in_order() {
    let rabbit = Rabbit::shared().await;
    let proxy = Proxy::start_on(0, rabbit.port()).await;
    let url = rabbit.url().replace(&rabbit.port().to_string(), &proxy.port().to_string());
    let bridge = open_with(rabbit, json!({"url": url, "heartbeat": "1s"}));
    let fail: [&dyn Fn(); 3] = [&|| proxy.cut(Cut::Finish), &|| proxy.cut(Cut::Reset), &|| proxy.forget()];
    for fail in fail {
        let topic = unique_name("network");
        let group = Subscribe { order: Order::Key, ..all_of(&topic) };
        let mut ordered = subscribe(&*bridge, group.clone()).await;
        let mut cursor = subscribe(&*bridge, Subscribe { group: None, order: Order::None, ..group }).await;
        for n in 0..5 {
            let keyed = Message { key: Some("key".into()), ..text(n) };
            attempt(&*bridge, &topic, keyed).await.unwrap();
        }
        accept(next(&mut ordered).await).await;
        let held = next(&mut ordered).await;
        assert_eq!(body(&next(&mut cursor).await), "0");

        fail();

        let end = async {
            loop {
                match cursor.next().await.expect("an error") {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            }
        };
        let end = timeout(PATIENCE, end).await.expect("the end of the cursor");
        assert_eq!(end.fault, Fault::Unavailable);
        assert!(end.to_string().contains("a cursor of its own"), "{end}");
        while !matches!(event(&mut ordered).await, Event::Lost { epoch, .. } if epoch == held.epoch) {}
        for n in 1..5 {
            let delivery = next(&mut ordered).await;
            assert_eq!(body(&delivery), n.to_string());
            accept(delivery).await;
        }
        eventually(PATIENCE, "publishing to work again", async || {
            attempt(&*bridge, &topic, text("behind")).await.is_ok()
        })
        .await;
    }
}

const ROUNDS: usize = 10;
