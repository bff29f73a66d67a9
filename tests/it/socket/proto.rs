//! The same in protobuf.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use sidespan::proto::consumer_answer::{Answer, Handed};
use sidespan::proto::consumer_frame::{Frame, Ping};
use sidespan::proto::outcome::Result::{Failure, Receipt};
use sidespan::proto::{
    self, Acknowledge, ConsumerAnswer, ConsumerFrame, Credit, Extend, Guarantee, Header, Message, Nack,
    Settled,
};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::Message as WebSocketFrame;

use super::client::{Socket, refused};
use super::{JOBS, PATIENCE, server};
use crate::server::Server;

#[tokio::test]
async fn messages_come_as_there_is_credit_and_an_ack_is_told_once_the_broker_has_it() {
    let server = server("lease: 60s", "").await;
    let mut socket = Binary::open(&server).await;
    server.publish("declared", "one").await;
    server.publish("declared", "two").await;
    assert!(socket.is_silent().await, "without credit nothing comes");
    socket.credit(1, 0).await;
    let Handed { message: Some(one), bytes } = socket.message().await else { panic!("no message") };
    let message = one.message.unwrap();
    assert_eq!((message.topic.as_str(), &message.payload), ("declared", &Bytes::from_static(b"one")));
    assert_eq!((one.attempt, bytes), (1, 3));
    assert!(one.lease.is_some_and(|lease| (1..=60).contains(&lease.seconds)), "{:?}", one.lease);
    assert!(socket.is_silent().await, "the credit was for one");
    socket.say(Some(7), Frame::Acknowledge(Acknowledge { ack_ids: vec![one.ack_id.clone()] })).await;
    assert_eq!(socket.settled().await, (Some(7), vec![Settled { ack_id: one.ack_id, failure: None }]));
    assert_eq!(server.get("/v1/subscriptions/jobs").expect(200).await["delivered"], 1);
    socket.credit(1, 0).await;
    assert_eq!(socket.message().await.message.unwrap().message.unwrap().payload, "two");
}

#[tokio::test]
async fn a_message_that_is_published_has_a_receipt_and_comes_to_who_consumes() {
    let server = server("lease: 60s", "").await;
    let mut socket = Binary::open(&server).await;
    let message = Message {
        topic: "declared".into(),
        id: "o-1".into(),
        key: Some(vec![0, 255]),
        content_type: "application/octet-stream".into(),
        headers: vec![Header { name: "tenant".into(), value: vec![255] }],
        payload: Bytes::from(vec![0, 159, 146, 150]),
        ..Message::default()
    };
    socket.say(Some(0), Frame::Publish(message.clone())).await;
    let (sequence, Some(Receipt(receipt))) = socket.published().await else { panic!("no receipt") };
    assert_eq!((sequence, receipt.id.as_str(), receipt.guarantee()), (0, "o-1", Guarantee::AtLeastOnce));
    socket.credit(1, 0).await;
    let received = socket.message().await.message.unwrap().message.unwrap();
    // It tells where it was found, too.
    assert_eq!(received, Message { partition: Some(0), ..message });
}

#[tokio::test]
async fn a_message_that_cannot_be_published_fails_alone() {
    let server = server("lease: 60s", "limits: { max_message: 1KiB }").await;
    let mut socket = Binary::open(&server).await;
    let message = |topic: &str, payload: usize| Message {
        topic: topic.into(),
        payload: vec![b'x'; payload].into(),
        ..Message::default()
    };
    let header = Header { name: "not a name".into(), value: Vec::new() };
    for (sequence, message, reason) in [
        (1, message("missing", 1), "UNKNOWN_TOPIC"),
        (2, message("", 1), "INVALID_REQUEST"),
        (3, message("orders", 2000), "TOO_LARGE"),
        (4, Message { tombstone: true, ..message("orders", 1) }, "INVALID_REQUEST"),
        (5, Message { headers: vec![header], ..message("orders", 1) }, "INVALID_REQUEST"),
    ] {
        socket.say(Some(sequence), Frame::Publish(message)).await;
        let (told, Some(Failure(failure))) = socket.published().await else { panic!("no failure") };
        assert_eq!((told, failure.reason.as_str()), (sequence, reason), "{failure:?}");
    }
    socket.say(Some(6), Frame::Publish(message("orders", 1024))).await;
    assert!(matches!(socket.published().await, (6, Some(Receipt(_)))));
}

