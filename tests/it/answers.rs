//! Services that fetch answer requests.

use std::time::Duration;

use serde_json::{Value, json};
use sidespan_test_support::eventually;

use crate::server::{Call, Server};

const ASKED: &str = "/v1/topics/asked/requests";

#[tokio::test]
async fn who_asked_gets_what_a_consumer_replies_and_the_request_is_settled() {
    let server = server("pull: {}").await;
    let asking = server.post(ASKED, "how many?").send();
    let answering = async {
        let asked = pull(&server).await;
        assert_eq!((&asked["text"], &asked["topic"]), (&json!("how many?"), &json!("asked")), "{asked}");
        assert!(asked["reply_to"].is_string() && asked["correlation_id"].is_string(), "{asked}");
        let message = json!({ "data": { "count": 3 }, "headers": [["zone", "a b"]] });
        let given = json!({ "ack_id": asked["ack_id"], "status": 201, "message": message });
        let answer = reply(&server, &given).send().await;
        assert_eq!((answer.status.as_u16(), answer.text()), (204, ""));
        given
    };
    let (answer, given) = tokio::join!(asking, answering);
    assert_eq!((answer.status.as_u16(), answer.header("sidespan-reply")), (201, "true"), "{}", answer.text());
    assert_eq!(answer.json(), json!({ "count": 3 }));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("sidespan-header-zone"), "a%20b");
    reply(&server, &given).problem(409, "LEASE_ENDED").await;
    let status = server.get("/v1/subscriptions/asked").expect(200).await;
    assert_eq!((&status["delivered"], &status["held"]), (&json!(1), &json!(0)), "{status}");
}

#[tokio::test]
async fn a_reply_may_be_nothing_but_its_status() {
    let server = server("pull: {}").await;
    for status in [200, 404, 503] {
        let answering = async {
            let asked = pull(&server).await;
            reply(&server, &json!({ "ack_id": asked["ack_id"], "status": status })).send().await
        };
        let (answer, given) = tokio::join!(server.post(ASKED, "?").send(), answering);
        assert_eq!(given.status, 204);
        assert_eq!(
            (answer.status.as_u16(), answer.text(), answer.header("sidespan-reply")),
            (status, "", "true")
        );
    }
}

#[tokio::test]
async fn a_message_that_awaits_no_reply_stays_leased() {
    let server = server("pull: {}").await;
    server.publish("asked", "no question").await;
    let message = pull(&server).await;
    assert!(message.get("reply_to").is_none(), "{message}");
    reply(&server, &json!({ "ack_id": message["ack_id"] })).problem(409, "NO_REPLY_AWAITED").await;
    let acked = json!({ "ack_ids": [message["ack_id"]] }).to_string();
    server.post("/v1/subscriptions/asked/ack", acked).expect(200).await;
}

#[tokio::test]
async fn only_who_has_the_lease_can_answer() {
    let server = server("pull: { lease: 1s }").await;
    let answering = async {
        let first = pull(&server).await;
        let second = pull(&server).await;
        assert_eq!(second["attempt"], 2, "{second}");
        let given =
            |asked: &Value, text: &str| json!({ "ack_id": asked["ack_id"], "message": { "text": text } });
        reply(&server, &given(&first, "late")).problem(409, "LEASE_ENDED").await;
        assert_eq!(reply(&server, &given(&second, "in time")).send().await.status, 204);
    };
    let (answer, ()) = tokio::join!(server.post(ASKED, "?").send(), answering);
    assert_eq!(answer.text(), "in time");
}

/// Nobody waits any more: the request is settled all the same.
#[tokio::test]
async fn a_reply_to_an_asker_that_is_gone_settles_the_request() {
    let server = server("pull: {}").await;
    server.post(ASKED, "?").header("Sidespan-Timeout", "200ms").problem(504, "TIMEOUT").await;
    let asked = pull(&server).await;
    assert_eq!(reply(&server, &json!({ "ack_id": asked["ack_id"] })).send().await.status, 204);
    eventually(PATIENCE, "the request to be settled", async || {
        server.get("/v1/subscriptions/asked").expect(200).await["held"] == 0
    })
    .await;
}

/// Somebody else may answer, or the consumer by another way: silence tells who asked nothing.
#[tokio::test]
async fn a_request_that_is_given_up_is_a_dead_letter_and_no_reply() {
    let server = server("pull: {}, retry: { max_attempts: 1 }").await;
    let refusing = async {
        let asked = pull(&server).await;
        let back = json!({ "ack_ids": [asked["ack_id"]] }).to_string();
        server.post("/v1/subscriptions/asked/nack", back).expect(200).await;
        server.messages("dead.shop.asked", 1).await
    };
    let asking = server.post(ASKED, "?").header("Sidespan-Timeout", "2s").problem(504, "TIMEOUT");
    let (_, dead) = tokio::join!(asking, refusing);
    assert_eq!(dead[0]["text"], "?");
}

#[tokio::test]
async fn what_can_be_no_reply_is_refused_and_the_lease_goes_on() {
    let server = server("pull: {}").await;
    let answering = async {
        let asked = pull(&server).await;
        for wrong in [
            json!({ "status": 199 }),
            json!({ "status": 600 }),
            json!({ "message": { "tombstone": true } }),
            json!({ "message": { "text": "x", "key": "k" } }),
            json!({ "message": { "text": "x", "id": "1" } }),
            json!({ "message": { "text": "x", "partition": 0 } }),
            json!({ "message": { "text": "x", "headers": [["sidespan-status", "201"]] } }),
            json!({ "message": {} }),
            json!({ "ack_ids": [] }),
        ] {
            let mut given = wrong.clone();
            given["ack_id"] = asked["ack_id"].clone();
            reply(&server, &given).problem(400, "INVALID_REQUEST").await;
        }
        reply(&server, &json!({ "ack_id": "made-up" })).problem(400, "INVALID_REQUEST").await;
        assert_eq!(reply(&server, &json!({ "ack_id": asked["ack_id"] })).send().await.status, 204);
    };
    let (answer, ()) = tokio::join!(server.post(ASKED, "?").send(), answering);
    assert_eq!((answer.status.as_u16(), answer.header("sidespan-reply")), (200, "true"));
}

/// A server with a subscription to fetch requests from, which runs.
async fn server(keys: &str) -> Server {
    let server = Server::with(&format!("subscriptions:\n  asked: {{ topic: asked, {keys} }}\n")).await;
    eventually(PATIENCE, "a subscription that runs", async || {
        server.get("/v1/subscriptions/asked").expect(200).await["state"] == "running"
    })
    .await;
    server
}

/// Fetches one message.
async fn pull(server: &Server) -> Value {
    let wish = json!({ "max_messages": 1, "wait": "10s" }).to_string();
    let pulled = server.post("/v1/subscriptions/asked/pull", wish).expect(200).await;
    pulled["messages"][0].clone()
}

fn reply(server: &Server, given: &Value) -> Call {
    server.post("/v1/subscriptions/asked/reply", given.to_string())
}

const PATIENCE: Duration = Duration::from_secs(10);
