//! What others publish is read, and what Sidespan stores reads naturally.

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use lapin::{Connection, ConnectionProperties};
use sidespan_bridge::{Header, Message, Order, Subscribe, Verdict};
use sidespan_test_support::{Rabbit, unique_name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{
    accept, all_of, arguments, attempt, body, foreigner, log, long, make_group, next, open, subscribe, text,
};

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

/// The client library ends the connection over such a message. It comes again, mended; nobody is lost over it.
#[tokio::test]
async fn a_name_that_is_not_text_is_mended() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    for order in [Order::None, Order::Key] {
        let (odd, neighbour) = (unique_name("odd"), unique_name("neighbour"));
        let mut beside = subscribe(&*bridge, all_of(&neighbour)).await;
        let mut inbox = subscribe(&*bridge, Subscribe { order, ..all_of(&odd) }).await;
        attempt(&*bridge, &odd, text("ahead")).await.unwrap();
        publish_unreadable(rabbit, &odd).await;
        attempt(&*bridge, &odd, text("behind")).await.unwrap();
        attempt(&*bridge, &neighbour, text("beside")).await.unwrap();

        // What was accepted just as the connection ended may come again.
        let mut seen = Vec::new();
        while ["ahead", "odd", "behind"].iter().any(|body| !seen.contains(&(*body).to_owned())) {
            let delivery = next(&mut inbox).await;
            let body = body(&delivery);
            if body == "odd" {
                assert_eq!(delivery.message.headers, [Header::new("?dd-name", "value")]);
            }
            if !seen.contains(&body) {
                seen.push(body);
            }
            delivery.ack.settle(Verdict::Accept).await;
        }
        if order == Order::Key {
            assert_eq!(seen, ["ahead", "odd", "behind"]);
        }
        let delivery = next(&mut beside).await;
        assert_eq!(body(&delivery), "beside");
        assert_eq!(log::lines(&[&odd, "WARN", "not UTF-8"]).len(), 1);
    }
}

/// Publishes what the client library would not: by way of a relay that changes a byte.
async fn publish_unreadable(rabbit: &Rabbit, key: &str) {
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = relay.local_addr().unwrap().port();
    let broker = rabbit.port();
    let relaying = tokio::spawn(async move {
        let (client, _) = relay.accept().await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_broker, mut to_broker) =
            TcpStream::connect(("127.0.0.1", broker)).await.unwrap().into_split();
        let back = async { tokio::io::copy(&mut from_broker, &mut to_client).await };
        let forth = async {
            let mut read = vec![0; 1 << 16];
            while let Ok(length @ 1..) = from_client.read(&mut read).await {
                let bytes = &mut read[..length];
                if let Some(place) = bytes.windows(ODD.len()).position(|bytes| bytes == ODD) {
                    bytes[place] = 0xff;
                }
                to_broker.write_all(bytes).await.unwrap();
            }
        };
        tokio::select! { _ = back => {}, () = forth => {} }
    });
    let url = rabbit.url().replace(&broker.to_string(), &port.to_string());
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await.unwrap();
    let headers = arguments([(std::str::from_utf8(ODD).unwrap(), long("value"))]);
    let properties = BasicProperties::default().with_headers(headers);
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("amq.topic".into(), key.into(), options, b"odd", properties).await;
    assert!(sent.unwrap().await.unwrap().is_ack());
    relaying.abort();
}

const ODD: &[u8] = b"odd-name";
