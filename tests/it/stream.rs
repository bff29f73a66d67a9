//! Following a topic.

use std::time::Duration;

use serde_json::{Value, json};
use sidespan_test_support::eventually;

use crate::server::Server;

fn text(message: &Value) -> &str {
    message["text"].as_str().unwrap()
}

#[tokio::test]
async fn a_stream_shows_what_comes_and_counts_what_was_there() {
    let server = Server::start().await;
    server.publish("orders", "one").await;
    server.publish("orders", "two").await;
    let mut end = server.follow("/v1/topics/orders/stream", &[]).await;
    assert_eq!(end.header("sidespan-stored-earlier"), Some("2"));
    let mut begin = server.follow("/v1/topics/orders/stream?start=begin", &[]).await;
    assert_eq!(begin.header("sidespan-stored-earlier"), None);
    server.publish("orders", "three").await;
    let (_, message) = end.message().await;
    assert_eq!(text(&message), "three");
    for expected in ["one", "two", "three"] {
        assert_eq!(text(&begin.message().await.1), expected);
    }
}

#[tokio::test]
async fn a_reader_goes_on_behind_what_it_has_seen() {
    let server = Server::start().await;
    for body in ["one", "two", "three"] {
        server.publish("orders", body).await;
    }
    let mut first = server.follow("/v1/topics/orders/stream?start=begin", &[]).await;
    first.message().await;
    let (id, message) = first.message().await;
    let id = id.unwrap();
    drop(first);
    let mut second = server.follow("/v1/topics/orders/stream?start=begin", &[("Last-Event-ID", &id)]).await;
    assert_eq!(text(&second.message().await.1), "three");
    let position = message["position"].as_str().unwrap();
    let mut at = server.follow(&format!("/v1/topics/orders/stream?start={position}"), &[]).await;
    assert_eq!(text(&at.message().await.1), "two", "a position that is asked for is inclusive");
    server.get("/v1/topics/orders/stream?start=x").problem(400, "INVALID_REQUEST").await;
    server.get("/v1/topics/orders/stream?from=begin").problem(400, "INVALID_REQUEST").await;
    for (topic, id) in [("orders", "x"), ("orders", "0-1"), ("payments", id.as_str())] {
        let path = format!("/v1/topics/{topic}/stream");
        let problem = server.get(&path).header("Last-Event-ID", id).problem(400, "INVALID_REQUEST").await;
        assert!(problem["detail"].as_str().unwrap().contains("Last-Event-ID"), "{problem}");
    }
}

#[tokio::test]
async fn a_reader_that_saw_nothing_yet_has_no_gap_and_no_history() {
    let server = Server::start().await;
    server.publish("orders.eu", "earlier").await;
    for path in ["/v1/topics/orders.eu/stream", "/v1/topics/orders.*/stream", "/v1/topics/later.*/stream"] {
        let mut first = server.follow(path, &[]).await;
        let id = first.id().await;
        drop(first);
        let topic = if path.contains("later") { "later.eu" } else { "orders.eu" };
        server.publish(topic, "meanwhile").await;
        server.publish(topic, "next").await;
        let id = server.follow(path, &[("Last-Event-ID", &id)]).await.id().await;
        let mut second = server.follow(path, &[("Last-Event-ID", &id)]).await;
        let (id, message) = second.message().await;
        assert_eq!(text(&message), "meanwhile", "{path}");
        drop(second);
        let mut third = server.follow(path, &[("Last-Event-ID", &id.unwrap())]).await;
        assert_eq!(text(&third.message().await.1), "next", "{path}");
    }
}

#[tokio::test]
async fn a_pattern_shows_topics_that_are_made_later() {
    let server = Server::start().await;
    server.publish("orders.eu", "one").await;
    let mut events = server.follow("/v1/topics/orders.*/stream?start=begin", &[]).await;
    server.publish("payments", "not this one").await;
    server.publish("orders.us", "two").await;
    let (id, message) = events.message().await;
    assert_eq!((&message["topic"], text(&message)), (&json!("orders.eu"), "one"));
    let (_, message) = events.message().await;
    assert_eq!((&message["topic"], text(&message)), (&json!("orders.us"), "two"));
    let mut again = server.follow("/v1/topics/orders.*/stream", &[("Last-Event-ID", &id.unwrap())]).await;
    assert_eq!(text(&again.message().await.1), "two");
    server.get("/v1/topics/orders*/stream").problem(400, "INVALID_REQUEST").await;
}

#[tokio::test]
async fn a_message_is_one_line_whatever_is_in_it() {
    let server = Server::start().await;
    let json = "{\n  \"a\": \"line\\nbreak\"\r\n}";
    let send = |body: &'static str, content_type: &'static str| {
        server.post("/v1/topics/orders/messages", body).header("Content-Type", content_type)
    };
    send(json, "application/json").expect(200).await;
    send("data: x\n\nevent: y\n\n", "text/plain").expect(200).await;
    let messages = server.messages("orders", 2).await;
    assert_eq!(messages[0]["data"], json!({"a": "line\nbreak"}));
    assert_eq!(text(&messages[1]), "data: x\n\nevent: y\n\n");
}

#[tokio::test]
async fn streams_are_counted_and_end_with_the_server() {
    let server = Server::with("limits: { max_streams: 2 }").await;
    let path = "/v1/topics/orders/stream";
    let mut first = server.follow(path, &[]).await;
    let second = server.follow(path, &[]).await;
    let problem = server.get(path).problem(429, "LIMITED").await;
    assert!(problem["detail"].as_str().unwrap().contains("limits.max_streams"), "{problem}");
    drop(second);
    let mut third = None;
    eventually(Duration::from_secs(5), "room for a stream", async || {
        third = server.try_follow(path, &[]).await.ok();
        third.is_some()
    })
    .await;
    let stopped = tokio::spawn(server.stop());
    first.end().await;
    third.unwrap().end().await;
    assert!(stopped.await.unwrap().is_clean(), "no connection had to be cut");
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_up_nobody() {
    let server = Server::start().await;
    let stuck = server.follow("/v1/topics/orders/stream", &[]).await;
    let mut quick = server.follow("/v1/topics/orders/stream", &[]).await;
    let body = "x".repeat(100_000);
    for _ in 0..200 {
        server.publish("orders", body.clone()).await;
        assert_eq!(text(&quick.message().await.1).len(), body.len());
    }
    drop(stuck);
}

#[tokio::test]
async fn a_stream_needs_a_topic() {
    let server = Server::start().await;
    server.get("/v1/topics/missing/stream").problem(404, "UNKNOWN_TOPIC").await;
    server.get("/v1/topics/address.of.declared/stream").problem(404, "UNKNOWN_TOPIC").await;
}
