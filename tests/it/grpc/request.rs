//! `Requester.Request`.

use std::time::Duration;

use sidespan::proto::requester_client::RequesterClient;
use sidespan::proto::{self, RequestRequest};
use sidespan_test_support::{Answer, Webhook, eventually};
use tonic::Code;
use tonic::transport::Channel;

use super::{details, message, troubled, with};
use crate::server::Server;
use crate::trouble::FAULTS;

async fn requester(server: &Server) -> RequesterClient<Channel> {
    RequesterClient::new(server.channel().await)
}

fn ask(message: proto::Message) -> RequestRequest {
    RequestRequest { message: Some(message) }
}

async fn running(server: &Server) {
    eventually(Duration::from_secs(10), "a subscription that runs", async || {
        server.get("/v1/subscriptions/asked").expect(200).await["state"] == "running"
    })
    .await;
}

#[tokio::test]
async fn the_answer_of_an_http_service_is_the_reply() {
    let webhook = Webhook::start(|asked| {
        Answer::status(422)
            .header("content-type", "text/x-answer")
            .header("x-total", "42")
            .body(asked.body.clone())
    })
    .await;
    let push = format!("push: {{ url: '{}', reply: true }}", webhook.url("/"));
    let server = Server::with(&format!("subscriptions:\n  asked: {{ topic: asked, {push} }}\n")).await;
    running(&server).await;
    let answer = requester(&server).await.request(ask(message("asked", "how many?"))).await.unwrap();
    let reply = answer.into_inner().reply.unwrap();
    assert_eq!((reply.status, reply.content_type.as_str()), (422, "text/x-answer"));
    assert_eq!(reply.payload, "how many?");
    let header = proto::Header { name: "x-total".into(), value: "42".into() };
    assert_eq!(reply.headers, [header]);
}

#[tokio::test]
async fn what_fails_is_told_as_over_rest() {
    let server = Server::with("subscriptions:\n  asked: { topic: asked, pull: {} }\n").await;
    running(&server).await;
    let mut requester = requester(&server).await;
    let nobody = requester.request(ask(message("nobody", "x"))).await.unwrap_err();
    details(&nobody, Code::NotFound, "UNROUTABLE");
    let silent = requester.request(with(ask(message("asked", "x")), "sidespan-timeout", "200ms")).await;
    details(&silent.unwrap_err(), Code::DeadlineExceeded, "TIMEOUT");
    let named = proto::Message { id: "1".into(), ..message("asked", "x") };
    details(&requester.request(ask(named)).await.unwrap_err(), Code::InvalidArgument, "INVALID_REQUEST");
    let received = proto::Message { reply_to: "somewhere".into(), ..message("asked", "x") };
    let refused = requester.request(ask(received)).await.unwrap_err();
    let details_of = details(&refused, Code::InvalidArgument, "INVALID_REQUEST");
    let field = &details_of.bad_request().unwrap().field_violations[0].field;
    assert_eq!(field, "message.reply_to");
    let nothing = requester.request(RequestRequest::default()).await.unwrap_err();
    details(&nothing, Code::InvalidArgument, "INVALID_REQUEST");
    for (name, _) in FAULTS {
        requester.request(ask(troubled(name))).await.unwrap_err();
    }
    assert_eq!(
        requester.request(ask(troubled("reply"))).await.unwrap().into_inner().reply.unwrap().status,
        200
    );
}
