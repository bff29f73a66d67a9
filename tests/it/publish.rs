//! Publishing one message.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use sidespan_test_support::{Client, Random};

use crate::server::Server;
use crate::trouble::FAULTS;

const ORDERS: &str = "/v1/topics/orders/messages";

#[tokio::test]
async fn a_message_arrives_as_it_was_sent() {
    let server = Server::start().await;
    let receipt = server
        .post(ORDERS, r#"{ "total": 1.10 }"#)
        .header("Content-Type", "application/json; charset=utf-8")
        .header("Sidespan-Key", "kunde/ü 7")
        .header("Sidespan-Header-Tenant", "a%20b%C3%A9%25")
        .header("Sidespan-Header-Empty", "")
        .header("Sidespan-Header-Bytes", "%FF%00")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("tracestate", "a=b")
        .header("baggage", "c=d")
        .expect(200)
        .await;
    assert_eq!(receipt["topic"], "orders");
    assert_eq!(receipt["guarantee"], "at-least-once");
    assert_eq!(receipt["durability"], "local");
    assert_eq!(receipt["duplicate"], false);

    let message = server.messages("orders", 1).await.remove(0);
    assert_eq!(message["id"], receipt["id"]);
    assert_eq!(message["position"], receipt["position"]);
    assert_eq!(message["content_type"], "application/json; charset=utf-8");
    assert_eq!(message["key"], "kunde/ü 7");
    assert_eq!(message["data"], json!({"total": 1.10}));
    let headers = message["headers"].as_array().unwrap();
    for expected in [
        json!(["tenant", "a bé%"]),
        json!(["empty", ""]),
        json!(["bytes", {"base64": "/wA="}]),
        json!(["traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]),
        json!(["tracestate", "a=b"]),
        json!(["baggage", "c=d"]),
    ] {
        assert!(headers.contains(&expected), "{expected} in {headers:?}");
    }
}

#[tokio::test]
async fn any_bytes_are_a_payload_and_nothing_is_not_the_same_as_no_payload() {
    let server = Server::start().await;
    let bytes = Random::from_env().bytes(100_000);
    server.publish("orders", bytes.clone()).await;
    server.publish("orders", "").await;
    server
        .post(ORDERS, "")
        .header("Sidespan-Tombstone", "true")
        .header("Sidespan-Key-Base64", "/w==")
        .expect(200)
        .await;
    let messages = server.messages("orders", 3).await;
    assert_eq!(messages[0]["data_base64"], STANDARD.encode(bytes));
    assert_eq!(messages[0].get("content_type"), None);
    assert_eq!(messages[1]["text"], "");
    assert_eq!(messages[2]["tombstone"], true);
    assert_eq!(messages[2]["key_base64"], "/w==");
    server.post(ORDERS, "x").header("Sidespan-Tombstone", "true").problem(400, "INVALID_REQUEST").await;
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let server = Server::start().await;
    let client = Client::http2();
    for (method, path, status) in [
        (http::Method::POST, ORDERS, 200),
        (http::Method::GET, "/v1/topics", 200),
        (http::Method::GET, "/nowhere", 404),
    ] {
        let response = server.call_by(&client, method, path, Bytes::new()).send().await;
        assert_eq!(response.status, status);
    }
}

#[tokio::test]
async fn an_idempotency_key_deduplicates_on_its_topic_only() {
    let server = Server::start().await;
    let send = async |topic: &str, key: &str| {
        let path = format!("/v1/topics/{topic}/messages");
        server.post(&path, "x").header("Idempotency-Key", key).expect(200).await
    };
    let first = send("orders", "\"o-1\"").await;
    let again = send("orders", "o-1").await;
    assert_eq!((&first["duplicate"], &again["duplicate"]), (&json!(false), &json!(true)));
    assert_eq!(first["deduplicated"], true);
    assert_eq!(first["id"], again["id"]);
    assert_eq!(send("payments", "o-1").await["duplicate"], false);
    assert_eq!(send("orders", "o-2").await["duplicate"], false);
    assert_eq!(server.publish("orders", "x").await["deduplicated"], false);
}

#[tokio::test]
async fn a_duplicate_that_nobody_asked_for_is_an_error() {
    let server = Server::start().await;
    let sent = server.post(ORDERS, "x").header("Sidespan-Header-Trouble", "duplicate");
    sent.problem(502, "REJECTED").await;
}

#[tokio::test]
async fn headers_that_cannot_be_meant_are_refused() {
    let server = Server::start().await;
    let cases: [(&str, &[u8], &str); 21] = [
        ("Sidespan-Keys", b"k", "there is no request header"),
        ("Sidespan-Key", b"\xff", "Sidespan-Key-Base64"),
        ("Sidespan-Key-Base64", b"***", "not base64"),
        ("Sidespan-Partition", b"-1", "whole number"),
        ("Sidespan-Partition", b"one", "whole number"),
        ("Sidespan-Tombstone", b"yes", "true or false"),
        ("Sidespan-Timeout", b"5", "a number with a unit"),
        ("Sidespan-Timeout", b"0s", "more than 0s"),
        ("Sidespan-Timeout", b"2h", "limits.max_timeout"),
        ("Sidespan-Header-Nats-Msg-Id", b"1", "reserved"),
        ("Sidespan-Header-Sidespan-Id", b"1", "reserved"),
        ("Sidespan-Header-X-Death", b"1", "reserved"),
        ("Sidespan-Header-Connection", b"close", "reserved"),
        ("Sidespan-Header-ce-id", b"1", "CloudEvent"),
        ("Sidespan-Header-A", b"\xff", "not UTF-8"),
        ("Sidespan-Header-", b"1", "no header name"),
        ("Idempotency-Key", b"", "1 to 255"),
        ("Idempotency-Key", b"\"open", "is no string"),
        ("Content-Type", b"json", "no media type"),
        ("ce-id", b"1", "needs the attribute `specversion`"),
        ("Accept", b"text/html", "application/json"),
    ];
    for (name, value, expected) in cases {
        let problem = server.post(ORDERS, "x").header(name, value).send().await;
        let status = if name == "Accept" { 406 } else { 400 };
        assert_eq!(problem.status, status, "{name}: {value:?}");
        let detail = problem.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(expected), "{name}: {detail}");
    }
    for (name, value) in [
        ("Sidespan-Key", "k"),
        ("Sidespan-Key-Base64", "aw=="),
        ("Sidespan-Partition", "0"),
        ("Sidespan-Timeout", "1s"),
        ("Sidespan-Tombstone", "false"),
    ] {
        let twice = server.post(ORDERS, "x").header(name, value).header(name, value);
        let problem = twice.problem(400, "INVALID_REQUEST").await;
        assert!(problem["detail"].as_str().unwrap().contains("twice"), "{name}: {problem}");
    }
    let keys = server.post(ORDERS, "x").header("Sidespan-Key", "a").header("Sidespan-Key-Base64", "Yg==");
    keys.problem(400, "INVALID_REQUEST").await;
    let long = "k".repeat(256);
    server.post(ORDERS, "x").header("Idempotency-Key", &long).problem(400, "INVALID_REQUEST").await;
    assert_eq!(server.get("/v1/topics/orders").send().await.status, 404, "nothing was stored");
}

#[tokio::test]
async fn topics_are_named_by_the_path() {
    let server = Server::start().await;
    let long = "x".repeat(300);
    let cases = [
        ("orders", 200),
        ("orders.eu.paid", 200),
        ("a%2Fb", 200),
        ("with%20blank", 200),
        ("%C3%BC", 200),
        ("ü", 200),
        ("a%2525", 200),
        ("declared", 200),
        ("address.of.declared", 404),
        ("missing", 404),
        ("a%00b", 400),
        ("a%0Ab", 400),
        ("%FF", 400),
        ("%zz", 400),
        ("a%2", 400),
        ("orders.*", 400),
        ("orders.%3E", 400),
        ("a..b", 400),
        (long.as_str(), 400),
        ("a/b", 404),
        ("", 400),
    ];
    for (name, status) in cases {
        let path = format!("/v1/topics/{}/messages", name.replace('ü', "%c3%bc"));
        let started = Instant::now();
        let answer = server.post(&path, "x").send().await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert!(started.elapsed() < Duration::from_secs(1), "{name} took {:?}", started.elapsed());
    }
    let unknown = server.post("/v1/topics/missing/messages", "x").problem(404, "UNKNOWN_TOPIC").await;
    assert_eq!(unknown["outcome"], "not_stored");
    assert_eq!(server.get("/v1/topics/missing").expect(200).await["exists"], false, "and it was not made");
    assert_eq!(server.messages("a%2Fb", 1).await[0]["topic"], "a/b");
    assert_eq!(server.messages("declared", 1).await[0]["topic"], "declared");
}

#[tokio::test]
async fn cloud_events_are_the_same_in_binary_and_in_structured_form() {
    let server = Server::start().await;
    let structured = r#"{"specversion":"1.0","id":"€ 1","source":"/shop","type":"order.paid","subject":"a b",
        "time":"2026-11-20T13:42:50Z","partitionkey":"c-7","datacontenttype":"application/json","data":{"n": 1}}"#;
    server.post(ORDERS, structured).header("Content-Type", "application/cloudevents+json").expect(200).await;
    server
        .post(ORDERS, r#"{"n": 1}"#)
        .header("Content-Type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-id", "%E2%82%AC%201")
        .header("ce-source", "/shop")
        .header("ce-type", "order.paid")
        .header("ce-subject", "a%20b")
        .header("ce-time", "2026-11-20T13:42:50Z")
        .header("ce-partitionkey", "c-7")
        .expect(200)
        .await;
    let same = |message: &Value| {
        let mut headers: Vec<Value> = message["headers"].as_array().unwrap().clone();
        headers.sort_by_key(Value::to_string);
        (message["key"].clone(), message["content_type"].clone(), message["data"].clone(), headers)
    };
    let messages = server.messages("orders", 2).await;
    assert_eq!(same(&messages[0]), same(&messages[1]));
    assert_eq!(messages[0]["key"], "c-7");
    assert!(messages[0]["headers"].as_array().unwrap().contains(&json!(["ce-id", "€ 1"])));
}

#[tokio::test]
async fn what_is_no_cloud_event_is_refused() {
    let server = Server::start().await;
    let structured =
        |body: &'static str| server.post(ORDERS, body).header("Content-Type", "application/cloudevents+json");
    structured("{\"specversion\":\"1.0\"").problem(400, "INVALID_REQUEST").await;
    structured("[]").problem(400, "INVALID_REQUEST").await;
    structured(r#"{"specversion":"1.0","id":"1","source":"/s"}"#).problem(400, "INVALID_REQUEST").await;
    structured(r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","partitionkey":"a"}"#)
        .header("Sidespan-Key", "b")
        .problem(400, "INVALID_REQUEST")
        .await;
    let typed = |content_type: &'static str| server.post(ORDERS, "{}").header("Content-Type", content_type);
    typed("application/cloudevents+json; charset=latin1").problem(415, "UNSUPPORTED_MEDIA_TYPE").await;
    typed("application/vnd.shop+json; charset=ISO-8859-1").problem(415, "UNSUPPORTED_MEDIA_TYPE").await;
    typed("application/cloudevents+avro").problem(415, "UNSUPPORTED_MEDIA_TYPE").await;
    typed("application/cloudevents-batch+json").problem(415, "UNSUPPORTED_MEDIA_TYPE").await;
    let binary = |name: &'static str, value: &'static [u8]| {
        let event = server.post(ORDERS, "x").header("ce-specversion", "1.0").header("ce-id", "1");
        event.header("ce-source", "/s").header("ce-type", "t").header(name, value)
    };
    binary("ce-with-dash", b"x").problem(400, "INVALID_REQUEST").await;
    binary("ce-time", b"yesterday").problem(400, "INVALID_REQUEST").await;
    binary("ce-id", b"2").problem(400, "INVALID_REQUEST").await;
    binary("ce-datacontenttype", b"text/plain").problem(400, "INVALID_REQUEST").await;
    binary("ce-x", b"%FF").problem(400, "INVALID_REQUEST").await;
    binary("ce-x", "raw ü".as_bytes()).expect(200).await;
}

#[tokio::test]
async fn respond_async_answers_before_the_broker_does() {
    let server = Server::start().await;
    let sent = server.post(ORDERS, "x").header("Prefer", "wait=5, respond-async").send().await;
    assert_eq!(sent.status, 202);
    assert_eq!(sent.header("preference-applied"), "respond-async");
    assert_eq!(sent.json()["guarantee"], "at-most-once");
    assert_eq!(server.messages("orders", 1).await[0]["id"], sent.json()["id"]);
    let slow =
        server.post(ORDERS, "x").header("Prefer", "respond-async").header("Sidespan-Header-Trouble", "hang");
    let started = Instant::now();
    slow.expect(202).await;
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// Else nobody but the log would hear of it.
#[tokio::test]
async fn respond_async_tells_what_is_known_at_once() {
    let server = Server::start().await;
    let post = |path: &str| server.post(path, "x").header("Prefer", "respond-async");
    post("/v1/topics/orders.%3E/messages").problem(400, "INVALID_REQUEST").await;
    post(ORDERS).header("Sidespan-Partition", "7").problem(400, "INVALID_REQUEST").await;
    post("/v1/topics/missing/messages").problem(404, "UNKNOWN_TOPIC").await;
}

#[tokio::test]
async fn every_fault_of_a_broker_has_its_status() {
    let server = Server::start().await;
    let expected = [409, 403, 400, 429, 503, 502, 503, 504, 413, 503, 404, 404, 501];
    for ((name, _), status) in FAULTS.iter().zip(expected) {
        let problem = server.post(ORDERS, "x").header("Sidespan-Header-Trouble", name).expect(status).await;
        let unknown = *name == "timeout";
        assert_eq!(problem["outcome"], if unknown { "unknown" } else { "not_stored" }, "{problem}");
    }
}

#[tokio::test]
async fn an_unanswered_message_is_504_at_the_callers_deadline() {
    let server = Server::start().await;
    let started = Instant::now();
    let sent = server
        .post(ORDERS, "x")
        .header("Sidespan-Timeout", "300ms")
        .header("Sidespan-Header-Trouble", "hang");
    let problem = sent.problem(504, "TIMEOUT").await;
    assert_eq!(problem["outcome"], "unknown");
    let elapsed = started.elapsed();
    assert!(elapsed >= Duration::from_millis(300) && elapsed < Duration::from_secs(3), "{elapsed:?}");
}

#[tokio::test]
async fn many_at_once_all_get_their_own_receipt() {
    let server = Server::start().await;
    let sent = (0..1000).map(|n| server.post(ORDERS, n.to_string()).expect(200));
    let receipts = futures_util::future::join_all(sent).await;
    let mut by_position: Vec<(String, String)> = receipts
        .iter()
        .map(|receipt| {
            (receipt["position"].as_str().unwrap().to_owned(), receipt["id"].as_str().unwrap().to_owned())
        })
        .collect();
    by_position.sort();
    by_position.dedup();
    assert_eq!(by_position.len(), 1000);
    for message in server.messages("orders", 1000).await {
        let place =
            (message["position"].as_str().unwrap().to_owned(), message["id"].as_str().unwrap().to_owned());
        assert!(by_position.binary_search(&place).is_ok());
    }
}

#[tokio::test]
async fn requests_that_follow_one_another_stay_in_order() {
    let server = Server::start().await;
    let request = |n: usize| {
        format!("POST {ORDERS} HTTP/1.1\r\nHost: {}\r\nContent-Length: 3\r\n\r\n{n:03}", server.address())
    };
    let all: String = (0..100).map(request).collect();
    let _connection = server.raw(all.as_bytes()).await;
    let messages = server.messages("orders", 100).await;
    let texts: Vec<&str> = messages.iter().map(|message| message["text"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..100).map(|n| format!("{n:03}")).collect();
    assert_eq!(texts, expected);
}

#[tokio::test]
async fn a_bug_in_a_handler_is_500_and_the_server_stays_up() {
    let server = Server::start().await;
    let sent = server.post(ORDERS, "x").header("Sidespan-Header-Trouble", "panic");
    let problem = sent.problem(500, "INTERNAL").await;
    assert!(!problem.to_string().contains("bug"), "{problem}");
    server.publish("orders", "x").await;
}
