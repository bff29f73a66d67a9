//! What is counted of requests, whose senders await a reply.

use std::time::Duration;

use serde_json::{Value, json};
use sidespan::proto::requester_client::RequesterClient;
use sidespan::proto::{Message, RequestRequest};
use sidespan_test_support::{Client, Sidecar, eventually};
use tokio::time::timeout;
use tonic::transport::Endpoint;

use crate::{PATIENCE, metrics, start, until};

const OF: &str =
    "messaging_destination_name=\"orders\",messaging_system=\"sidespan_embedded\",sidespan_bridge=\"local\"";

fn sent(error: &str) -> String {
    format!("messaging_client_sent_messages_total{{{error}{OF}}}")
}

fn request(sidecar: &Sidecar, timeout: &str) -> sidespan_test_support::Request {
    let client = Client::new().post(&sidecar.url("/v1/topics/orders/requests"), "how many?");
    client.header("content-type", "text/plain").header("sidespan-timeout", timeout)
}

/// Answers one request of the subscription `desk`.
async fn answer(sidecar: &Sidecar) {
    let post = async |path: &str, body: Value| -> Value {
        let url = sidecar.url(&format!("/v1/subscriptions/desk/{path}"));
        let answer = Client::new().post(&url, body.to_string()).send().await.unwrap();
        assert!(answer.status.is_success(), "{}", answer.text());
        if answer.text().is_empty() { Value::Null } else { answer.json() }
    };
    let pulled = post("pull", json!({ "max_messages": 1, "wait": "10s" })).await;
    let ack_id = &pulled["messages"][0]["ack_id"];
    post("reply", json!({ "ack_id": ack_id, "message": { "text": "seven" } })).await;
}

#[tokio::test]
async fn requests_are_counted_with_what_is_sent_and_timed_until_their_replies() {
    let sidecar = start("subscriptions: { desk: { topic: orders, start: begin, pull: {} } }\n").await;
    let (asked, ()) = tokio::join!(request(&sidecar, "20s").send(), answer(&sidecar));
    assert_eq!(asked.unwrap().text(), "seven");
    let endpoint = Endpoint::try_from(sidecar.url("")).unwrap();
    let mut requester = RequesterClient::new(endpoint.connect().await.unwrap());
    let message = Message { topic: "orders".into(), payload: "how many?".into(), ..Message::default() };
    let call = RequestRequest { message: Some(message) };
    let (asked, ()) = tokio::join!(requester.request(call), answer(&sidecar));
    assert_eq!(asked.unwrap().into_inner().reply.unwrap().payload, "seven");
    assert_eq!(metrics(&sidecar).await.get(&sent("")), Some(2.0));

    assert_eq!(request(&sidecar, "1s").send().await.unwrap().status, 504);
    assert_eq!(metrics(&sidecar).await.get(&sent("error_type=\"timeout\",")), Some(1.0));
    assert!(
        timeout(Duration::from_secs(1), request(&sidecar, "20s").send()).await.is_err(),
        "nobody answers"
    );
    until(&sidecar, &sent("error_type=\"abandoned\","), 1.0).await;

    eventually(PATIENCE, "all are timed", async || {
        let seen = metrics(&sidecar).await;
        let took = seen.all("messaging_client_operation_duration_seconds_count");
        took.filter(|(series, _)| series.contains("=\"request\"")).map(|(_, count)| count).sum::<f64>() == 4.0
    })
    .await;
    let seen = metrics(&sidecar).await;
    let sends = seen.all("messaging_client_operation_duration_seconds_count");
    assert_eq!(
        sends.filter(|(series, _)| series.contains("=\"send\"")).count(),
        0,
        "they take longer than a send"
    );
}
