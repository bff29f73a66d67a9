//! `Admin`, health and reflection.

use std::time::Duration;

use sidespan::proto::subscription::Target;
use sidespan::proto::{
    self, GetSubscriptionRequest, GetTopicRequest, ListSubscriptionsRequest, ListTopicsRequest,
};
use sidespan_test_support::eventually;
use tokio::time::timeout;
use tokio_stream::{StreamExt, once};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::details;
use crate::server::Server;

const SUBSCRIPTIONS: &str = "subscriptions:\n\
    \x20 audit: { topic: declared, push: { url: \"http://127.0.0.1:9/hook?token=secret\" } }\n\
    \x20 jobs: { topic: declared, pull: { lease: 30s } }\n";

#[tokio::test]
async fn topics_are_listed_a_page_at_a_time() {
    let server = Server::start().await;
    for topic in ["orders.eu", "orders.us", "declared"] {
        server.publish(topic, "x").await;
    }
    let mut admin = server.administer().await;
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListTopicsRequest { page_size: 2, page_token, ..ListTopicsRequest::default() };
        let page = admin.list_topics(request).await.unwrap().into_inner();
        names.extend(page.topics.into_iter().map(|topic| topic.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["declared", "missing", "orders.eu", "orders.us"]);
    let pattern = ListTopicsRequest { pattern: "orders.*".into(), ..ListTopicsRequest::default() };
    assert_eq!(admin.list_topics(pattern).await.unwrap().into_inner().topics.len(), 2);
    for (bad, field) in [
        (ListTopicsRequest { pattern: "orders*".into(), ..ListTopicsRequest::default() }, "pattern"),
        (ListTopicsRequest { page_size: 1001, ..ListTopicsRequest::default() }, "page_size"),
        (ListTopicsRequest { page_token: "%".into(), ..ListTopicsRequest::default() }, "page_token"),
    ] {
        let status = admin.list_topics(bad).await.unwrap_err();
        let told = details(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(told.bad_request().unwrap().field_violations[0].field, field);
    }
    let get = |name: &str| GetTopicRequest { name: name.into() };
    let topic = admin.get_topic(get("declared")).await.unwrap().into_inner().topic.unwrap();
    let expected = proto::Topic {
        name: "declared".into(),
        address: "address.of.declared".into(),
        bridge: "local".into(),
        declared: true,
        exists: Some(true),
        partitions: Some(1),
        messages: Some(1),
        bytes: topic.bytes,
        guarantees: Some(proto::TopicGuarantees {
            delivery: proto::Guarantee::AtLeastOnce.into(),
            deduplicates: true,
            ordered: true,
            start: true,
            seek: true,
            requests: true,
        }),
        subscriptions: Vec::new(),
    };
    assert!(topic.bytes > Some(0), "{topic:?}");
    assert_eq!(topic, expected);
    details(&admin.get_topic(get("nowhere")).await.unwrap_err(), Code::NotFound, "UNKNOWN_TOPIC");
}

#[tokio::test]
async fn subscriptions_are_shown_without_their_secrets() {
    let server = Server::with(SUBSCRIPTIONS).await;
    let mut admin = server.administer().await;
    let list = admin.list_subscriptions(ListSubscriptionsRequest::default()).await.unwrap().into_inner();
    let names: Vec<_> = list.subscriptions.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["audit", "jobs"]);
    assert_eq!(list.subscriptions[0].target, Some(Target::Push("http://127.0.0.1:9/hook".into())));
    let get = |name: &str| GetSubscriptionRequest { name: name.into() };
    let jobs = admin.get_subscription(get("jobs")).await.unwrap().into_inner().subscription.unwrap();
    let Some(Target::Pull(pull)) = &jobs.target else { panic!("{jobs:?}") };
    assert_eq!(pull.lease.unwrap().seconds, 30);
    assert_eq!((jobs.topic.as_str(), jobs.order()), ("declared", proto::Order::None));
    let status = admin.get_subscription(get("nothing")).await.unwrap_err();
    details(&status, Code::NotFound, "UNKNOWN_SUBSCRIPTION");
}

#[tokio::test]
async fn health_is_that_of_each_service() {
    let server = Server::start().await;
    let mut health = HealthClient::new(server.channel().await);
    let ask = |service: &str| HealthCheckRequest { service: service.into() };
    for service in [
        "sidespan.v1.Admin",
        "sidespan.v1.Publisher",
        "sidespan.v1.Requester",
        "sidespan.v1.Subscriber",
        "grpc.health.v1.Health",
    ] {
        eventually(Duration::from_secs(20), service, async || {
            let answer = health.clone().check(ask(service)).await.unwrap().into_inner();
            answer.status() == ServingStatus::Serving
        })
        .await;
    }
    assert_eq!(health.check(ask("x.Y")).await.unwrap_err().code(), Code::NotFound);

    let mut unknown = health.watch(ask("x.Y")).await.unwrap().into_inner();
    let first = unknown.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    let mut publisher = health.watch(ask("sidespan.v1.Publisher")).await.unwrap().into_inner();
    assert_eq!(publisher.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    // A watch does not hold up a server that stops.
    let stopping = tokio::spawn(server.stop());
    let end = timeout(Duration::from_secs(20), publisher.message()).await.unwrap().unwrap_err();
    details(&end, Code::Unavailable, "DRAINING");
    assert!(stopping.await.unwrap().is_clean());
}

#[tokio::test]
async fn the_door_describes_itself() {
    let server = Server::start().await;
    let mut reflection = ServerReflectionClient::new(server.channel().await);
    let mut ask = async |request| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let mut answers = reflection.server_reflection_info(once(request)).await.unwrap().into_inner();
        answers.next().await.unwrap().unwrap().message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(list) = ask(MessageRequest::ListServices("".into())).await
    else {
        panic!("a list of services")
    };
    let mut names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    names.sort_unstable();
    let served = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "sidespan.v1.Admin",
        "sidespan.v1.Publisher",
        "sidespan.v1.Requester",
        "sidespan.v1.Subscriber",
    ];
    assert_eq!(names, served);
    let symbol = MessageRequest::FileContainingSymbol("sidespan.v1.Publisher.Publish".into());
    assert!(matches!(ask(symbol).await, MessageResponse::FileDescriptorResponse(_)));
}
