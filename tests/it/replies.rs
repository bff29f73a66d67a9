//! Services that speak only HTTP answer requests.

use std::time::Duration;

use serde_json::json;
use sidespan_test_support::{Answer, Received, Webhook, eventually};

use crate::server::Server;

const ASKED: &str = "/v1/topics/asked/requests";

/// Starts a server that asks this webhook what is asked at `asked`.
async fn answering(webhook: &Webhook, more: &str, limits: &str) -> Server {
    let push = format!("push: {{ url: '{}', reply: true, timeout: 1s }}", webhook.url("/ask"));
    let retry = "retry: { max_attempts: 2, backoff: { base: 10ms, cap: 20ms } }";
    let sections = format!(
        "limits: {{ {limits} }}\nsubscriptions:\n  asked: {{ topic: asked, {push}, {retry}{more} }}\n"
    );
    let server = Server::with(&sections).await;
    eventually(Duration::from_secs(10), "a subscription that runs", async || {
        server.get("/v1/subscriptions/asked").expect(200).await["state"] == "running"
    })
    .await;
    server
}

fn echo(request: &Received) -> Answer {
    Answer::status(201)
        .header("content-type", "application/json")
        .header("x-total", "42")
        .header("set-cookie", "a=b")
        .header("server", "secret")
        .body(format!("{{\"asked\": {:?}}}", request.text()))
}

#[tokio::test]
async fn the_answer_of_an_http_service_is_the_reply() {
    let webhook = Webhook::start(echo).await;
    let server = answering(&webhook, "", "").await;
    let answer = server.post(ASKED, "how many?").send().await;
    assert_eq!((answer.status.as_u16(), answer.header("sidespan-reply")), (201, "true"), "{}", answer.text());
    assert_eq!(answer.json(), json!({"asked": "how many?"}));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("sidespan-header-x-total"), "42");
    for name in ["set-cookie", "server", "date", "content-length", "sidespan-status"] {
        assert_eq!(answer.header(&format!("sidespan-header-{name}")), "", "{name}");
    }
    let asked = &webhook.received()[0];
    assert!(asked.headers.contains_key("sidespan-reply-to"), "{asked:?}");
    assert!(asked.headers.contains_key("sidespan-correlation-id"), "{asked:?}");
    eventually(Duration::from_secs(10), "the request to be settled", async || {
        let status = server.get("/v1/subscriptions/asked").expect(200).await;
        status["delivered"] == 1 && status["held"] == 0
    })
    .await;
}

/// What a service says of a request is for who asked: nothing of it is tried again, or a dead letter.
#[tokio::test]
async fn refusals_and_errors_are_replies_too() {
    for status in [302, 400, 401, 404, 410, 422, 500] {
        let webhook = Webhook::start(move |_| Answer::status(status).body("no")).await;
        let server = answering(&webhook, "", "").await;
        let answer = server.post(ASKED, "x").send().await;
        assert_eq!((answer.status.as_u16(), answer.text()), (status, "no"));
        assert_eq!(webhook.received().len(), 1, "{status}");
        assert_eq!(server.get("/v1/subscriptions/asked").expect(200).await["dead_lettered"], 0);
    }
}

/// A service that is away for a moment is asked again, and who asked gets the one answer.
#[tokio::test]
async fn a_service_that_is_away_is_tried_again() {
    let webhook =
        Webhook::start(
            |request| if request.number < 3 { Answer::status(503) } else { Answer::ok().body("ok") },
        )
        .await;
    let server = answering(&webhook, "", "").await;
    let answer = server.post(ASKED, "x").send().await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok"));
    assert_eq!(webhook.received().len(), 4);
}

/// The dead letter is stored as ever, and who asked is told; without a place for it, that is the end of it.
#[tokio::test]
async fn a_service_that_does_not_answer_is_told_to_who_asked() {
    for (more, dead) in [("", 1), (", dead_letter: false", 0)] {
        let webhook = Webhook::start(|_| Answer::cut()).await;
        let server = answering(&webhook, more, "").await;
        let answer = server.post(ASKED, "x").send().await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("sidespan-reply")),
            (504, "true"),
            "{}",
            answer.text()
        );
        assert_eq!(webhook.received().len(), 2);
        let status = server.get("/v1/subscriptions/asked").expect(200).await;
        assert_eq!(
            (&status["dead_lettered"], &status["dropped"]),
            (&json!(dead), &json!(1 - dead)),
            "{status}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_said_to_be() {
    let webhook = Webhook::start(|_| Answer::ok().body(vec![b'x'; 2000])).await;
    let server = answering(&webhook, "", "max_message: 1KiB").await;
    let answer = server.post(ASKED, "x").send().await;
    assert_eq!((answer.status.as_u16(), answer.header("sidespan-reply")), (502, "true"));
    assert!(answer.text().contains("larger"), "{}", answer.text());
    assert_eq!(webhook.received().len(), 1);
}

/// Nobody waits any more: the request is settled all the same, once.
#[tokio::test]
async fn an_asker_that_is_gone_harms_nobody() {
    let webhook = Webhook::start(|_| Answer::ok().after(Duration::from_millis(500))).await;
    let server = answering(&webhook, "", "").await;
    let asked = server.post(ASKED, "x").header("Sidespan-Timeout", "100ms");
    asked.problem(504, "TIMEOUT").await;
    eventually(Duration::from_secs(10), "the request to be settled", async || {
        let status = server.get("/v1/subscriptions/asked").expect(200).await;
        status["delivered"] == 1 && status["held"] == 0
    })
    .await;
    assert_eq!(webhook.received().len(), 1);
}

/// A message that awaits no reply is delivered as ever.
#[tokio::test]
async fn what_is_no_request_is_delivered_as_ever() {
    let webhook = Webhook::start(|_| Answer::status(422)).await;
    let server = answering(&webhook, "", "").await;
    server.publish("asked", "x").await;
    eventually(Duration::from_secs(10), "a dead letter", async || {
        server.get("/v1/subscriptions/asked").expect(200).await["dead_lettered"] == 1
    })
    .await;
}
