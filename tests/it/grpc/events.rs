//! CloudEvents in protobuf and in JSON at the gRPC door.

use std::time::Duration;

use prost_types::Timestamp;
use serde_json::json;
use sidespan::proto::cloudevents::CloudEvent;
use sidespan::proto::cloudevents::cloud_event::cloud_event_attribute_value::Attr;
use sidespan::proto::cloudevents::cloud_event::{CloudEventAttributeValue, Data};
use sidespan::proto::modify_deadline_request::Change;
use sidespan::proto::subscribe_request::Request as Say;
use sidespan::proto::subscriber_client::SubscriberClient;
use sidespan::proto::{
    Begin, CloudEventsMode, Credit, GiveBack, Message, ModifyDeadlineRequest, PullRequest, SubscribeRequest,
};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::Code;

use super::{batch, details, message};
use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(20);
const PROTOBUF: &str = "application/cloudevents+protobuf";

fn event() -> CloudEvent {
    let value = |attr| CloudEventAttributeValue { attr: Some(attr) };
    let attributes = [
        ("datacontenttype", Attr::CeString("application/json".into())),
        ("partitionkey", Attr::CeString("c-7".into())),
        ("subject", Attr::CeString("Zoë".into())),
        ("time", Attr::CeTimestamp(Timestamp { seconds: 1_795_163_400, nanos: 5_000_000 })),
    ];
    CloudEvent {
        id: "1".into(),
        source: "/s".into(),
        spec_version: "1.0".into(),
        r#type: "t".into(),
        attributes: attributes.map(|(name, attr)| (name.to_owned(), value(attr))).into(),
        data: Some(Data::BinaryData(r#"{"a": 1}"#.into())),
    }
}

fn enclosed(event: &CloudEvent) -> Message {
    Message { content_type: PROTOBUF.into(), ..message("declared", prost::Message::encode_to_vec(event)) }
}

#[tokio::test]
async fn an_event_in_protobuf_is_an_event_as_any_and_comes_back_in_each_mode() {
    let server = Server::with("subscriptions:\n  jobs: { topic: declared, start: begin, pull: {} }\n").await;
    server.publisher().await.publish(batch([enclosed(&event())])).await.unwrap();
    let shown = &server.messages("declared", 1).await[0];
    assert_eq!((&shown["key"], &shown["data"]), (&json!("c-7"), &json!({"a": 1})));
    assert_eq!(shown["content_type"], "application/json");
    let headers = shown["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["ce-subject", "Zoë"])), "{headers:?}");
    assert!(headers.contains(&json!(["ce-time", "2026-11-20T08:30:00.005Z"])), "{headers:?}");

    let mut client = SubscriberClient::new(server.channel().await);
    for mode in [CloudEventsMode::Unspecified, CloudEventsMode::Structured, CloudEventsMode::Protobuf] {
        let wish =
            PullRequest { subscription: "jobs".into(), cloudevents: mode.into(), ..Default::default() };
        let received = client.pull(wish).await.unwrap().into_inner().messages.remove(0);
        let message = received.message.unwrap();
        assert_eq!(message.key.as_deref(), Some(&b"c-7"[..]));
        match mode {
            CloudEventsMode::Protobuf => {
                assert_eq!((message.content_type.as_str(), message.headers.len()), (PROTOBUF, 0));
                assert_eq!(<CloudEvent as prost::Message>::decode(message.payload).unwrap(), event());
            }
            CloudEventsMode::Structured => {
                assert_eq!(message.content_type, "application/cloudevents+json");
                let read: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
                assert_eq!((&read["subject"], &read["data"]["a"]), (&json!("Zoë"), &json!(1)));
            }
            CloudEventsMode::Binary | CloudEventsMode::Unspecified => {
                assert_eq!(message.content_type, "application/json");
                assert_eq!(&message.payload[..], br#"{"a": 1}"#);
                assert!(message.headers.iter().any(|header| header.name == "ce-id" && header.value == b"1"));
            }
        }
        let back = GiveBack { delay: Some(prost_types::Duration::default()) };
        let again = ModifyDeadlineRequest {
            subscription: "jobs".into(),
            ack_ids: vec![received.ack_id],
            change: Some(Change::GiveBack(back)),
        };
        client.modify_deadline(again).await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_says_how_events_are_written() {
    let server = Server::with("subscriptions:\n  jobs: { topic: declared, start: begin, pull: {} }\n").await;
    server.publisher().await.publish(batch([enclosed(&event())])).await.unwrap();
    let mut client = SubscriberClient::new(server.channel().await);
    let begin = |cloudevents| {
        let credit = Some(Credit { messages: 1, bytes: 0 });
        let begin = Begin { subscription: "jobs".into(), credit, cloudevents };
        let request = SubscribeRequest { request: Some(Say::Begin(begin)) };
        tokio_stream::once(request).chain(tokio_stream::pending())
    };
    let mut answers = client.subscribe(begin(99)).await.unwrap().into_inner();
    let unknown = timeout(PATIENCE, answers.message()).await.unwrap().unwrap_err();
    let violations = details(&unknown, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(violations.bad_request().unwrap().field_violations[0].field, "begin.cloudevents");
    let mut answers = client.subscribe(begin(CloudEventsMode::Protobuf.into())).await.unwrap().into_inner();
    let answer = timeout(PATIENCE, answers.message()).await.unwrap().unwrap().unwrap();
    let message = answer.messages[0].message.clone().unwrap();
    assert_eq!(<CloudEvent as prost::Message>::decode(message.payload).unwrap(), event());
}

#[tokio::test]
async fn what_is_no_event_is_refused() {
    let server = Server::start().await;
    let mut publisher = server.publisher().await;
    let nameless = CloudEvent { id: String::new(), ..event() };
    for refused in [
        enclosed(&nameless),
        Message { payload: "{}".into(), ..enclosed(&event()) },
        Message { content_type: "application/cloudevents+json".into(), ..enclosed(&event()) },
        Message { key: Some("other".into()), ..enclosed(&event()) },
    ] {
        let status = publisher.publish(batch([refused])).await.unwrap_err();
        let violations = details(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(violations.bad_request().unwrap().field_violations[0].field, "messages[0].payload");
    }
}
