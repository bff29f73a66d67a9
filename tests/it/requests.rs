//! Asking, and what is told of the reply.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use sidespan_test_support::eventually;

use crate::server::Server;
use crate::trouble::FAULTS;

const ASKED: &str = "/v1/topics/asked/requests";

/// Starts a server where somebody listens, and says nothing.
async fn listening(sections: &str) -> Server {
    let listener = "subscriptions:\n  silent: { topic: asked, pull: {} }\n";
    let server = Server::with(&format!("{sections}{listener}")).await;
    eventually(Duration::from_secs(10), "a subscription that runs", async || {
        server.get("/v1/subscriptions/silent").expect(200).await["state"] == "running"
    })
    .await;
    server
}

#[tokio::test]
async fn a_reply_is_the_answer_with_its_status_and_its_headers() {
    let server = Server::start().await;
    let answer = server
        .post(ASKED, "how many?")
        .header("Content-Type", "text/x-question")
        .header("Sidespan-Header-Trouble", "reply")
        .header("Sidespan-Header-Status", "418")
        .header("Sidespan-Header-Zone", "a%00b")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .send()
        .await;
    assert_eq!(answer.status, 418);
    assert_eq!(answer.text(), "how many?");
    assert_eq!(answer.header("content-type"), "text/x-question");
    assert_eq!(answer.header("sidespan-reply"), "true");
    assert_eq!(answer.header("sidespan-header-zone"), "a%00b");
    assert!(answer.header("traceparent").starts_with("00-0af7"));
    assert_eq!(answer.header("sidespan-header-sidespan-status"), "", "that is the status");
    for (told, status) in [("200", 200), ("204", 204), ("503", 503), ("99", 200), ("OK", 200)] {
        let asked = server.post(ASKED, "").header("Sidespan-Header-Trouble", "reply");
        let answer = asked.header("Sidespan-Header-Status", told).send().await;
        assert_eq!((answer.status.as_u16(), answer.header("sidespan-reply")), (status, "true"), "{told}");
    }
}

#[tokio::test]
async fn a_cloud_event_comes_back_as_one() {
    let server = Server::start().await;
    let asked = server.post(ASKED, "{}").header("Sidespan-Header-Trouble", "reply");
    let event = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "a%20b")];
    let asked = event.iter().fold(asked, |asked, (name, value)| asked.header(name, value));
    let answer = asked.send().await;
    assert_eq!((answer.header("ce-type"), answer.header("ce-id")), ("a%20b", "1"));
}

/// What fails is a problem, and nobody takes it for a reply.
#[tokio::test]
async fn every_failure_at_the_broker_is_told() {
    let server = Server::start().await;
    for (name, _) in FAULTS {
        let answer = server.post(ASKED, "x").header("Sidespan-Header-Trouble", name).send().await;
        assert!(answer.status.as_u16() >= 400, "{name}: {}", answer.status);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{name}");
        assert_eq!(answer.header("sidespan-reply"), "", "{name}");
    }
}

#[tokio::test]
async fn nobody_there_is_said_at_once_and_nobody_who_answers_at_the_deadline() {
    let server = listening("").await;
    let began = Instant::now();
    server.post("/v1/topics/nobody/requests", "x").problem(404, "UNROUTABLE").await;
    server.post("/v1/topics/nobody/requests", "x").problem(404, "UNROUTABLE").await;
    assert!(began.elapsed() < Duration::from_secs(5), "said after {:?}", began.elapsed());
    let asked = server.post(ASKED, "x").header("Sidespan-Timeout", "300ms");
    let problem = asked.problem(504, "TIMEOUT").await;
    assert_eq!((&problem["outcome"], &problem["retryable"]), (&"unknown".into(), &true.into()), "{problem}");
}

#[tokio::test]
async fn what_can_be_no_request_is_refused() {
    let server = Server::start().await;
    let problem =
        server.post(ASKED, "x").header("Idempotency-Key", "1").problem(400, "INVALID_REQUEST").await;
    assert!(problem["detail"].as_str().unwrap().contains("idempotency key"), "{problem}");
    server
        .post(ASKED, "x")
        .header("Sidespan-Header-Sidespan-Status", "1")
        .problem(400, "INVALID_REQUEST")
        .await;
    server.post(ASKED, vec![b'x'; (1 << 20) + 1]).problem(413, "TOO_LARGE").await;
    server.call(Method::GET, ASKED, Bytes::new()).problem(405, "METHOD_NOT_ALLOWED").await;
}

/// Headers can be more than the body of any message; nobody would read them.
#[tokio::test]
async fn a_reply_that_nobody_would_take_is_said_to_be_too_large() {
    let server = Server::with("limits: { max_message: 1KiB }").await;
    let asked = server.post(ASKED, vec![b'x'; 1000]).header("Sidespan-Header-Trouble", "reply");
    let problem = asked.header("Sidespan-Header-More", "x".repeat(100)).problem(413, "REPLY_TOO_LARGE").await;
    assert_eq!(problem["outcome"], "unknown", "{problem}");
    let server = Server::start().await;
    let asked = server.post(ASKED, "x").header("Sidespan-Header-Trouble", "reply");
    let asked =
        (0..4).fold(asked, |asked, n| asked.header(&format!("Sidespan-Header-{n}"), "x".repeat(9000)));
    asked.problem(413, "REPLY_TOO_LARGE").await;
}

/// One too many is told when to come back; callers that go away make room at once.
#[tokio::test]
async fn requests_that_await_replies_are_bounded_and_give_way() {
    let server = listening("limits: { max_requests: 2 }\n").await;
    let ask = || server.post(ASKED, "x").header("Sidespan-Timeout", "1s");
    let asked = join_all((0..3).map(|_| ask().send())).await;
    let mut statuses: Vec<u16> = asked.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [429, 504, 504]);
    let refused = asked.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.json()["code"], "LIMITED");
    assert!(refused.text().contains("limits.max_requests"), "{}", refused.text());

    let slow = || server.post(ASKED, "x").header("Sidespan-Timeout", "30s").send();
    let gone = tokio::time::timeout(Duration::from_millis(300), join_all([slow(), slow()])).await;
    assert!(gone.is_err(), "nobody replies");
    eventually(Duration::from_secs(10), "room for another request", async || {
        ask().send().await.status == 504
    })
    .await;
}
