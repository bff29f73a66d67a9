//! What is counted at the doors: what is refused, and what is open.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sidespan::proto::publisher_client::PublisherClient;
use sidespan::proto::subscribe_request::Request as Say;
use sidespan::proto::subscriber_client::SubscriberClient;
use sidespan::proto::{
    Acknowledge, Begin, Credit, Message, PublishStreamRequest, PullRequest, SubscribeRequest,
};
use sidespan_test_support::Sidecar;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tonic::transport::{Channel, Endpoint};

use crate::{PATIENCE, metrics, start, store, until};

const PULLED: &str =
    "subscriptions: { billing: { topic: orders, start: begin, order: none, pull: { lease: 10m } } }\n";

async fn channel(sidecar: &Sidecar) -> Channel {
    Endpoint::try_from(sidecar.url("")).unwrap().connect().await.unwrap()
}

/// Begins to subscribe; what is returned first takes what else is said.
async fn subscribe(
    sidecar: &Sidecar,
) -> (mpsc::Sender<SubscribeRequest>, tonic::Streaming<sidespan::proto::SubscribeResponse>) {
    let (says, said) = mpsc::channel(4);
    let credit = Some(Credit { messages: 1, bytes: 0 });
    let begin = Begin { subscription: "billing".into(), credit, ..Begin::default() };
    says.send(SubscribeRequest { request: Some(Say::Begin(begin)) }).await.unwrap();
    let mut client = SubscriberClient::new(channel(sidecar).await);
    let answers = client.subscribe(ReceiverStream::new(said)).await.unwrap().into_inner();
    (says, answers)
}

/// A client's end of a socket that consumes.
struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(sidecar: &Sidecar) -> Self {
        let url = sidecar.url("/v1/subscriptions/billing/stream").replacen("http", "ws", 1);
        Self(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    async fn say(&mut self, frame: Value) {
        self.0.send(Frame::text(frame.to_string())).await.unwrap();
    }

    /// Waits for the next frame, which must be of this type.
    async fn next(&mut self, kind: &str) {
        loop {
            let frame = timeout(PATIENCE, self.0.next()).await.expect("a frame in time").unwrap().unwrap();
            let Frame::Text(text) = frame else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(frame["type"], kind, "{frame}");
            return;
        }
    }
}

fn rejected(door: &str, reason: &str) -> String {
    format!("sidespan_rejected_total{{door=\"{door}\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn what_a_call_or_a_stream_of_grpc_is_refused_is_counted_by_its_reason() {
    let sidecar = start(PULLED).await;
    let mut puller = SubscriberClient::new(channel(&sidecar).await);
    let nobody = PullRequest { subscription: "nobody".into(), ..PullRequest::default() };
    puller.pull(nobody).await.unwrap_err();
    let seen = metrics(&sidecar).await;
    assert_eq!(seen.get(&rejected("grpc", "unknown_subscription")), Some(1.0));

    let message = |topic: &str| {
        let message = Message { topic: topic.into(), payload: "x".into(), ..Message::default() };
        PublishStreamRequest { message: Some(message), ..PublishStreamRequest::default() }
    };
    let messages = [message("nothing"), message("orders"), message("nowhere")];
    let mut publisher = PublisherClient::new(channel(&sidecar).await);
    let mut outcomes = publisher.publish_stream(tokio_stream::iter(messages)).await.unwrap().into_inner();
    for _ in 0..3 {
        timeout(PATIENCE, outcomes.message()).await.unwrap().unwrap().expect("an outcome");
    }
    assert_eq!(metrics(&sidecar).await.get(&rejected("grpc", "unknown_topic")), Some(2.0));

    let (says, mut answers) = subscribe(&sidecar).await;
    let nonsense = Acknowledge { ack_ids: vec!["nonsense".into()] };
    says.send(SubscribeRequest { request: Some(Say::Acknowledge(nonsense)) }).await.unwrap();
    while timeout(PATIENCE, answers.message()).await.unwrap().unwrap().unwrap().settled.is_empty() {}
    let seen = metrics(&sidecar).await;
    assert_eq!(seen.get(&rejected("grpc", "invalid_request")), Some(1.0));
    let others = seen.all("sidespan_rejected_total").filter(|(series, _)| series.contains("\"grpc\""));
    assert_eq!(others.count(), 3, "nothing else was refused");
}

#[tokio::test]
async fn what_a_frame_of_a_socket_is_refused_is_counted_by_its_reason() {
    let sidecar = start(PULLED).await;
    let mut socket = Socket::open(&sidecar).await;
    socket.say(json!({ "type": "ack", "ack_ids": ["nonsense"], "seq": 1 })).await;
    socket.next("settled").await;
    socket.say(json!({ "type": "publish", "seq": 2, "topic": "nothing", "message": { "text": "x" } })).await;
    socket.next("published").await;
    let seen = metrics(&sidecar).await;
    assert_eq!(seen.get(&rejected("socket", "invalid_request")), Some(1.0));
    assert_eq!(seen.get(&rejected("socket", "unknown_topic")), Some(1.0));
    assert_eq!(seen.one("sidespan_http_requests_total", &["door=\"socket\""]), 2.0);
}

#[tokio::test]
async fn streams_and_their_leases_are_seen_while_they_are_open() {
    let sidecar = start(PULLED).await;
    let leases = "sidespan_leases_out{sidespan_subscription=\"billing\"}";
    let open = |kind: &str| format!("sidespan_streams_open{{kind=\"{kind}\"}}");
    for _ in 0..2 {
        store(&sidecar, "orders").await;
    }
    until(&sidecar, &open("websocket"), 0.0).await;
    let mut socket = Socket::open(&sidecar).await;
    socket.say(json!({ "type": "credit", "messages": 1 })).await;
    socket.next("message").await;
    let stream = subscribe(&sidecar).await;
    until(&sidecar, leases, 2.0).await;
    let seen = metrics(&sidecar).await;
    assert_eq!((seen.get(&open("websocket")), seen.get(&open("grpc"))), (Some(1.0), Some(1.0)));

    drop(stream);
    until(&sidecar, &open("grpc"), 0.0).await;
    until(&sidecar, leases, 1.0).await;
    drop(socket);
    until(&sidecar, &open("websocket"), 0.0).await;
    until(&sidecar, leases, 0.0).await;
    let seen = metrics(&sidecar).await;
    let ended = ["error_type=\"no_answer\"", "sidespan_subscription=\"billing\""];
    assert_eq!(
        seen.one("messaging_process_duration_seconds_count", &ended),
        2.0,
        "both left without a verdict"
    );
}
