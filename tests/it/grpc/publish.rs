//! `Publisher.Publish`.

use hyper_util::rt::TokioIo;
use serde_json::json;
use sidespan::proto::publisher_client::PublisherClient;
use sidespan::proto::{Guarantee, Header, Message};
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::Endpoint;
use tower::service_fn;

use super::{batch, details, failure, message, receipt, troubled, with};
use crate::server::Server;
use crate::trouble::FAULTS;

#[tokio::test]
async fn a_batch_has_one_outcome_a_message() {
    let server = Server::start().await;
    let mut publisher = server.publisher().await;
    let messages = [
        message("orders", "one"),
        message("declared", "two"),
        message("missing", "three"),
        message("orders", "four"),
        Message { id: "a\nb".into(), ..message("orders", "five") },
    ];
    let answer = publisher.publish(batch(messages)).await.unwrap().into_inner();
    assert_eq!((answer.outcomes.len(), answer.failed), (5, 2));
    let stored = receipt(&answer.outcomes[0]);
    assert_eq!(stored.guarantee(), Guarantee::AtLeastOnce);
    assert!(!stored.position.is_empty() && stored.local && !stored.deduplicated, "{stored:?}");
    let failed = failure(&answer.outcomes[2]);
    assert_eq!((failed.status, failed.reason.as_str()), (5, "UNKNOWN_TOPIC"));
    assert!(!failed.retryable && !failed.outcome_unknown && !failed.detail.is_empty(), "{failed:?}");
    assert_eq!(failure(&answer.outcomes[4]).reason, "INVALID_REQUEST");
    let read = server.messages("orders", 2).await;
    assert_eq!((&read[0]["text"], &read[1]["text"]), (&json!("one"), &json!("four")));
    assert_eq!(read[0]["id"], stored.id);
    assert_eq!(server.messages("declared", 1).await[0]["text"], "two");
}

#[tokio::test]
async fn a_message_keeps_all_that_it_has() {
    let server = Server::start().await;
    let header = |name: &str, value: &[u8]| Header { name: name.into(), value: value.into() };
    let sent = Message {
        id: "order-1".into(),
        key: Some("customer-7".into()),
        headers: vec![header("note", "Zoë".as_bytes()), header("tag", b"one"), header("tag", b"\xff")],
        ..message("orders", "Grüße")
    };
    let request =
        with(batch([sent]), "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    server.publisher().await.publish(request).await.unwrap();
    let read = server.messages("orders", 1).await.remove(0);
    for (field, expected) in [
        ("id", json!("order-1")),
        ("key", json!("customer-7")),
        ("content_type", json!("text/plain")),
        ("text", json!("Grüße")),
        (
            "headers",
            json!([
                ["note", "Zoë"],
                ["tag", "one"],
                ["tag", {"base64": "/w=="}],
                ["traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            ]),
        ),
    ] {
        assert_eq!(read[field], expected, "{read}");
    }
}

#[tokio::test]
async fn b3_becomes_a_traceparent_and_what_is_malformed_is_left_out() {
    let server = Server::start().await;
    let single = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1";
    let own = Header { name: "X-B3-TraceId".into(), value: b"463ac35c9f6413ad".as_slice().into() };
    let span = Header { name: "X-B3-SpanId".into(), value: b"a2fb4a1d1a96d312".as_slice().into() };
    let with_own = Message { headers: vec![own, span], ..message("orders", "b") };
    let request = with(batch([message("orders", "a"), with_own]), "b3", single);
    server.publisher().await.publish(request).await.unwrap();
    let bad = with(batch([message("orders", "c")]), "traceparent", "00-what-01");
    server.publisher().await.publish(bad).await.unwrap();
    let read = server.messages("orders", 3).await;
    let context = |text: &str| json!([["traceparent", text]]);
    assert_eq!(read[0]["headers"], context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    assert_eq!(read[1]["headers"], context("00-0000000000000000463ac35c9f6413ad-a2fb4a1d1a96d312-00"));
    assert_eq!(read[2]["headers"].as_array().map_or(0, Vec::len), 0, "{}", read[2]);
}

#[tokio::test]
async fn an_event_comes_as_headers_and_a_tombstone_as_no_payload_at_all() {
    let server = Server::start().await;
    let mut publisher = server.publisher().await;
    let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
    let attributes = [("ce-specversion", "1.0"), ("CE-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
    let mut event = Message {
        headers: attributes.map(|(name, value)| header(name, value)).into(),
        ..message("orders", "{}")
    };
    event.headers.push(header("ce-partitionkey", "p"));
    let tombstone = Message { tombstone: true, key: Some("p".into()), ..message("orders", "") };
    publisher.publish(batch([event.clone(), tombstone])).await.unwrap();
    let read = server.messages("orders", 2).await;
    assert_eq!((&read[0]["key"], &read[1]["tombstone"]), (&json!("p"), &json!(true)), "{read:?}");

    event.headers.remove(3);
    let status = publisher.publish(batch([event])).await.unwrap_err();
    let violations = details(&status, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(violations.bad_request().unwrap().field_violations[0].field, "messages[0].headers");
    let both = Message { tombstone: true, ..message("orders", "x") };
    details(&publisher.publish(batch([both])).await.unwrap_err(), Code::InvalidArgument, "INVALID_REQUEST");
}

#[tokio::test]
async fn an_id_deduplicates() {
    let server = Server::start().await;
    let mut publisher = server.publisher().await;
    let order = || batch([Message { id: "order-1".into(), ..message("orders", "x") }]);
    for duplicate in [false, true] {
        let answer = publisher.publish(order()).await.unwrap().into_inner();
        let receipt = receipt(&answer.outcomes[0]);
        assert_eq!((receipt.duplicate, receipt.deduplicated), (duplicate, true));
    }
}

#[tokio::test]
async fn a_batch_of_which_nothing_is_stored_fails_as_its_worst_message() {
    let server = Server::start().await;
    let mut publisher = server.publisher().await;
    for (name, _) in FAULTS {
        let status = publisher.publish(batch([troubled(name)])).await.unwrap_err();
        let reason = match name {
            "invalid" => "INVALID_REQUEST".to_owned(),
            name => name.replace('-', "_").to_uppercase(),
        };
        let told = details(&status, status.code(), &reason);
        assert_ne!(status.code(), Code::Unknown);
        let info = &told.error_info().unwrap().metadata;
        let retryable = info["retryable"] == "true";
        assert_eq!(told.retry_info().is_some(), retryable, "{status:?}");
        assert_eq!(info["outcome"], if name == "timeout" { "unknown" } else { "not_stored" });
    }
    let worse = publisher.publish(batch([troubled("too-large"), troubled("timeout"), troubled("denied")]));
    details(&worse.await.unwrap_err(), Code::DeadlineExceeded, "TIMEOUT");
    let none = publisher.publish(batch([])).await.unwrap_err();
    let told = details(&none, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(told.bad_request().unwrap().field_violations[0].field, "messages");
    let broken = publisher.publish(batch([troubled("panic")])).await.unwrap_err();
    details(&broken, Code::Internal, "INTERNAL");
}

#[tokio::test]
async fn a_unix_socket_serves_calls_too() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("sidespan.sock");
    let _server = Server::behind(&socket).await;
    let connect = service_fn(move |_| {
        let stream = UnixStream::connect(socket.clone());
        async move { stream.await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://sidespan").connect_with_connector(connect).await.unwrap();
    let answer = PublisherClient::new(channel).publish(batch([message("orders", "x")])).await.unwrap();
    assert_eq!(answer.into_inner().failed, 0);
}
