//! Fetching, settling and publishing over a WebSocket.

mod answers;
pub(crate) mod client;
mod proto;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sidespan_test_support::eventually;

use self::client::{Socket, refused};
use crate::server::Server;

#[tokio::test]
async fn messages_come_as_there_is_credit_and_an_ack_is_told_once_the_broker_has_it() {
    let server = server("lease: 1s", "").await;
    let mut socket = Socket::open(&server, JOBS).await;
    for text in ["one", "two", "three"] {
        server.publish("declared", text).await;
    }
    assert!(socket.is_silent().await, "without credit nothing comes");
    socket.credit(2).await;
    let (one, two) = (socket.message().await, socket.message().await);
    assert_eq!((&one["text"], &two["text"]), (&json!("one"), &json!("two")));
    assert_eq!((&one["topic"], &one["attempt"]), (&json!("declared"), &json!(1)));
    let ids = json!([one["ack_id"], two["ack_id"]]);
    socket.send(json!({ "type": "ack", "ack_ids": ids, "seq": 7 })).await;
    let settled = socket.answer("settled").await;
    assert_eq!(settled["seq"], 7);
    let statuses: Vec<_> = settled["outcomes"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, [200, 200]);
    assert_eq!(server.get("/v1/subscriptions/jobs").expect(200).await["delivered"], 2);
    socket.credit(10).await;
    let three = socket.message().await;
    assert_eq!(three["text"], "three");
    socket.send(json!({ "type": "ack", "ack_ids": [three["ack_id"]] })).await;
    // Longer than the leases.
    assert!(
        socket.is_silent_for(Duration::from_millis(1500)).await,
        "nothing is told of an ack that was taken"
    );
}

#[tokio::test]
async fn what_a_socket_has_not_settled_comes_again_when_it_ends() {
    let server = server("lease: 60s", "").await;
    server.publish("declared", "one").await;
    let mut first = Socket::open(&server, JOBS).await;
    first.credit(1).await;
    let before = first.message().await;
    drop(first);
    let mut second = Socket::open(&server, JOBS).await;
    second.credit(1).await;
    let after = second.message().await;
    assert_eq!((&after["attempt"], &after["id"]), (&json!(2), &before["id"]));
    second.send(json!({ "type": "ack", "ack_ids": [before["ack_id"], after["ack_id"]] })).await;
    let settled = second.answer("settled").await;
    let outcomes = settled["outcomes"].as_array().unwrap();
    assert_eq!(outcomes.len(), 1, "only what was not taken is told: {settled}");
    assert_eq!((&outcomes[0]["ack_id"], &outcomes[0]["code"]), (&before["ack_id"], &json!("LEASE_ENDED")));
}

#[tokio::test]
async fn what_is_given_back_comes_again_and_a_lease_can_be_made_longer() {
    let server = server("lease: 1s", "").await;
    server.publish("declared", "one").await;
    let mut socket = Socket::open(&server, JOBS).await;
    socket.credit(10).await;
    let first = socket.message().await;
    let id = &first["ack_id"];
    socket.send(json!({ "type": "extend", "ack_ids": [id], "lease": "60s", "seq": 1 })).await;
    assert_eq!(socket.answer("settled").await["outcomes"][0]["status"], 200);
    assert!(socket.is_silent_for(Duration::from_millis(1500)).await);
    socket.send(json!({ "type": "extend", "ack_ids": [id], "lease": "11m" })).await;
    assert_eq!(socket.answer("settled").await["outcomes"][0]["code"], "INVALID_REQUEST");
    socket.send(json!({ "type": "nack", "ack_ids": [id], "delay": "0s" })).await;
    assert_eq!(socket.message().await["attempt"], 2);
}

