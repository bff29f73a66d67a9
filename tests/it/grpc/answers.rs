//! `Subscriber.Reply`, and `reply` on the stream of `Subscribe`.

use std::time::Duration;

use bytes::Bytes;
use sidespan::proto::subscribe_request::Request as Say;
use sidespan::proto::subscriber_client::SubscriberClient;
use sidespan::proto::{Acknowledge, Answer, Header, ReceivedMessage, Reply, ReplyRequest};
use sidespan_test_support::eventually;
use tonic::Code;
use tonic::transport::Channel;

use super::details;
use super::subscriber::{Stream, ids, wish};
use crate::server::Server;

const ASKED: &str = "/v1/topics/asked/requests";

#[tokio::test]
async fn who_asked_gets_what_a_consumer_replies_and_the_request_is_settled() {
    let (server, mut client) = server().await;
    let answering = async {
        let asked = pull(&mut client).await;
        let message = asked.message.as_ref().unwrap();
        assert!(!message.reply_to.is_empty() && !message.correlation_id.is_empty(), "{message:?}");
        let given = answer(&asked, reply(201, "three"));
        client.reply(given.clone()).await.unwrap();
        details(&client.reply(given).await.unwrap_err(), Code::Aborted, "LEASE_ENDED");
    };
    let (answer, ()) = tokio::join!(server.post(ASKED, "how many?").send(), answering);
    assert_eq!((answer.status.as_u16(), answer.text()), (201, "three"));
    assert_eq!(
        (answer.header("content-type"), answer.header("sidespan-header-zone")),
        ("text/x-count", "a%20b")
    );
    let status = server.get("/v1/subscriptions/asked").expect(200).await;
    assert_eq!((&status["delivered"], &status["held"]), (&1.into(), &0.into()), "{status}");
}

