//! What a webhook gets to see.

use bytes::Bytes;
use http::{HeaderName, Version};
use sidespan::config::{CloudEventsMode, PushProtocol};
use sidespan_bridge::{Header, Message, Pattern, Secret};
use sidespan_test_support::{Answer, Received, Webhook};

use crate::bench::{Bench, message, push, soon, subscription};

async fn received(bench: &Bench, webhook: &Webhook, count: usize) -> Vec<Received> {
    let _ = bench;
    webhook.wait_until("the messages", |received| received.len() >= count).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_as_it_was_published() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let mut wish = subscription(&webhook.url("/events?from=sidespan"));
    push(&mut wish).headers = vec![HeaderName::from_static("x-tenant")];
    let header = |name: &str, value: &'static [u8]| Header::new(name, value);
    bench
        .publish([Message {
            payload: Some(Bytes::from_static(b"\0\xff{}")),
            content_type: Some("application/x-odd; a=b".into()),
            key: Some(Bytes::from_static(b"k 1%\xff")),
            id: Some("01a1f96b-e812-718a-83fa-390940893943".into()),
            correlation: Some("request 1".into()),
            reply_to: Some("answers".into()),
            headers: vec![
                header("Color", b"red"),
                header("color", b"light blue"),
                header("a (b)", b"\x01\xfe"),
                header("X-Tenant", b"blue corp"),
                header("content-length", b"7"),
                header("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                header("baggage", b"a=1"),
                header("ce-id", b"no event"),
            ],
            ..Message::default()
        }])
        .await;
    let running = bench.start(&wish);
    let got = &received(&bench, &webhook, 1).await[0];

    assert_eq!(got.path, "/events?from=sidespan");
    assert_eq!(&got.body[..], b"\0\xff{}");
    assert_eq!(got.header("content-type"), "application/x-odd; a=b");
    assert_eq!(got.header("content-length"), "4");
    assert_eq!(got.header("webhook-id"), "01a1f96b-e812-718a-83fa-390940893943");
    assert!(got.header("webhook-timestamp").parse::<u64>().unwrap() > 1_700_000_000);
    assert!(!got.headers.contains_key("webhook-signature"));
    assert_eq!(got.header("sidespan-topic"), "orders");
    assert_eq!(got.header("sidespan-subscription"), "billing");
    assert_eq!(got.header("sidespan-attempt"), "1");
    assert_eq!(got.header("sidespan-key"), "k%201%25%FF");
    assert_eq!(got.header("sidespan-correlation-id"), "request%201");
    assert_eq!(got.header("sidespan-reply-to"), "answers");
    let colors: Vec<_> = got.headers.get_all("sidespan-header-color").iter().collect();
    assert_eq!(colors, ["red", "light%20blue"]);
    assert_eq!(got.header("sidespan-header-a%20%28b%29"), "%01%FE");
    assert_eq!(got.header("x-tenant"), "blue corp");
    assert!(!got.headers.contains_key("sidespan-header-x-tenant"));
    assert_eq!(got.header("sidespan-header-content-length"), "7");
    assert_eq!(got.header("traceparent"), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_eq!(got.header("baggage"), "a=1");
    assert_eq!(got.header("sidespan-header-ce-id"), "no%20event");
    assert!(!got.headers.contains_key("ce-id"));
    assert!(!got.headers.contains_key("sidespan-tombstone"));
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_is_no_empty_body() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let mut wish = subscription(&webhook.url("/"));
    wish.order = sidespan_bridge::Order::Topic;
    bench.publish([Message::default(), message("")]).await;
    let running = bench.start(&wish);
    let got = received(&bench, &webhook, 2).await;
    assert_eq!((got[0].header("sidespan-tombstone"), got[0].text()), ("true", ""));
    assert_eq!((got[1].header("sidespan-tombstone"), got[1].text()), ("", ""));
    assert_eq!(got[1].header("content-length"), "0");
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_is_the_same_in_every_attempt_and_others_differ() {
    let bench = Bench::open();
    let webhook = Webhook::start(|request| match request.header("sidespan-attempt") {
        "1" => Answer::status(500),
        _ => Answer::ok(),
    })
    .await;
    let dotted = Message { id: Some("a.b".into()), ..message("dotted") };
    bench.publish([message("one"), message("two"), dotted]).await;
    let running = bench.start(&subscription(&webhook.url("/")));
    let got = received(&bench, &webhook, 6).await;
    let mut ids: Vec<_> =
        got.iter().map(|r| (r.text().to_owned(), r.header("webhook-id").to_owned())).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert!(ids.iter().all(|(_, id)| !id.is_empty() && !id.contains('.')), "{ids:?}");
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_secret_signs_the_id_the_time_of_the_attempt_and_the_body() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let texts = ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
    let secrets: Vec<Secret> =
        texts.iter().map(|text| serde_json::from_value(serde_json::json!(text)).unwrap()).collect();
    let mut wish = subscription(&webhook.url("/"));
    push(&mut wish).secrets = secrets.clone();
    bench.publish([message("signed")]).await;
    let running = bench.start(&wish);
    let got = &received(&bench, &webhook, 1).await[0];
    let signer = sidespan::security::signature::Signer::new(secrets).unwrap();
    let timestamp = got.header("webhook-timestamp").parse().unwrap();
    let expected = signer.sign(got.header("webhook-id"), timestamp, b"signed").unwrap();
    assert_eq!(got.header("webhook-signature"), expected);
    assert_eq!(expected.split(' ').count(), 2);
    running.close(soon()).await;
}

fn event() -> Message {
    Message {
        headers: vec![
            Header::new("ce-specversion", "1.0"),
            Header::new("ce-id", "7"),
            Header::new("ce-source", "/shop"),
            Header::new("ce-type", "order.paid"),
            Header::new("ce-subject", "Euro €"),
            Header::new("color", "red"),
        ],
        content_type: Some("application/json".into()),
        ..message(r#"{"a":1}"#)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_out_in_binary_form() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    bench.publish([event()]).await;
    let running = bench.start(&subscription(&webhook.url("/")));
    let got = &received(&bench, &webhook, 1).await[0];
    assert_eq!(got.header("ce-id"), "7");
    assert_eq!(got.header("ce-source"), "/shop");
    assert_eq!(got.header("ce-subject"), "Euro%20%E2%82%AC");
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.header("sidespan-header-color"), "red");
    assert_eq!(got.text(), r#"{"a":1}"#);
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_out_in_structured_form_where_that_is_asked_for() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    bench.publish([event()]).await;
    let mut wish = subscription(&webhook.url("/"));
    push(&mut wish).cloudevents = CloudEventsMode::Structured;
    let running = bench.start(&wish);
    let got = &received(&bench, &webhook, 1).await[0];
    assert_eq!(got.header("content-type"), "application/cloudevents+json");
    assert!(!got.headers.contains_key("ce-id"));
    let body: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
    assert_eq!((&body["subject"], &body["data"]["a"]), (&"Euro €".into(), &1.into()));
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_out_as_a_batch_of_one_where_that_is_asked_for() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    bench.publish([event(), message("no event")]).await;
    let mut wish = subscription(&webhook.url("/"));
    wish.order = sidespan_bridge::Order::Topic;
    push(&mut wish).cloudevents = CloudEventsMode::Batched;
    let running = bench.start(&wish);
    let got = received(&bench, &webhook, 2).await;
    assert_eq!(got[0].header("content-type"), "application/cloudevents-batch+json");
    let batch: serde_json::Value = serde_json::from_slice(&got[0].body).unwrap();
    assert_eq!(batch.as_array().unwrap().len(), 1);
    assert_eq!((&batch[0]["id"], &batch[0]["data"]["a"]), (&"7".into(), &1.into()));
    assert_eq!(got[1].text(), "no event");
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_out_in_protobuf_where_that_is_asked_for() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    bench.publish([event()]).await;
    let mut wish = subscription(&webhook.url("/"));
    push(&mut wish).cloudevents = CloudEventsMode::Protobuf;
    let running = bench.start(&wish);
    let got = &received(&bench, &webhook, 1).await[0];
    assert_eq!(got.header("content-type"), "application/cloudevents+protobuf");
    assert_eq!(got.header("sidespan-header-color"), "red");
    assert!(!got.headers.contains_key("ce-id"));
    let event = sidespan::cloudevents::Format::Protobuf.read(&got.body).unwrap();
    assert_eq!(event.header("ce-subject").unwrap(), "Euro €");
    assert_eq!(event.payload, Some(r#"{"a":1}"#.into()));
    running.close(soon()).await;
}

/// A foreign producer wrote it in structured form.
fn enclosed() -> Message {
    let body = r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.paid","subject":"Euro €",
        "partitionkey":"c-7","datacontenttype":"application/json","data":{"a":1}}"#;
    let content_type = Some("application/cloudevents+json; charset=utf-8".into());
    Message { content_type, headers: vec![Header::new("color", "red")], ..message(body) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_came_in_structured_form_is_an_event_as_any() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    bench.publish([enclosed(), event()]).await;
    let mut wish = subscription(&webhook.url("/"));
    wish.order = sidespan_bridge::Order::Topic;
    let running = bench.start(&wish);
    let got = received(&bench, &webhook, 2).await;
    for name in ["ce-id", "ce-source", "ce-type", "ce-subject", "content-type", "sidespan-header-color"] {
        assert_eq!(got[0].header(name), got[1].header(name), "{name}");
    }
    assert_eq!(got[0].header("webhook-id"), got[1].header("webhook-id"), "source and id name an event");
    assert_eq!(got[0].header("sidespan-key"), "c-7");
    assert_eq!((got[0].text(), got[1].text()), (r#"{"a":1}"#, r#"{"a":1}"#));
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_calls_itself_an_event_goes_out_as_it_came() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let body = r#"{"specversion":"1.0","id":"7","source":"/shop","type":"t","Illegal_Name":1}"#;
    bench.publish([Message { content_type: enclosed().content_type, ..message(body) }]).await;
    let mut wish = subscription(&webhook.url("/"));
    push(&mut wish).cloudevents = CloudEventsMode::Structured;
    let running = bench.start(&wish);
    let got = &received(&bench, &webhook, 1).await[0];
    assert_eq!(got.header("content-type"), "application/cloudevents+json; charset=utf-8");
    assert_eq!(got.text(), body);
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_of_an_event_has_the_form_that_it_came_in() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::status(400)).await;
    bench.publish([enclosed()]).await;
    let running = bench.start(&subscription(&webhook.url("/")));
    let dead = bench.dead(1).await.remove(0);
    let original = enclosed();
    assert_eq!(dead.payload, original.payload);
    assert_eq!(dead.content_type, original.content_type);
    assert_eq!((&dead.key, &dead.headers[0]), (&original.key, &original.headers[0]));
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_pattern_carry_their_own_address() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    bench.publish([message("x")]).await;
    let mut wish = subscription(&webhook.url("/"));
    wish.pattern = Pattern::parse("*").unwrap();
    wish.topic = "*".into();
    let running = sidespan::delivery::start(wish, bench.bridge.clone(), None);
    assert_eq!(received(&bench, &webhook, 1).await[0].header("sidespan-topic"), "orders");
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken_without_an_upgrade_where_that_is_asked_for() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok()).await;
    bench.publish((0..50).map(message)).await;
    let mut wish = subscription(&webhook.url("/"));
    push(&mut wish).protocol = PushProtocol::H2;
    let running = bench.start(&wish);
    let got = received(&bench, &webhook, 50).await;
    assert!(got.iter().all(|request| request.version == Version::HTTP_2));
    assert_eq!(got.iter().map(|request| request.connection).max(), Some(0), "one connection carries all");
    running.close(soon()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again() {
    let bench = Bench::open();
    let webhook = Webhook::start(|_| Answer::ok().body("thanks")).await;
    bench.publish((0..200).map(message)).await;
    let mut wish = subscription(&webhook.url("/"));
    wish.max_in_flight = 4;
    let running = bench.start(&wish);
    let got = received(&bench, &webhook, 200).await;
    assert!(webhook.peak() <= 4, "{}", webhook.peak());
    let connections = got.iter().map(|request| request.connection).max().unwrap() + 1;
    println!("{connections} connections for 200 messages, four at a time");
    assert!(connections <= 20, "{connections} connections for 200 messages, four at a time");
    running.close(soon()).await;
}
