//! Who may call what.

use std::time::Duration;

use sidespan::proto::subscribe_request::Request as Say;
use sidespan::proto::subscriber_client::SubscriberClient;
use sidespan::proto::{
    Begin, ListSubscriptionsRequest, ListTopicsRequest, PublishStreamRequest, SubscribeRequest,
};
use sidespan_test_support::eventually;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest as Asked;

use super::{batch, details, failure, message, receipt, with};
use crate::server::Server;

const AUTH: &str = "auth: { tokens: [{ name: shop, secret: shop-secret-0123456789-0123456789, publish: [orders],\
    \x20subscribe: [jobs] }] }\n\
    subscriptions:\n\
    \x20 audit: { topic: declared, pull: {} }\n\
    \x20 jobs: { topic: declared, pull: {} }\n";
const TOKEN: &str = "Bearer shop-secret-0123456789-0123456789";

#[tokio::test]
async fn streams_end_with_the_token_that_opened_them() {
    let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    std::fs::write(&file, TOKEN.trim_start_matches("Bearer ")).unwrap();
    let secret = format!("{{ file: {} }}", file.display());
    let server = Server::with(&AUTH.replace("shop-secret-0123456789-0123456789", &secret)).await;
    let begin = Say::Begin(Begin { subscription: "jobs".into(), ..Begin::default() });
    let requests = tokio_stream::once(SubscribeRequest { request: Some(begin) });
    let call = with(requests.chain(tokio_stream::pending()), "authorization", TOKEN);
    let mut consumer = SubscriberClient::new(server.channel().await);
    let mut messages = consumer.subscribe(call).await.unwrap().into_inner();
    let call = with(tokio_stream::pending::<PublishStreamRequest>(), "authorization", TOKEN);
    let mut outcomes = server.publisher().await.publish_stream(call).await.unwrap().into_inner();
    let call = with(HealthCheckRequest::default(), "authorization", TOKEN);
    let mut health = HealthClient::new(server.channel().await).watch(call).await.unwrap().into_inner();
    let asked = ServerReflectionRequest {
        message_request: Some(Asked::ListServices(String::new())),
        ..Default::default()
    };
    let call = with(tokio_stream::once(asked).chain(tokio_stream::pending()), "authorization", TOKEN);
    let reflection = ServerReflectionClient::new(server.channel().await).server_reflection_info(call).await;
    let mut described = reflection.unwrap().into_inner();
    assert!(described.message().await.unwrap().is_some());
    std::fs::remove_file(&file).unwrap();
    let watched = async {
        // News are told until then.
        loop {
            match health.message().await {
                Ok(Some(_)) => {}
                ended => return ended.map(drop),
            }
        }
    };
    for ended in [
        messages.message().await.map(drop),
        outcomes.message().await.map(drop),
        watched.await,
        described.message().await.map(drop),
    ] {
        details(&ended.unwrap_err(), Code::Unauthenticated, "UNAUTHENTICATED");
    }
}

#[tokio::test]
async fn a_caller_may_do_what_its_token_says() {
    let server = Server::with(AUTH).await;
    let mut publisher = server.publisher().await;
    for token in ["", "Bearer nonsense"] {
        let call = with(batch([message("orders", "x")]), "authorization", token);
        details(&publisher.publish(call).await.unwrap_err(), Code::Unauthenticated, "UNAUTHENTICATED");
    }
    let both = batch([message("orders", "x"), message("declared", "x")]);
    let answer = publisher.publish(with(both, "authorization", TOKEN)).await.unwrap().into_inner();
    receipt(&answer.outcomes[0]);
    assert_eq!(failure(&answer.outcomes[1]).status, Code::PermissionDenied as i32);

    let mut admin = server.administer().await;
    let call = with(ListTopicsRequest::default(), "authorization", TOKEN);
    let topics = admin.list_topics(call).await.unwrap().into_inner().topics;
    assert_eq!(topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["orders"]);
    let call = with(ListSubscriptionsRequest::default(), "authorization", TOKEN);
    let list = admin.list_subscriptions(call).await.unwrap().into_inner().subscriptions;
    assert_eq!(list.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["jobs"]);

    // As the kubelet, who has no token.
    let health = HealthClient::new(server.channel().await);
    eventually(Duration::from_secs(20), "the server is healthy", async || {
        health
            .clone()
            .check(HealthCheckRequest::default())
            .await
            .is_ok_and(|answer| answer.into_inner().status == 1)
    })
    .await;
}
