//! Answering requests over a WebSocket, in JSON and in protobuf.

use serde_json::{Value, json};
use sidespan::proto::consumer_frame::Frame;
use sidespan::proto::{Answer, Header, ReceivedMessage, Reply};
use sidespan_test_support::eventually;

use super::client::Socket;
use super::proto::{Binary, reason};
use super::{JOBS, PATIENCE};
use crate::server::Server;

const ASKED: &str = "/v1/topics/declared/requests";

#[tokio::test]
async fn who_asked_gets_what_a_socket_replies_and_the_request_is_settled() {
    let server = running().await;
    let mut socket = Socket::open(&server, JOBS).await;
    socket.credit(10).await;
    let answering = async {
        let asked = socket.message().await;
        let message = json!({ "data": { "count": 3.0 }, "headers": [["zone", "a b"]] });
        let given = json!({ "type": "reply", "ack_id": asked["ack_id"], "status": 201, "message": message, "seq": 1 });
        socket.send(given.clone()).await;
        assert_eq!(outcome(&mut socket, Some(1)).await, json!(200));
        socket.send(given).await;
        assert_eq!(outcome(&mut socket, Some(1)).await, json!("LEASE_ENDED"));
    };
    let (answer, ()) = tokio::join!(server.post(ASKED, "how many?").send(), answering);
    assert_eq!((answer.status.as_u16(), answer.text()), (201, r#"{"count":3.0}"#));
    assert_eq!(answer.header("sidespan-header-zone"), "a%20b");
    let status = server.get("/v1/subscriptions/jobs").expect(200).await;
    assert_eq!((&status["delivered"], &status["held"]), (&json!(1), &json!(0)), "{status}");
}

#[tokio::test]
async fn what_can_be_no_reply_is_told_and_the_socket_and_the_lease_go_on() {
    let server = running().await;
    let mut socket = Socket::open(&server, JOBS).await;
    socket.credit(10).await;
    let answering = async {
        let asked = socket.message().await;
        for (wrong, code) in [
            (json!({ "status": 199 }), "INVALID_REQUEST"),
            (json!({ "status": 600 }), "INVALID_REQUEST"),
            (json!({ "message": { "tombstone": true } }), "INVALID_REQUEST"),
            (json!({ "message": { "text": "x", "key": "k" } }), "INVALID_REQUEST"),
            (
                json!({ "message": { "text": "x", "headers": [["sidespan-status", "201"]] } }),
                "INVALID_REQUEST",
            ),
            (json!({ "message": { "text": "x".repeat(1025) } }), "TOO_LARGE"),
        ] {
            let mut given = wrong.clone();
            given["type"] = json!("reply");
            given["ack_id"] = asked["ack_id"].clone();
            socket.send(given).await;
            assert_eq!(outcome(&mut socket, None).await, code, "{wrong}");
        }
        socket.send(json!({ "type": "reply", "ack_id": asked["ack_id"] })).await;
        // What was taken is told only where that was asked for.
        assert!(socket.is_silent().await);
    };
    let (answer, ()) = tokio::join!(server.post(ASKED, "?").send(), answering);
    assert_eq!((answer.status.as_u16(), answer.text(), answer.header("sidespan-reply")), (200, "", "true"));
    socket.send(json!({ "type": "reply", "ack_id": "x", "code": 1 })).await;
    assert_eq!(socket.closed().await.0, 1008, "a field that is not known");
}

#[tokio::test]
async fn a_socket_that_speaks_protobuf_replies_too() {
    let server = running().await;
    let mut socket = Binary::open(&server).await;
    socket.credit(10, 0).await;
    let answering = async {
        let asked: ReceivedMessage = socket.message().await.message.unwrap();
        let reply = |status| Reply {
            status,
            content_type: "text/x-count".into(),
            headers: vec![Header { name: "zone".into(), value: "a b".into() }],
            payload: "three".into(),
        };
        let say = |reply| Frame::Reply(Answer { ack_id: asked.ack_id.clone(), reply: Some(reply) });
        let large = Reply { payload: vec![b'x'; 1025].into(), ..reply(200) };
        for (wrong, code) in [(reply(199), "INVALID_REQUEST"), (large, "TOO_LARGE")] {
            socket.say(None, say(wrong)).await;
            let (_, outcomes) = socket.settled().await;
            assert_eq!((&outcomes[0].ack_id, reason(&outcomes[0])), (&asked.ack_id, code));
        }
        socket.say(Some(7), say(reply(0))).await;
        let (sequence, outcomes) = socket.settled().await;
        assert_eq!((sequence, reason(&outcomes[0])), (Some(7), ""));
        let crowd = Reply { headers: vec![Header::default(); 2000], ..Reply::default() };
        socket.say(Some(8), say(crowd)).await;
        socket.is_refused("too many elements", 1008).await;
    };
    let (answer, ()) = tokio::join!(server.post(ASKED, "how many?").send(), answering);
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "three"));
    assert_eq!(
        (answer.header("content-type"), answer.header("sidespan-header-zone")),
        ("text/x-count", "a%20b")
    );
}

#[tokio::test]
async fn a_message_that_awaits_no_reply_stays_leased() {
    let server = running().await;
    let mut socket = Socket::open(&server, JOBS).await;
    socket.credit(1).await;
    server.publish("declared", "no question").await;
    let message = socket.message().await;
    socket.send(json!({ "type": "reply", "ack_id": message["ack_id"] })).await;
    assert_eq!(outcome(&mut socket, None).await, "NO_REPLY_AWAITED");
    socket.send(json!({ "type": "ack", "ack_ids": [message["ack_id"]], "seq": 1 })).await;
    assert_eq!(outcome(&mut socket, Some(1)).await, 200);
}

/// Waits to be told what became of one verdict: its code, or its status where it was taken.
async fn outcome(socket: &mut Socket, seq: Option<u64>) -> Value {
    let mut settled = socket.answer("settled").await;
    assert_eq!(settled["seq"].as_u64(), seq, "{settled}");
    let outcome = &mut settled["outcomes"][0];
    if outcome["code"].is_null() { outcome["status"].take() } else { outcome["code"].take() }
}

/// A server whose subscription runs: whoever asks before is told that nobody listens.
async fn running() -> Server {
    let server = super::server("lease: 60s", "limits: { max_message: 1KiB }").await;
    eventually(PATIENCE, "a subscription that runs", async || {
        server.get("/v1/subscriptions/jobs").expect(200).await["state"] == "running"
    })
    .await;
    server
}
