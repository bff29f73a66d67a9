//! What nobody would receive is refused, and not lost.

use sidespan_test_support::{Client, Launch, Rabbit, unique_name};
use tokio::task::JoinSet;

use crate::{SIDESPAN, scale};

/// No queue is bound to the exchange for these messages: the broker would drop them all.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_refused_by_rabbitmq() {
    let rabbit = Rabbit::shared().await;
    let config = format!(
        "version: 1\nservice: {}\nbridges: {{main: {{kind: amqp, url: '{}'}}}}\ntopics: {{orders: {{address: '{}'}}}}\n",
        unique_name("shop"),
        rabbit.url(),
        unique_name("orders"),
    );
    let mut sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    let (client, url) = (Client::new(), sidecar.url("/v1/topics/orders/messages"));
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let (client, url) = (client.clone(), url.clone());
        publishers.spawn(async move {
            for number in 0..scale::messages() / PUBLISHERS {
                let body = format!("{publisher} {number}");
                let answer = client.post(&url, body).send().await.expect("an answer");
                let said = answer.json();
                assert_eq!(answer.status, 404, "{said}");
                assert_eq!((&said["code"], &said["outcome"]), (&"UNROUTABLE".into(), &"not_stored".into()));
            }
        });
    }
    publishers.join_all().await;
    println!("rabbitmq, unroutable: all {} messages refused", scale::messages() / PUBLISHERS * PUBLISHERS);
    let ended = sidecar.stop().await;
    assert!(ended.status.success(), "{}\n{}", ended.status, ended.stderr);
}

const PUBLISHERS: usize = 40;
