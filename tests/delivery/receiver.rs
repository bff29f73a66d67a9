//! Pushing to a gRPC service.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::post;
use sidespan::config::{CloudEventsMode, PushProtocol, Subscription};
use sidespan::proto::{DeliverRequest, DeliverResponse, Reply};
use sidespan_bridge::{Error, Header, Message, Topic};
use sidespan_test_support::{Answer, Webhook, eventually};
use tokio::net::TcpListener;
use tonic::{Code, Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::bench::{Bench, PATIENCE, keyed, message, push, soon, subscription, until};

/// A receiver that tonic serves.
struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<DeliverRequest>>>,
}

impl Receiver {
    /// Starts one that answers what `script` says to a message's text.
    async fn start(script: fn(&str, u32) -> Code) -> Self {
        let received: Arc<Mutex<Vec<DeliverRequest>>> = Arc::default();
        let seen = received.clone();
        let deliver = move |request: Request| {
            let seen = seen.clone();
            let serve = service_fn(move |call: tonic::Request<DeliverRequest>| {
                let call = call.into_inner();
                let payload = call.message.as_ref().unwrap().payload.clone();
                let code = script(std::str::from_utf8(&payload).unwrap(), call.attempt);
                let asked = call.message.as_ref().is_some_and(|message| !message.reply_to.is_empty());
                let content_type = "text/x-answer".to_owned();
                let reply = asked.then(|| Reply { status: 201, content_type, payload, ..Reply::default() });
                seen.lock().unwrap().push(call);
                async move {
                    match code {
                        Code::Ok => Ok(Response::new(DeliverResponse { reply })),
                        code => Err(Status::new(code, "not today")),
                    }
                }
            });
            let codec = ProstCodec::<DeliverResponse, DeliverRequest>::default();
            async move { tonic::server::Grpc::new(codec).unary(serve, request).await }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/sidespan.v1.Receiver/Deliver", post(deliver));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, received }
    }

    fn received(&self) -> Vec<DeliverRequest> {
        self.received.lock().unwrap().clone()
    }

    async fn wait(&self, count: usize) -> Vec<DeliverRequest> {
        eventually(PATIENCE, "the messages", async || self.received().len() >= count).await;
        self.received()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_the_form_that_is_asked_for() {
    let bench = Bench::open();
    let receiver = Receiver::start(|_, _| Code::Ok).await;
    let attributes = [("ce-specversion", "1.0"), ("ce-id", "7"), ("ce-source", "/s"), ("ce-type", "t")];
    let headers = attributes.map(|(name, value)| Header::new(name, value)).into();
    bench.publish([Message { headers, ..message("x") }]).await;
    let mut wish = grpc(&format!("http://{}", receiver.address));
    push(&mut wish).cloudevents = CloudEventsMode::Structured;
    let running = bench.start(&wish);
    let got = receiver.wait(1).await[0].message.clone().unwrap();
    assert_eq!((got.content_type.as_str(), got.headers.len()), ("application/cloudevents+json", 0));
    let event: serde_json::Value = serde_json::from_slice(&got.payload).unwrap();
    assert_eq!((&event["id"], &event["data_base64"]), (&"7".into(), &"eA==".into()));
    running.close(soon()).await;
}

fn grpc(url: &str) -> Subscription {
    let mut wish = subscription(url);
    push(&mut wish).protocol = PushProtocol::Grpc;
    wish
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_a_message_as_it_was_published() {
    let bench = Bench::open();
    let receiver = Receiver::start(|_, _| Code::Ok).await;
    let sent = Message {
        content_type: Some("text/plain".into()),
        id: Some("01a1f96b-e812-718a-83fa-390940893943".into()),
        headers: vec![Header::new("tag", "one"), Header::new("tag", &b"\xff"[..])],
        ..keyed("customer-7", "hello")
    };
    bench.publish([sent, Message { payload: None, ..keyed("customer-7", "") }]).await;
    let running = bench.start(&grpc(&format!("http://{}", receiver.address)));
    let mut got = receiver.wait(2).await;
    got.sort_by_key(|call| call.message.as_ref().unwrap().tombstone);
    let first = got[0].message.as_ref().unwrap();
    assert_eq!((first.topic.as_str(), &first.payload[..]), ("orders", &b"hello"[..]));
    assert_eq!(first.id, "01a1f96b-e812-718a-83fa-390940893943");
    assert_eq!((first.key.as_deref(), first.content_type.as_str()), (Some(&b"customer-7"[..]), "text/plain"));
    let values: Vec<_> = first.headers.iter().map(|header| &header.value[..]).collect();
    assert_eq!(values, [&b"one"[..], &b"\xff"[..]]);
    assert_eq!((got[0].subscription.as_str(), got[0].attempt), ("billing", 1));
    let second = got[1].message.as_ref().unwrap();
    assert!(second.tombstone && !second.id.is_empty(), "{second:?}");
    until(&running, "both are settled", |status| status.delivered == 2 && status.held == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_status_means_decides_what_comes_of_a_message() {
    let bench = Bench::open();
    let receiver = Receiver::start(|text, attempt| match text {
        "refused" => Code::InvalidArgument,
        "failing" => Code::Internal,
        "late" if attempt < 3 => Code::Aborted,
        _ => Code::Ok,
    })
    .await;
    bench.publish(["refused", "failing", "late", "good"].map(message)).await;
    let running = bench.start(&grpc(&format!("http://{}", receiver.address)));
    let dead = bench.dead(2).await;
    until(&running, "all are settled", |status| status.delivered == 2 && status.dead_lettered == 2).await;
    let attempts = |text: &str| {
        let of = |call: &&DeliverRequest| &call.message.as_ref().unwrap().payload[..] == text.as_bytes();
        receiver.received().iter().filter(of).count()
    };
    assert_eq!(["refused", "failing", "late", "good"].map(attempts), [1, 3, 3, 1]);
    let told = |dead: &Message| {
        let header = |name| String::from_utf8_lossy(dead.header(name).unwrap()).into_owned();
        (header("sidespan-dead-reason"), header("sidespan-dead-body-excerpt"))
    };
    let mut told: Vec<_> = dead.iter().map(told).collect();
    told.sort();
    assert_eq!(told[0], ("exhausted".into(), "INTERNAL: not today".into()));
    assert_eq!(told[1], ("refused".into(), "INVALID_ARGUMENT: not today".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_there_buries_nothing() {
    let bench = Bench::open();
    bench.publish([message("one")]).await;
    // What speaks HTTP and no gRPC, says that it is away, or knows no such method.
    let webhook = Webhook::start(|_| Answer::ok()).await;
    let running = bench.start(&grpc(&webhook.url("")));
    let tried = |times: usize| webhook.wait_until("attempts", move |seen| seen.len() >= times);
    tried(5).await;
    for status in ["14", "16", "7", "12"] {
        let status = status.to_owned();
        webhook.follow(move |_| Answer::ok().header("grpc-status", &status));
        tried(webhook.received().len() + 5).await;
    }
    webhook.follow(|_| Answer::status(503));
    tried(webhook.received().len() + 5).await;
    assert_eq!((running.status().dead_lettered, bench.dead_count().await), (0, 0));
    webhook.follow(|_| Answer::ok().header("grpc-status", "0"));
    until(&running, "it is delivered", |status| status.delivered == 1).await;
    let attempts = webhook.received();
    assert!(attempts.iter().all(|call| call.path == "/sidespan.v1.Receiver/Deliver"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_takes_too_long_counts() {
    let bench = Bench::open();
    bench.publish([message("one")]).await;
    let webhook = Webhook::start(|_| Answer::hang()).await;
    let mut wish = grpc(&webhook.url(""));
    push(&mut wish).timeout = Duration::from_millis(200);
    let _running = bench.start(&wish);
    let dead = bench.dead(1).await;
    assert_eq!(&dead[0].header("sidespan-dead-reason").unwrap()[..], b"exhausted");
    assert_eq!(webhook.received()[0].header("grpc-timeout"), "200m");
}

/// What a receiver says to a request goes back to who asked.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_says_to_a_request_is_the_reply() {
    let bench = Bench::open();
    let receiver = Receiver::start(|text, _| match text {
        "refused" => Code::InvalidArgument,
        "failing" => Code::Internal,
        _ => Code::Ok,
    })
    .await;
    let mut wish = grpc(&format!("http://{}", receiver.address));
    push(&mut wish).reply = Some(100);
    let running = bench.start(&wish);
    until(&running, "it runs", |status| status.state == sidespan::delivery::State::Running).await;
    let ask = async |text: &str| -> Result<(String, String), Error> {
        let reply = bench.bridge.request(&Topic::new("orders"), message(text), soon()).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((text(reply.header("sidespan-status").unwrap()), text(&reply.payload.unwrap())))
    };
    let long = "x".repeat(101);
    for (asked, status, answer) in [
        ("good", "201", "good"),
        ("refused", "400", "INVALID_ARGUMENT: not today"),
        ("failing", "500", "INTERNAL: not today"),
        (&long, "502", "the service's reply is larger than a message may be"),
    ] {
        assert_eq!(ask(asked).await.unwrap(), (status.to_owned(), answer.to_owned()), "{asked}");
    }
    until(&running, "all are settled", |status| status.delivered == 4 && status.held == 0).await;
    assert_eq!((receiver.received().len(), running.status().dead_lettered), (4, 0));
}
