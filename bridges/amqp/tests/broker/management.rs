//! What the broker has, as its management API tells.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use sidespan_bridge::{Bridge, Error, Pattern};
use sidespan_test_support::{eventually, free_port};

use super::*;

#[tokio::test]
async fn topics_are_listed_where_the_management_api_is_configured() {
    let port = free_port();
    let config = format!("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n");
    let rabbit = match Rabbit::start_with(&config, &["rabbitmq_management"]).await {
        Ok(rabbit) => rabbit,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let url = format!("http://127.0.0.1:{port}");
    let (_operator, channel) = foreigner(&rabbit).await;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare("shop".into(), ExchangeKind::Topic, durable, FieldTable::default())
        .await
        .unwrap();
    for (queue, exclusive) in [("in box/ä", false), ("passing", true)] {
        let options =
            QueueDeclareOptions { durable: !exclusive, exclusive, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
        for (exchange, key) in [("shop", "orders.eu"), ("shop", "orders.*"), ("amq.topic", "orders.us")] {
            let options = QueueBindOptions::default();
            let bound =
                channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default());
            bound.await.unwrap();
        }
    }
    let bridge = open_with(&rabbit, json!({"management": {"url": url}}));
    for n in 0..3 {
        attempt(&*bridge, "/in box/ä", text(n)).await.unwrap();
    }
    // The API begins to listen late, and counts every few seconds.
    eventually(PATIENCE, "three messages in the queue", async || {
        list(&*bridge, "/in box/ä").await.is_ok_and(|found| found == [("/in box/ä".to_owned(), Some(3))])
    })
    .await;

    let all = list(&*bridge, ">").await.unwrap();
    let names: Vec<&str> = all.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(names, ["/in box/ä", "orders.us", "shop/orders.eu"], "no pattern, and nothing that passes");
    assert_eq!(list(&*bridge, "orders.*").await.unwrap(), [("orders.us".to_owned(), None)]);
    assert_eq!(list(&*bridge, "shop/orders.new").await.unwrap().len(), 1, "the exchange is there");
    assert_eq!(list(&*bridge, "missing/orders").await.unwrap(), []);
    assert_eq!(list(&*bridge, "/missing").await.unwrap(), []);

    rabbit.ctl(&["add_user", "nobody", "hidden"]).await;
    let denied = json!({"management": {"url": url, "username": "nobody", "password": "hidden"}});
    let nowhere = json!({"management": {"url": format!("http://127.0.0.1:{}", free_port())}});
    for (keys, fault, told) in
        [(denied, Fault::Denied, "management.username"), (nowhere, Fault::Unavailable, "management.url")]
    {
        let error = list(&*open_with(&rabbit, keys), ">").await.unwrap_err();
        assert_eq!(error.fault, fault, "{error}");
        assert!(error.to_string().contains(told) && !error.to_string().contains("hidden"), "{error}");
    }
    let error = list(&*open(&rabbit), ">").await.unwrap_err();
    assert_eq!(error.fault, Fault::Unsupported);
    assert!(error.to_string().contains("management"), "{error}");
}

async fn list(bridge: &dyn Bridge, pattern: &str) -> Result<Vec<(String, Option<u64>)>, Error> {
    let infos = bridge.topics(&Pattern::parse(pattern).unwrap(), soon()).await?;
    Ok(infos.into_iter().map(|info| (info.topic.as_str().to_owned(), info.messages)).collect())
}
