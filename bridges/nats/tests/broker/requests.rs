//! Requests to, and from, clients that know nothing of Sidespan.

use std::time::Duration;

use futures_util::StreamExt;
use sidespan_bridge::{Start, Topic};
use sidespan_test_support::unique_name;
use tokio::time::{Instant, timeout};

use super::*;

/// A service of the plain client: it answers with nothing but a body, and once as the services framework says
/// that it failed.
#[tokio::test]
async fn a_plain_service_is_asked() {
    let nats = Nats::shared().await;
    let subject = unique_name("plain");
    let service = async_nats::connect(nats.url()).await.unwrap();
    let mut requests = service.subscribe(subject.clone()).await.unwrap();
    service.flush().await.unwrap();
    let serving = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let to = request.reply.expect("a request");
            let mut headers = async_nats::HeaderMap::new();
            if request.payload == "fail" {
                headers.insert("Nats-Service-Error", "no such order");
                headers.insert("Nats-Service-Error-Code", "404");
            }
            let body = format!("{} to you", String::from_utf8_lossy(&request.payload));
            service.publish_with_headers(to, headers, body.into()).await.unwrap();
        }
    });
    let bridge = open_with(nats, json!({"mode": "core"}));
    let topic = Topic::new(subject);

    let reply = bridge.request(&topic, text("hello"), soon()).await.unwrap();
    assert_eq!(reply.payload.as_deref(), Some(&b"hello to you"[..]));
    assert_eq!(reply.headers, []);
    let reply = bridge.request(&topic, text("fail"), soon()).await.unwrap();
    assert_eq!(reply.header("sidespan-status").map(|status| &status[..]), Some(&b"404"[..]));
    serving.abort();
}

#[tokio::test]
async fn a_plain_client_is_answered() {
    let nats = Nats::shared().await;
    let topic = unique_name("asked");
    let bridge = open_with(nats, json!({"mode": "core"}));
    let mut inbox = bridge.subscribe(Subscribe { start: Start::End, ..all_of(&topic) }).await.unwrap();
    let client = async_nats::connect(nats.url()).await.unwrap();
    let asked = tokio::spawn({
        let topic = topic.clone();
        async move { client.request(topic, "how many?".into()).await }
    });
    let request = next(&mut inbox).await;
    let to = request.message.reply_to.as_deref().expect("where the client waits");
    bridge.reply(to, text("42"), soon()).await.unwrap();
    assert_eq!(timeout(PATIENCE, asked).await.unwrap().unwrap().unwrap().payload, "42");
    // What would steer JetStream is nobody's mailbox.
    let error = bridge.reply("$JS.API.STREAM.DELETE.ORDERS", text(""), soon()).await.unwrap_err();
    assert_eq!(error.fault, Fault::Invalid);
}

/// A stream answers what it stores, so asking there would get its acknowledgement for a reply.
#[tokio::test]
async fn what_a_stream_captures_is_not_asked_and_not_stored() {
    let nats = Nats::shared().await;
    let operator = Operator::of(nats).await;
    let stream = unique_name("captured");
    operator.make(&stream, json!({})).await;
    for (mode, says) in [("core", "captures"), ("jetstream", "`mode: core`")] {
        let bridge = open_with(nats, json!({"mode": mode}));
        let began = Instant::now();
        let error = bridge.request(&Topic::new(stream.as_str()), text("x"), soon()).await.unwrap_err();
        assert_eq!(error.fault, Fault::Unsupported, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(began.elapsed() < Duration::from_secs(2), "said after {:?}", began.elapsed());
    }
    let info = operator.ask(&format!("STREAM.INFO.{stream}"), Value::Null).await;
    assert_eq!(info["state"]["messages"], 0, "{info}");
}