#[tokio::test]
async fn what_can_be_no_reply_is_refused_and_the_lease_goes_on() {
    let (server, mut client) = server().await;
    let header = |name: &str| vec![Header { name: name.into(), value: "201".into() }];
    let answering = async {
        let asked = pull(&mut client).await;
        let plain = || reply(200, "x");
        for (wrong, code, reason, field) in [
            (reply(199, "x"), Code::InvalidArgument, "INVALID_REQUEST", None),
            (reply(600, "x"), Code::InvalidArgument, "INVALID_REQUEST", None),
            (reply(65_736, "x"), Code::InvalidArgument, "INVALID_REQUEST", None),
            (
                Reply { headers: header("sidespan-status"), ..plain() },
                Code::InvalidArgument,
                "INVALID_REQUEST",
                Some("reply.headers"),
            ),
            (
                Reply { content_type: "\n".into(), ..plain() },
                Code::InvalidArgument,
                "INVALID_REQUEST",
                Some("reply.content_type"),
            ),
            (reply(200, "x".repeat(1025)), Code::ResourceExhausted, "TOO_LARGE", None),
        ] {
            let refused = client.reply(answer(&asked, wrong)).await.unwrap_err();
            let details = details(&refused, code, reason);
            let blamed = details.bad_request().map(|bad| bad.field_violations[0].field.as_str());
            assert_eq!(blamed, field, "{refused:?}");
        }
        let crowd = Reply { headers: vec![Header::default(); 1200], ..Reply::default() };
        let refused = client.reply(answer(&asked, crowd)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        let nobody = ReplyRequest { subscription: "nobody".into(), ..answer(&asked, plain()) };
        details(&client.reply(nobody).await.unwrap_err(), Code::NotFound, "UNKNOWN_SUBSCRIPTION");
        let made_up = ReplyRequest { ack_id: "made-up".into(), ..answer(&asked, plain()) };
        details(&client.reply(made_up).await.unwrap_err(), Code::InvalidArgument, "INVALID_REQUEST");
        // Nothing but a lease is an empty answer.
        client.reply(ReplyRequest { reply: None, ..answer(&asked, plain()) }).await.unwrap();
    };
    let (answer, ()) = tokio::join!(server.post(ASKED, "?").send(), answering);
    assert_eq!((answer.status.as_u16(), answer.text(), answer.header("sidespan-reply")), (200, "", "true"));
}

#[tokio::test]
async fn a_message_that_awaits_no_reply_stays_leased() {
    let (server, mut client) = server().await;
    server.publish("asked", "no question").await;
    let message = pull(&mut client).await;
    let refused = client.reply(answer(&message, reply(200, "x"))).await.unwrap_err();
    details(&refused, Code::Aborted, "NO_REPLY_AWAITED");
    let mut stream = Stream::open_at(&mut client, "asked", 1, 0).await;
    stream.say(Say::Reply(Answer { ack_id: message.ack_id.clone(), reply: None })).await;
    assert_eq!(stream.settled().await[0].failure.as_ref().unwrap().reason, "NO_REPLY_AWAITED");
    stream.say(Say::Acknowledge(Acknowledge { ack_ids: vec![message.ack_id] })).await;
    assert_eq!(stream.settled().await[0].failure, None);
}

#[tokio::test]
async fn a_stream_answers_and_what_is_wrong_with_one_reply_harms_no_other() {
    let (server, mut client) = server().await;
    let mut stream = Stream::open_at(&mut client, "asked", 10, 0).await;
    let answering = async {
        let asked = stream.messages(2).await;
        let say = |number: usize, reply| {
            Say::Reply(Answer { ack_id: ids(&asked)[number].clone(), reply: Some(reply) })
        };
        for (wrong, reason) in [
            (reply(199, "x"), "INVALID_REQUEST"),
            (Reply { content_type: "\n".into(), ..Reply::default() }, "INVALID_REQUEST"),
            (reply(200, "x".repeat(1025)), "TOO_LARGE"),
        ] {
            stream.say(say(0, wrong)).await;
            let settled = stream.settled().await;
            assert_eq!(settled[0].ack_id, asked[0].ack_id);
            assert_eq!(settled[0].failure.as_ref().unwrap().reason, reason);
        }
        for number in [1, 0] {
            let question = asked[number].message.as_ref().unwrap().payload.clone();
            stream.say(say(number, reply(200, question))).await;
            assert_eq!(stream.settled().await[0].failure, None);
        }
        stream.say(say(0, reply(200, "again"))).await;
        assert_eq!(stream.settled().await[0].failure.as_ref().unwrap().reason, "LEASE_ENDED");
    };
    let (one, two, ()) =
        tokio::join!(server.post(ASKED, "one").send(), server.post(ASKED, "two").send(), answering);
    assert_eq!((one.text(), two.text()), ("one", "two"));
}

/// A server with a subscription to fetch requests from, which runs.
async fn server() -> (Server, SubscriberClient<Channel>) {
    let server = Server::with(
        "limits: { max_message: 1KiB }\nsubscriptions:\n  asked: { topic: asked, start: begin, pull: {} }\n",
    )
    .await;
    eventually(Duration::from_secs(10), "a subscription that runs", async || {
        server.get("/v1/subscriptions/asked").expect(200).await["state"] == "running"
    })
    .await;
    let client = SubscriberClient::new(server.channel().await);
    (server, client)
}

async fn pull(client: &mut SubscriberClient<Channel>) -> ReceivedMessage {
    client.pull(wish("asked", 10)).await.unwrap().into_inner().messages.remove(0)
}

fn reply(status: u32, payload: impl Into<Bytes>) -> Reply {
    let headers = vec![Header { name: "zone".into(), value: "a b".into() }];
    Reply { status, content_type: "text/x-count".into(), headers, payload: payload.into() }
}

fn answer(asked: &ReceivedMessage, reply: Reply) -> ReplyRequest {
    ReplyRequest { subscription: "asked".into(), ack_id: asked.ack_id.clone(), reply: Some(reply) }
}