#[tokio::test]
async fn what_is_given_back_comes_again_and_only_failures_are_told_unasked() {
    let server = server("lease: 1s", "").await;
    server.publish("declared", "one").await;
    let mut socket = Binary::open(&server).await;
    socket.credit(10, 0).await;
    let first = socket.message().await.message.unwrap();
    let ack_ids = vec![first.ack_id.clone()];
    let lease = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    socket.say(Some(1), Frame::Extend(Extend { ack_ids: ack_ids.clone(), lease: lease(60) })).await;
    assert_eq!(
        socket.settled().await,
        (Some(1), vec![Settled { ack_id: first.ack_id.clone(), failure: None }])
    );
    // Longer than the lease was.
    assert!(timeout(Duration::from_millis(1500), socket.next()).await.is_err());
    socket.say(None, Frame::Extend(Extend { ack_ids: ack_ids.clone(), lease: lease(660) })).await;
    let (sequence, outcomes) = socket.settled().await;
    assert_eq!((sequence, reason(&outcomes[0])), (None, "INVALID_REQUEST"));
    socket.say(None, Frame::Nack(Nack { ack_ids: ack_ids.clone(), delay: lease(0) })).await;
    let second = socket.message().await.message.unwrap();
    assert_eq!(second.attempt, 2);
    let ack_ids = vec![first.ack_id.clone(), second.ack_id, "x".repeat(10_000)];
    socket.say(None, Frame::Acknowledge(Acknowledge { ack_ids })).await;
    let (_, outcomes) = socket.settled().await;
    assert_eq!(outcomes.len(), 2, "only what was not taken is told: {outcomes:?}");
    assert_eq!((&outcomes[0].ack_id, reason(&outcomes[0])), (&first.ack_id, "LEASE_ENDED"));
    assert!(outcomes[1].ack_id.len() < 10_000, "what is made up does not come back whole");
}

#[tokio::test]
async fn bytes_are_credit_too() {
    let server = server("lease: 60s", "").await;
    let mut socket = Binary::open(&server).await;
    socket.credit(10, 1).await;
    server.publish("declared", "x".repeat(1000)).await;
    server.publish("declared", "y").await;
    let bytes = socket.message().await.bytes;
    assert_eq!(bytes, 1000);
    assert!(socket.is_silent().await, "there is a debt now");
    socket.credit(0, bytes).await;
    assert_eq!(socket.message().await.message.unwrap().message.unwrap().payload, "y");
}

