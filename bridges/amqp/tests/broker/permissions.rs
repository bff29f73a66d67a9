//! What the broker's permissions forbid is said at once, and by name.

use std::time::Duration;

use futures_util::future::join_all;
use sidespan_bridge::{Error, Topic};
use tokio::time::Instant;

use super::*;

#[tokio::test]
async fn what_is_forbidden_is_denied_at_once_and_the_rest_works() {
    let rabbit = match Rabbit::start().await {
        Ok(rabbit) => rabbit,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    rabbit.ctl(&["add_user", "service", "s"]).await;
    // Configure, write, read: by the names of queues and exchanges.
    rabbit.ctl(&["set_permissions", "service", "^mine", "^(mine|amq\\.topic)", "^(mine|amq\\.topic)"]).await;
    let (_operator, channel) = foreigner(&rabbit).await;
    let durable = lapin::options::ExchangeDeclareOptions { durable: true, ..Default::default() };
    let exchange = lapin::ExchangeKind::Topic;
    channel.exchange_declare("theirs".into(), exchange, durable, FieldTable::default()).await.unwrap();
    let bridge = open_with(&rabbit, json!({"username": "service", "password": "s"}));
    make_group(&*bridge, "mine").await;

    let began = Instant::now();
    let neighbours = (0..50).map(|n| attempt(&*bridge, "mine", text(n)));
    let forbidden = attempt(&*bridge, "theirs/orders", text("x"));
    let (neighbours, forbidden) = tokio::join!(join_all(neighbours), forbidden);
    denied(&forbidden.unwrap_err(), "theirs");
    for neighbour in neighbours {
        neighbour.unwrap();
    }
    let error = bridge.subscribe(all_of("others")).await.map(drop).unwrap_err();
    denied(&error, "others");
    let error = bridge.ensure_kept(&Topic::new("dead.others"), soon()).await.unwrap_err();
    denied(&error, "dead.others");
    assert!(began.elapsed() < Duration::from_secs(5), "said after {:?}", began.elapsed());
    attempt(&*bridge, "mine", text("behind")).await.unwrap();

    let wrong = open_with(&rabbit, json!({"username": "service", "password": "wrong"}));
    denied(&wrong.probe(soon()).await.unwrap_err(), "refuses");
}

fn denied(error: &Error, named: &str) {
    assert_eq!(error.fault, Fault::Denied, "{error}");
    assert!(error.to_string().contains(named), "{error}");
}
