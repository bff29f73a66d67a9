//! What others publish is read, and what Sidespan stores reads naturally.

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use lapin::{Connection, ConnectionProperties};
use sidespan_bridge::{Event, Fault, Header, Message};
use sidespan_test_support::{Rabbit, unique_name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{
    Inbox, PATIENCE, accept, all_of, arguments, attempt, body, foreigner, long, make_group, next, open,
    subscribe, text,
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

/// The client library ends the connection over such a message. Who shared it goes on apart; who has the
/// message says so, loses nothing, and goes on once somebody has taken it away.
#[tokio::test]
async fn a_name_that_is_not_text_troubles_nobody_else_and_loses_nothing() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let (troubled, neighbour) = (unique_name("troubled"), unique_name("neighbour"));
    let mut inboxes =
        [subscribe(&*bridge, all_of(&troubled)).await, subscribe(&*bridge, all_of(&neighbour)).await];
    publish_unreadable(rabbit, &troubled).await;
    for inbox in &mut inboxes {
        assert_eq!(end(inbox).await, Fault::Unavailable);
    }
    drop(inboxes);

    let mut beside = subscribe(&*bridge, all_of(&neighbour)).await;
    for _ in 0..3 {
        let mut inbox = subscribe(&*bridge, all_of(&troubled)).await;
        assert_eq!(end(&mut inbox).await, Fault::Invalid);
        attempt(&*bridge, &neighbour, text("undisturbed")).await.unwrap();
        let delivery = timeout(PATIENCE, beside.next()).await.expect("an event").unwrap().unwrap();
        let Event::Delivery(delivery) = delivery else { panic!("{delivery:?}") };
        accept(delivery).await;
    }

    attempt(&*bridge, &troubled, text("behind")).await.unwrap();
    rabbit.ctl(&["eval", &drop_first(&troubled)]).await;
    let mut inbox = subscribe(&*bridge, all_of(&troubled)).await;
    let delivery = next(&mut inbox).await;
    assert_eq!(body(&delivery), "behind");
    accept(delivery).await;
}

/// How a subscription ends.
async fn end(inbox: &mut Inbox) -> Fault {
    let ended = async {
        loop {
            match inbox.next().await.expect("an error") {
                Ok(Event::Lost { .. }) => {}
                Ok(Event::Delivery(delivery)) => panic!("{delivery:?}"),
                Err(error) => return error.fault,
            }
        }
    };
    timeout(PATIENCE, ended).await.expect("an end")
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

/// An operator's way to take the first message out of a queue, as clients cannot read it.
fn drop_first(queue: &str) -> String {
    format!(
        "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"{queue}\">>)), {{ok, _, _, _}} = rabbit_amqqueue:basic_get(Q, true, self(), <<\"drop\">>, rabbit_queue_type:init()), ok."
    )
}

const ODD: &[u8] = b"odd-name";