#[tokio::test]
async fn frames_that_cannot_be_understood_end_the_socket_with_a_reason() {
    let server = server("lease: 60s", "").await;
    let past = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let crowd = Message { headers: vec![Header::default(); 2000], ..Message::default() };
    for (bytes, told) in [
        (b"{\"type\":\"ping\",\"seq\":1}".to_vec(), "no frame that is known"),
        (vec![0xff; 20], "no frame that is known"),
        // A credit that ends too early, and an ack id that is no text.
        (vec![0x12, 0x05, 0x08], "no frame that is known"),
        (vec![0x1a, 0x03, 0x0a, 0x01, 0xff], "no frame that is known"),
        (Vec::new(), "says nothing"),
        // A field that is not known here.
        (vec![0xf8, 0x3f, 0x01], "says nothing"),
        (frame(None, Frame::Credit(Credit::default())), "at least one"),
        (frame(None, Frame::Ping(Ping {})), "`sequence`"),
        (frame(None, Frame::Publish(Message { topic: "orders".into(), ..Message::default() })), "`sequence`"),
        (frame(Some(1), Frame::Nack(Nack { ack_ids: Vec::new(), delay: past })), "nack.delay"),
        (frame(Some(1), Frame::Extend(Extend { ack_ids: Vec::new(), lease: past })), "extend.lease"),
        (frame(Some(1), Frame::Publish(crowd)), "too many elements"),
    ] {
        let mut socket = Binary::open(&server).await;
        socket.0.send_binary(bytes.clone()).await;
        socket.is_refused(told, 1008).await;
    }
    let mut socket = Binary::open(&server).await;
    socket.0.send_text(r#"{"type":"ping","seq":1}"#).await;
    socket.is_refused("binary frames only", 1008).await;
    let mut socket = Binary::open(&server).await;
    let ack_ids = vec![String::new(); 10_001];
    socket.say(None, Frame::Acknowledge(Acknowledge { ack_ids })).await;
    let error = socket.answer().await;
    assert!(
        matches!(&error.answer, Some(Answer::Error(failure)) if failure.reason == "TOO_LARGE"),
        "{error:?}"
    );
    assert_eq!(socket.closed().await, 1009);
}

#[tokio::test]
async fn fields_that_are_not_known_are_passed_over() {
    let server = server("lease: 60s", "").await;
    let mut socket = Binary::open(&server).await;
    let mut ping = frame(Some(9), Frame::Ping(Ping {}));
    // Field 1023, a number.
    ping.extend([0xf8, 0x3f, 0x01]);
    socket.0.send_binary(ping).await;
    let pong = socket.answer().await;
    assert!(matches!(pong, ConsumerAnswer { sequence: Some(9), answer: Some(Answer::Pong(_)) }), "{pong:?}");
}

#[tokio::test]
async fn a_drain_is_told_and_what_was_handed_out_can_be_settled() {
    let mut server = server("lease: 30s", "").await;
    server.publish("declared", "one").await;
    let mut socket = Binary::open(&server).await;
    socket.credit(10, 0).await;
    let message = socket.message().await.message.unwrap();
    let stopping = server.begin_to_stop();
    let draining = socket.answer().await;
    assert!(matches!(draining.answer, Some(Answer::Draining(_))), "{draining:?}");
    socket.say(Some(2), Frame::Acknowledge(Acknowledge { ack_ids: vec![message.ack_id.clone()] })).await;
    assert_eq!(socket.settled().await, (Some(2), vec![Settled { ack_id: message.ack_id, failure: None }]));
    assert_eq!(socket.closed().await, 1001);
    let ended = stopping.await;
    assert!(ended.is_clean(), "{ended:?}");
}

#[tokio::test]
async fn the_client_picks_what_is_spoken_where_there_is_a_choice() {
    let server = server("lease: 60s", "").await;
    for (offered, spoken) in [
        ("sidespan.v1.proto, sidespan.v1.json", "sidespan.v1.proto"),
        ("sidespan.v1.json, sidespan.v1.proto", "sidespan.v1.json"),
        ("sidespan.v9.proto, sidespan.token.secret, sidespan.v1.proto", "sidespan.v1.proto"),
    ] {
        let socket = Socket::open_with(&server, JOBS, &[("Sec-WebSocket-Protocol", offered)]).await;
        assert_eq!(socket.protocol(), Some(spoken));
    }
    // A topic's socket has JSON only.
    let refused = refused(&server, "/v1/topics/orders/stream", &PROTO).await;
    assert_eq!((&refused["status"], &refused["code"]), (&400.into(), &"INVALID_REQUEST".into()));
}

/// A socket with protobuf.
pub(super) struct Binary(Socket);

impl Binary {
    pub(super) async fn open(server: &Server) -> Self {
        let socket = Socket::open_with(server, JOBS, &PROTO).await;
        assert_eq!(socket.protocol(), Some("sidespan.v1.proto"));
        Self(socket)
    }

    pub(super) async fn say(&mut self, sequence: Option<u64>, said: Frame) {
        self.0.send_binary(frame(sequence, said)).await;
    }

    pub(super) async fn credit(&mut self, messages: u32, bytes: u64) {
        self.say(None, Frame::Credit(Credit { messages, bytes })).await;
    }

    async fn answer(&mut self) -> ConsumerAnswer {
        let answer = timeout(PATIENCE, self.next()).await.expect("an answer in time");
        answer.unwrap_or_else(|closed| panic!("the socket goes on: {closed:?}"))
    }

    pub(super) async fn message(&mut self) -> Handed {
        match self.answer().await {
            ConsumerAnswer { sequence: None, answer: Some(Answer::Message(handed)) } => handed,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn settled(&mut self) -> (Option<u64>, Vec<Settled>) {
        match self.answer().await {
            ConsumerAnswer { sequence, answer: Some(Answer::Settled(told)) } => (sequence, told.outcomes),
            other => panic!("{other:?}"),
        }
    }

    async fn published(&mut self) -> (u64, Option<proto::outcome::Result>) {
        match self.answer().await {
            ConsumerAnswer { sequence: Some(sequence), answer: Some(Answer::Published(outcome)) } => {
                (sequence, outcome.result)
            }
            other => panic!("{other:?}"),
        }
    }

    async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(300), self.next()).await.is_err()
    }

    /// Waits to be told why the socket is closed, and with which code it is.
    pub(super) async fn is_refused(&mut self, why: &str, code: u16) {
        let error = self.answer().await;
        let Some(Answer::Error(failure)) = error.answer else { panic!("{why}: {error:?}") };
        assert_eq!(failure.reason, "INVALID_REQUEST");
        assert!(failure.detail.contains(why), "{why}: {failure:?}");
        assert_eq!(self.closed().await, code, "{why}");
    }

    /// Waits for the socket to be closed, before which nothing comes; returns the code.
    async fn closed(&mut self) -> u16 {
        let closed = timeout(PATIENCE, self.next()).await.expect("a close in time");
        closed.expect_err("a close frame").expect("a close frame").0
    }

    async fn next(&mut self) -> Result<ConsumerAnswer, Option<(u16, String)>> {
        match self.0.next().await? {
            WebSocketFrame::Binary(bytes) => Ok(ConsumerAnswer::decode(bytes).unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

fn frame(sequence: Option<u64>, frame: Frame) -> Vec<u8> {
    ConsumerFrame { sequence, frame: Some(frame) }.encode_to_vec()
}

pub(super) fn reason(settled: &Settled) -> &str {
    settled.failure.as_ref().map_or("", |failure| failure.reason.as_str())
}

const PROTO: [(&str, &str); 1] = [("Sec-WebSocket-Protocol", "sidespan.v1.proto")];