#[tokio::test]
async fn bytes_are_credit_too() {
    let server = server("lease: 60s", "").await;
    for text in ["x".repeat(1000), "y".repeat(10), "z".repeat(10)] {
        server.publish("declared", text).await;
    }
    eventually(PATIENCE, "all held", async || {
        server.get("/v1/subscriptions/jobs").expect(200).await["held"] == 3
    })
    .await;
    let mut socket = Socket::open(&server, JOBS).await;
    socket.send(json!({ "type": "credit", "messages": 10, "bytes": 1 })).await;
    let taken = socket.answer("message").await["bytes"].as_u64().unwrap();
    assert!((1000..1100).contains(&taken), "{taken}");
    assert!(socket.is_silent().await, "there is a debt now");
    socket.send(json!({ "type": "credit", "messages": 0, "bytes": taken + 20 })).await;
    assert_eq!(socket.message().await["text"], "y".repeat(10));
    assert_eq!(socket.message().await["text"], "z".repeat(10));
}

#[tokio::test]
async fn publishes_are_stored_in_order_and_each_has_its_outcome() {
    let server = server("lease: 60s", "").await;
    let mut socket = Socket::open(&server, JOBS).await;
    for seq in 0..1000 {
        let message = json!({ "key": "k", "data": seq });
        socket.send(json!({ "type": "publish", "seq": seq, "topic": "orders", "message": message })).await;
    }
    let mut told: Vec<u64> = Vec::new();
    for _ in 0..1000 {
        let published = socket.answer("published").await;
        assert_eq!(published["status"], 200, "{published}");
        told.push(published["seq"].as_u64().unwrap());
    }
    told.sort_unstable();
    assert_eq!(told, (0..1000).collect::<Vec<_>>());
    let stored = server.messages("orders", 1000).await;
    assert!(stored.iter().enumerate().all(|(index, message)| message["data"] == index));
}

#[tokio::test]
async fn a_message_that_cannot_be_published_fails_alone() {
    let server = server("lease: 60s", "limits: { max_message: 1KiB }").await;
    let mut socket = Socket::open(&server, JOBS).await;
    for (seq, topic, message, status, code) in [
        (1, "orders", json!({}), 400, "INVALID_REQUEST"),
        (2, "orders", json!({ "text": "x", "date": 1 }), 400, "INVALID_REQUEST"),
        (3, "address.of.declared", json!({ "text": "x" }), 404, "UNKNOWN_TOPIC"),
        (4, "missing", json!({ "text": "x" }), 404, "UNKNOWN_TOPIC"),
        (5, "orders", json!({ "text": "x".repeat(2000) }), 413, "TOO_LARGE"),
        (6, "", json!({ "text": "x" }), 400, "INVALID_REQUEST"),
    ] {
        socket.send(json!({ "type": "publish", "seq": seq, "topic": topic, "message": message })).await;
        let told = socket.answer("published").await;
        assert_eq!(
            (&told["seq"], &told["status"], &told["code"]),
            (&json!(seq), &json!(status), &json!(code))
        );
    }
    socket.send(json!({ "type": "publish", "seq": 9, "topic": "orders", "message": { "text": "x" } })).await;
    assert_eq!(socket.answer("published").await["status"], 200);
}

#[tokio::test]
async fn a_message_that_is_published_comes_to_who_consumes() {
    let server = server("lease: 60s", "").await;
    let mut socket = Socket::open(&server, JOBS).await;
    let message =
        json!({ "id": "o-1", "key": "c-7", "headers": [["tenant", "a"]], "data": { "total": 1.0 } });
    socket.send(json!({ "type": "publish", "seq": 1, "topic": "declared", "message": message })).await;
    socket.answer("published").await;
    socket.credit(1).await;
    let received = socket.message().await;
    for field in ["id", "key", "headers", "data"] {
        assert_eq!(received[field], message[field]);
    }
}

#[tokio::test]
async fn trace_context_of_a_frame_goes_with_its_message() {
    let server = server("lease: 60s", "").await;
    let mut socket = Socket::open(&server, JOBS).await;
    let context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for headers in [
        json!([["traceparent", context]]),
        json!([["b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1"]]),
        json!([["traceparent", "malformed"]]),
    ] {
        let message = json!({ "key": "k", "text": "x", "headers": headers });
        socket.send(json!({ "type": "publish", "seq": 1, "topic": "declared", "message": message })).await;
        assert_eq!(socket.answer("published").await["status"], 200);
    }
    socket.credit(3).await;
    for expected in [json!([["traceparent", context]]), json!([["traceparent", context]]), json!([])] {
        let headers = socket.message().await["headers"].take();
        assert!(headers == expected || (headers.is_null() && expected == json!([])), "{headers}");
    }
}

