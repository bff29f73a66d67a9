//! What others publish is read, and what Sidespan stores reads naturally.

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use sidespan_bridge::{Header, Message};
use sidespan_test_support::{Rabbit, unique_name};

use super::{accept, all_of, arguments, attempt, body, foreigner, long, make_group, next, open, subscribe};

#[tokio::test]
async fn headers_of_any_type_arrive_as_text() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let topic = unique_name("typed");
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    let (_connection, foreigner) = foreigner(rabbit).await;
    let mut inner = FieldTable::default();
    inner.insert("n".into(), AMQPValue::LongInt(-5));
    let headers = arguments([
        ("array", AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::Boolean(true), long("x")]))),
        ("bytes", AMQPValue::ByteArray(vec![0, 255].into())),
        ("double", AMQPValue::Double(1.5)),
        ("flag", AMQPValue::Boolean(true)),
        ("nothing", AMQPValue::Void),
        ("number", AMQPValue::LongLongInt(-7)),
        ("not text", AMQPValue::LongString(vec![b'a', 255].into())),
        ("table", AMQPValue::FieldTable(inner)),
        ("time", AMQPValue::Timestamp(0)),
    ]);
    let properties = BasicProperties::default().with_headers(headers).with_priority(3).with_type("t".into());
    let options = BasicPublishOptions::default();
    foreigner
        .basic_publish("amq.topic".into(), topic.as_str().into(), options, b"typed", properties)
        .await
        .unwrap();

    let delivery = next(&mut inbox).await;

    assert_eq!(body(&delivery), "typed");
    let expected = [
        Header::new("array", r#"[true,"x"]"#),
        Header::new("bytes", vec![0, 255]),
        Header::new("double", "1.5"),
        Header::new("flag", "true"),
        Header::new("not text", vec![b'a', 255]),
        Header::new("nothing", ""),
        Header::new("number", "-7"),
        Header::new("table", r#"{"n":-5}"#),
        Header::new("time", "1970-01-01T00:00:00Z"),
    ];
    assert_eq!(delivery.message.headers, expected);
    accept(delivery).await;
}

#[tokio::test]
async fn what_is_stored_reads_naturally() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let topic = unique_name("natural");
    make_group(&*bridge, &topic).await;
    let message = Message {
        payload: Some("{}".into()),
        key: Some("customer 1".into()),
        id: Some("7".into()),
        content_type: Some("application/json".into()),
        correlation: Some("q".into()),
        headers: vec![
            Header::new("zone", "eu"),
            Header::new("ce-type", "order.paid"),
            Header::new("CC", "everybody"),
        ],
        ..Message::default()
    };
    attempt(&*bridge, &topic, message.clone()).await.unwrap();

    let (_connection, foreigner) = foreigner(rabbit).await;
    let got = foreigner.basic_get(topic.as_str().into(), BasicGetOptions::default()).await.unwrap().unwrap();

    let properties = &got.properties;
    let text = |field: &Option<lapin::types::ShortString>| field.as_ref().map(ToString::to_string);
    assert_eq!(text(properties.content_type()).as_deref(), Some("application/json"));
    assert_eq!(text(properties.message_id()).as_deref(), Some("7"));
    assert_eq!(text(properties.correlation_id()).as_deref(), Some("q"));
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert!(properties.timestamp().is_some());
    let headers = properties.headers().as_ref().unwrap().inner();
    assert_eq!(headers.get("zone"), Some(&long("eu")));
    assert_eq!(headers.get("cloudEvents_type"), Some(&long("order.paid")));
    assert_eq!(headers.get("sidespan-key"), Some(&long("customer 1")));
    assert!(!headers.contains_key("CC"), "the broker would act on it");
    got.nack(lapin::options::BasicNackOptions { requeue: true, ..Default::default() }).await.unwrap();
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    let delivery = next(&mut inbox).await;
    assert_eq!(delivery.message.headers, message.headers);
    accept(delivery).await;
}
