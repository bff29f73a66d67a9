//! Following a topic over a WebSocket, and together with others.

use std::time::Duration;

use serde_json::Value;
use sidespan_test_support::eventually;

use crate::server::Server;
use crate::socket::client::{Socket, refused};

const ORDERS: &str = "/v1/topics/orders/stream";

fn text(message: &Value) -> &str {
    message["text"].as_str().unwrap()
}

#[tokio::test]
async fn a_socket_shows_what_comes_and_counts_what_was_there() {
    let server = Server::start().await;
    server.publish("orders", "one").await;
    let mut end = Socket::open(&server, ORDERS).await;
    assert_eq!(end.answer("opening").await["stored_earlier"], 1);
    let mut begin = Socket::open(&server, &format!("{ORDERS}?start=begin")).await;
    assert!(begin.answer("opening").await["stored_earlier"].is_null());
    server.publish("orders", "two").await;
    assert_eq!(text(&end.message().await), "two");
    assert_eq!(text(&begin.message().await), "one");
    assert_eq!(text(&begin.message().await), "two");
}

#[tokio::test]
async fn a_socket_goes_on_behind_what_was_seen() {
    let server = Server::start().await;
    let mut first = Socket::open(&server, ORDERS).await;
    let opening = first.answer("opening").await["id"].as_str().unwrap().to_owned();
    server.publish("orders", "one").await;
    server.publish("orders", "two").await;
    let seen = first.answer("message").await["id"].as_str().unwrap().to_owned();
    drop(first);
    for (id, expected) in [(opening, "one"), (seen, "two")] {
        let mut second = Socket::open(&server, &format!("{ORDERS}?start=begin&last_event_id={id}")).await;
        second.answer("opening").await;
        assert_eq!(text(&second.message().await), expected);
        // Events and frames have the same ids.
        let mut events = server.follow(ORDERS, &[("Last-Event-ID", &id)]).await;
        assert_eq!(text(&events.message().await.1), expected);
    }
    assert_eq!(refused(&server, &format!("{ORDERS}?last_event_id=x"), &[]).await["code"], "INVALID_REQUEST");
}

#[tokio::test]
async fn all_who_follow_are_shown_everything_in_order() {
    let server = Server::start().await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let mut socket = Socket::open(&server, ORDERS).await;
        socket.answer("opening").await;
        sockets.push(socket);
    }
    let mut events = server.follow(ORDERS, &[]).await;
    let lines: String = (0..2000).map(|n| format!("{{\"data\":{n}}}\n")).collect();
    let batch =
        server.post("/v1/topics/orders/batches", lines).header("content-type", "application/x-ndjson");
    batch.expect(200).await;
    for socket in &mut sockets {
        for n in 0..2000 {
            assert_eq!(socket.message().await["data"], n);
        }
    }
    for n in 0..2000 {
        assert_eq!(events.message().await.1["data"], n);
    }
}

#[tokio::test]
async fn who_falls_behind_the_others_misses_nothing() {
    let server = Server::start().await;
    let mut slow = Socket::open(&server, ORDERS).await;
    slow.answer("opening").await;
    let mut quick = Socket::open(&server, ORDERS).await;
    quick.answer("opening").await;
    // More than sockets and the tail hold.
    let body = "x".repeat(100_000);
    for n in 0..300 {
        server.publish("orders", format!("{n} {body}")).await;
        assert!(text(&quick.message().await).starts_with(&format!("{n} ")));
    }
    for n in 0..300 {
        assert!(text(&slow.message().await).starts_with(&format!("{n} ")), "{n}");
    }
    server.publish("orders", "last").await;
    assert_eq!(text(&slow.message().await), "last");
    assert_eq!(text(&quick.message().await), "last");
}

/// Who has caught up reads on with the others, whichever of them was there first.
#[tokio::test]
async fn nothing_is_missed_or_repeated_where_readers_come_together() {
    // Sockets are looked after three times as often.
    let server = Server::with("limits: { idle_timeout: 1s }").await;
    server.publish("orders", "0").await;
    let mut sockets = Vec::new();
    for (count, start) in ["?start=begin", "?start=begin", "", "?start=begin"].into_iter().enumerate() {
        let mut socket = Socket::open(&server, &format!("{ORDERS}{start}")).await;
        socket.answer("opening").await;
        for n in 0..=count {
            if !start.is_empty() {
                assert_eq!(text(&socket.message().await), n.to_string());
            }
        }
        sockets.push(socket);
        // Longer than it takes to be looked after, and answered pings all the while.
        let idle = sockets.iter_mut().map(|socket| socket.is_silent_for(Duration::from_millis(700)));
        assert!(futures_util::future::join_all(idle).await.into_iter().all(|silent| silent));
        server.publish("orders", (count + 1).to_string()).await;
        for socket in &mut sockets {
            assert_eq!(text(&socket.message().await), (count + 1).to_string());
        }
    }
}

#[tokio::test]
async fn when_all_have_left_the_next_begins_anew() {
    let server = Server::start().await;
    for round in 0..3 {
        let mut socket = Socket::open(&server, ORDERS).await;
        assert_eq!(socket.answer("opening").await["stored_earlier"].as_u64().unwrap_or(0), round);
        server.publish("orders", format!("{round}")).await;
        assert_eq!(text(&socket.message().await), round.to_string());
    }
}

#[tokio::test]
async fn a_client_of_a_topic_has_nothing_to_say() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server, ORDERS).await;
    socket.send_text("{}").await;
    assert_eq!(socket.closed().await.0, 1008);
    let mut socket = Socket::open(&server, ORDERS).await;
    let _ = socket.try_send_text(&"x".repeat(1 << 20)).await;
    assert_eq!(socket.closed().await.0, 1009);
}

#[tokio::test]
async fn a_socket_ends_with_the_server() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server, ORDERS).await;
    socket.answer("opening").await;
    let stopped = tokio::spawn(server.stop());
    assert_eq!(socket.closed().await.0, 1001);
    assert!(stopped.await.unwrap().is_clean());
}

#[tokio::test]
async fn what_cannot_be_followed_is_told_before_the_socket_is_open() {
    let server = Server::with("limits: { max_streams: 1, idle_timeout: 2s }").await;
    assert_eq!(refused(&server, "/v1/topics/missing/stream", &[]).await["code"], "UNKNOWN_TOPIC");
    assert_eq!(refused(&server, &format!("{ORDERS}?start=x"), &[]).await["code"], "INVALID_REQUEST");
    let protocol = [("Sec-WebSocket-Protocol", "mqtt")];
    assert_eq!(refused(&server, ORDERS, &protocol).await["code"], "INVALID_REQUEST");
    let origin = [("Origin", "https://evil.example")];
    assert_eq!(refused(&server, ORDERS, &origin).await["code"], "FORBIDDEN");
    let version = [("Sec-WebSocket-Version", "7")];
    assert_eq!(refused(&server, ORDERS, &version).await["code"], "UPGRADE_REQUIRED");
    // It answers no pings, and in the end it is gone.
    let _silent = Socket::open(&server, ORDERS).await;
    assert_eq!(refused(&server, ORDERS, &[]).await["code"], "LIMITED");
    eventually(Duration::from_secs(20), "room for a stream", async || {
        server.try_follow(ORDERS, &[]).await.is_ok()
    })
    .await;
}