#[tokio::test]
async fn frames_that_cannot_be_understood_end_the_socket_with_a_reason() {
    let server = server("lease: 60s", "").await;
    for (frame, told) in [
        ("{", "no frame that is known"),
        ("[]", "no frame that is known"),
        (r#"{"type":"subscribe"}"#, "unknown variant `subscribe`"),
        (r#"{"messages":1}"#, "missing field `type`"),
        (r#"{"type":"credit"}"#, "missing field `messages`"),
        (r#"{"type":"credit","messages":0}"#, "at least one"),
        (r#"{"type":"credit","messages":-1}"#, "u64"),
        (r#"{"type":"credit","messages":18446744073709551615}"#, "more credit"),
        (r#"{"type":"credit","messages":1,"byte":1}"#, "unknown field `byte`"),
        (r#"{"type":"ack","ack_ids":"one"}"#, "no frame that is known"),
        (r#"{"type":"nack","ack_ids":[],"delay":5}"#, "no frame that is known"),
        (r#"{"type":"publish","topic":"orders","message":{"text":"x"}}"#, "missing field `seq`"),
    ] {
        let mut socket = Socket::open(&server, JOBS).await;
        socket.send_text(frame).await;
        let error = socket.answer("error").await;
        assert_eq!(error["code"], "INVALID_REQUEST");
        assert!(error["detail"].as_str().unwrap().contains(told), "{frame}: {error}");
        let (code, reason) = socket.closed().await;
        assert_eq!(code, 1008);
        assert!(!reason.is_empty() && reason.len() <= 123);
    }
    let mut socket = Socket::open(&server, JOBS).await;
    socket.send(json!({ "type": "ack", "ack_ids": vec![""; 10_001] })).await;
    assert_eq!(socket.answer("error").await["code"], "TOO_LARGE");
    assert_eq!(socket.closed().await.0, 1009);
}

#[tokio::test]
async fn ack_ids_of_others_settle_nothing() {
    let server = server("lease: 60s", "").await;
    server.publish("declared", "one").await;
    let mut socket = Socket::open(&server, JOBS).await;
    socket.credit(1).await;
    let message = socket.message().await;
    let mut other = Socket::open(&server, "/v1/subscriptions/others/stream").await;
    let ids = json!([message["ack_id"], "made-up", "", "x".repeat(10_000)]);
    other.send(json!({ "type": "ack", "ack_ids": ids, "seq": 1 })).await;
    let settled = other.answer("settled").await;
    let outcomes = settled["outcomes"].as_array().unwrap();
    assert!(outcomes.len() == 4 && outcomes.iter().all(|one| one["status"] == 400), "{settled}");
    socket.send(json!({ "type": "ack", "ack_ids": [message["ack_id"]], "seq": 1 })).await;
    assert_eq!(socket.answer("settled").await["outcomes"][0]["status"], 200);
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_refused_before_it_is_there() {
    let server = server("lease: 60s", "limits: { max_message: 1KiB }").await;
    let mut socket = Socket::open(&server, JOBS).await;
    // The client may be cut off while it writes.
    let _ = socket.try_send_text(&"x".repeat(8 << 20)).await;
    assert_eq!(socket.closed().await.0, 1009);
    let mut socket = Socket::open(&server, JOBS).await;
    // A text frame of 2^62 bytes that are yet to come, masked.
    socket.send_raw(&[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]).await;
    assert_eq!(socket.closed().await.0, 1009);
}

#[tokio::test]
async fn broken_frames_end_the_socket() {
    let server = server("lease: 60s", "").await;
    for (bytes, expected) in [
        // Not masked, a reserved opcode, a fragmented ping, and text that is not UTF-8.
        (&[0x81, 0x01, b'x'][..], 1002),
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),
        (&[0x09, 0x80, 0, 0, 0, 0], 1002),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007),
    ] {
        let mut socket = Socket::open(&server, JOBS).await;
        socket.send_raw(bytes).await;
        assert_eq!(socket.closed().await.0, expected, "{bytes:?}");
    }
}

#[tokio::test]
async fn who_is_silent_for_too_long_is_gone_and_so_are_its_leases() {
    let server = server("lease: 60s", "limits: { idle_timeout: 1s }").await;
    server.publish("declared", "one").await;
    let mut silent = Socket::open(&server, JOBS).await;
    silent.credit(1).await;
    silent.message().await;
    let mut alive = Socket::open(&server, JOBS).await;
    alive.credit(1).await;
    // It answers pings as long as it waits, longer than the other is waited for.
    assert_eq!(alive.message().await["attempt"], 2);
    assert_eq!(silent.closed().await.0, 1008);
    alive.send(json!({ "type": "ping", "seq": 3 })).await;
    assert_eq!(alive.answer("pong").await["seq"], 3);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_from_and_in_the_end_it_is_gone() {
    let server = server("lease: 60s", "limits: { idle_timeout: 2s, max_streams: 2 }").await;
    let mut stuck = Socket::open(&server, JOBS).await;
    stuck.credit(1_000_000).await;
    let mut other = Socket::open(&server, "/v1/subscriptions/others/stream").await;
    // A question that is much shorter than its answer.
    let question = json!({ "type": "ack", "ack_ids": vec![""; 100] }).to_string();
    let mut asked = 0;
    let asking = async {
        while stuck.try_send_text(&question).await.is_ok() {
            asked += 1;
        }
    };
    let gone = eventually(PATIENCE, "room for a stream", async || {
        other.send(json!({ "type": "ping", "seq": 1 })).await;
        other.answer("pong").await;
        server.try_follow("/v1/topics/orders/stream", &[]).await.is_ok()
    });
    tokio::join!(asking, gone);
    assert!(asked < 100_000, "it was read from until it was gone: {asked}");
}

#[tokio::test]
async fn a_drain_is_told_and_what_was_handed_out_can_be_settled() {
    let mut server = server("lease: 30s", "").await;
    server.publish("declared", "one").await;
    server.publish("declared", "two").await;
    let mut socket = Socket::open(&server, JOBS).await;
    socket.credit(1).await;
    let message = socket.message().await;
    let stopping = server.begin_to_stop();
    socket.answer("draining").await;
    socket.credit(10).await;
    assert!(socket.is_silent().await, "nothing more is handed out");
    assert_eq!(refused(&server, JOBS, &[]).await["code"], "DRAINING");
    socket.send(json!({ "type": "publish", "seq": 1, "topic": "orders", "message": { "text": "x" } })).await;
    assert_eq!(socket.answer("published").await["status"], 200);
    socket.send(json!({ "type": "ack", "ack_ids": [message["ack_id"]], "seq": 2 })).await;
    assert_eq!(socket.answer("settled").await["outcomes"][0]["status"], 200);
    assert_eq!(socket.closed().await.0, 1001);
    let ended = stopping.await;
    assert!(ended.is_clean(), "{ended:?}");
}

#[tokio::test]
async fn what_is_no_handshake_is_told_why() {
    let server = server("lease: 60s", "").await;
    let problem = server.get(JOBS).problem(426, "UPGRADE_REQUIRED").await;
    assert!(problem["detail"].as_str().unwrap().contains("WebSocket"), "{problem}");
    let answer = server.get(JOBS).send().await;
    assert_eq!((answer.header("upgrade"), answer.header("sec-websocket-version")), ("websocket", "13"));
    let version = refused(&server, JOBS, &[("Sec-WebSocket-Version", "8")]).await;
    assert_eq!(version["code"], "UPGRADE_REQUIRED");
    let protocol = refused(&server, JOBS, &[("Sec-WebSocket-Protocol", "mqtt, sidespan.v9.json")]).await;
    assert_eq!(protocol["code"], "INVALID_REQUEST");
    assert!(
        protocol["detail"].as_str().unwrap().contains("sidespan.v1.json, sidespan.v1.proto"),
        "{protocol}"
    );
    assert_eq!(
        refused(&server, "/v1/subscriptions/nobody/stream", &[]).await["code"],
        "UNKNOWN_SUBSCRIPTION"
    );
    let origin = [("Origin", "https://evil.example")];
    assert_eq!(refused(&server, JOBS, &origin).await["code"], "FORBIDDEN");
    for protocols in ["mqtt, sidespan.v1.json", "sidespan.token.secret, sidespan.v1.json"] {
        let socket = Socket::open_with(&server, JOBS, &[("Sec-WebSocket-Protocol", protocols)]).await;
        assert_eq!(socket.protocol(), Some("sidespan.v1.json"));
    }
    assert_eq!(Socket::open(&server, JOBS).await.protocol(), None);
}

#[tokio::test]
async fn a_listed_page_may_open_a_socket() {
    let server = server("lease: 60s", "allowed_origins: ['https://shop.example']").await;
    let mut socket = Socket::open_with(&server, JOBS, &[("Origin", "https://shop.example")]).await;
    socket.send(json!({ "type": "ping", "seq": 1 })).await;
    socket.answer("pong").await;
}

#[tokio::test]
async fn sockets_and_event_streams_count_together() {
    let server = server("lease: 60s", "limits: { max_streams: 2 }").await;
    let socket = Socket::open(&server, JOBS).await;
    let _events = server.follow("/v1/topics/orders/stream", &[]).await;
    assert_eq!(refused(&server, JOBS, &[]).await["code"], "LIMITED");
    server.get("/v1/topics/orders/stream").problem(429, "LIMITED").await;
    drop(socket);
    eventually(PATIENCE, "room for a stream", async || {
        server.try_follow("/v1/topics/orders/stream", &[]).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_subscription_that_is_pushed_has_no_socket() {
    let push = "subscriptions:\n  jobs: { topic: declared, push: { url: 'http://127.0.0.1:1/' } }\n";
    let server = Server::with(push).await;
    assert_eq!(refused(&server, JOBS, &[]).await["code"], "NOT_PULLED");
}

#[tokio::test]
async fn where_the_broker_is_full_a_client_waits_for_its_own_messages() {
    let server = server("lease: 60s", "limits: { max_in_flight: 2 }").await;
    let mut socket = Socket::open(&server, JOBS).await;
    for seq in 0..50 {
        let message: Value = json!({ "text": "x" });
        socket.send(json!({ "type": "publish", "seq": seq, "topic": "orders", "message": message })).await;
    }
    for _ in 0..50 {
        assert_eq!(socket.answer("published").await["status"], 200);
    }
}

#[tokio::test]
async fn a_socket_has_the_rights_of_its_caller() {
    let auth = "auth: { tokens: [{ name: page, secret: page-page-page-page-page, publish: [orders], \
                subscribe: [jobs] }] }";
    let server = server("lease: 60s", auth).await;
    assert_eq!(refused(&server, JOBS, &[]).await["code"], "UNAUTHENTICATED");
    let token = URL_SAFE_NO_PAD.encode("page-page-page-page-page");
    // As a page does it, which cannot set `Authorization`.
    let protocols = format!("sidespan.v1.json, sidespan.token.{token}");
    let page = [("Sec-WebSocket-Protocol", protocols.as_str())];
    let others = refused(&server, "/v1/subscriptions/others/stream", &page).await;
    assert_eq!(others["code"], "PERMISSION_DENIED");
    assert_eq!(refused(&server, "/v1/topics/orders/stream", &page).await["code"], "PERMISSION_DENIED");
    let mut socket = Socket::open_with(&server, JOBS, &page).await;
    assert_eq!(socket.protocol(), Some("sidespan.v1.json"));
    for (topic, status) in [("orders", 200), ("declared", 403)] {
        let publish = json!({ "type": "publish", "seq": 1, "topic": topic, "message": { "text": "x" } });
        socket.send(publish).await;
        assert_eq!(socket.answer("published").await["status"], status);
    }
}

/// A server with two subscriptions to fetch from, of leases so long.
async fn server(pull: &str, sections: &str) -> Server {
    Server::with(&format!(
        "subscriptions:\n  jobs: {{ topic: declared, start: begin, pull: {{ {pull} }} }}\n\
         \x20 others: {{ topic: other, start: begin, pull: {{}} }}\n{sections}"
    ))
    .await
}

const JOBS: &str = "/v1/subscriptions/jobs/stream";
const PATIENCE: Duration = Duration::from_secs(20);
