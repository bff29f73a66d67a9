//! `Publisher.PublishStream`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use sidespan::proto::publisher_client::PublisherClient;
use sidespan::proto::{Message, Outcome, PublishStreamRequest, PublishStreamResponse};
use sidespan_test_support::{eventually, unique_name};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use super::{batch, details, failure, message, receipt, troubled};
use crate::server::Server;
use crate::trouble::hangs;

/// A client's end of a stream.
struct Stream {
    requests: Sender<PublishStreamRequest>,
    outcomes: Streaming<PublishStreamResponse>,
}

impl Stream {
    async fn open(mut publisher: PublisherClient<Channel>, timeout: &str) -> Result<Self, Status> {
        let (requests, sent) = mpsc::channel(1);
        let mut call = Request::new(ReceiverStream::new(sent));
        call.metadata_mut().insert("sidespan-timeout", timeout.parse().unwrap());
        let outcomes = publisher.publish_stream(call).await?.into_inner();
        Ok(Self { requests, outcomes })
    }

    async fn send(&self, sequence: u64, message: Message) {
        let request = PublishStreamRequest { sequence, message: Some(message) };
        timeout(PATIENCE, self.requests.send(request)).await.unwrap().unwrap();
    }

    /// Waits for the next outcome.
    async fn next(&mut self) -> (u64, Outcome) {
        let answer = timeout(PATIENCE, self.outcomes.message()).await.unwrap();
        let PublishStreamResponse { sequence, outcome } = answer.unwrap().expect("the stream goes on");
        (sequence, outcome.unwrap())
    }

    /// Waits for the end, without further outcomes.
    async fn end(&mut self) -> Result<(), Status> {
        timeout(PATIENCE, self.outcomes.message()).await.unwrap().map(|more| assert_eq!(more, None))
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn outcomes_come_by_sequence_and_messages_are_stored_in_order() {
    let server = Server::start().await;
    let mut stream = Stream::open(server.publisher().await, "5s").await.unwrap();
    let (requests, count) = (stream.requests.clone(), 3000_u64);
    let sending = tokio::spawn(async move {
        for sequence in 0..count {
            let message = Some(message("orders", sequence.to_string()));
            requests.send(PublishStreamRequest { sequence, message }).await.unwrap();
        }
    });
    let mut told = BTreeSet::new();
    for _ in 0..count {
        let (sequence, outcome) = stream.next().await;
        assert!(!receipt(&outcome).id.is_empty());
        assert!(told.insert(sequence), "{sequence} is told once");
    }
    sending.await.unwrap();
    let Stream { requests, mut outcomes } = stream;
    drop(requests);
    assert_eq!(outcomes.message().await.unwrap(), None);
    let read = server.messages("orders", 3000).await;
    let texts: Vec<String> = read.iter().map(|message| message["text"].as_str().unwrap().into()).collect();
    assert_eq!(texts, (0..count).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_message_that_cannot_be_published_has_a_failure_and_the_stream_goes_on() {
    let server = Server::start().await;
    let mut stream = Stream::open(server.publisher().await, "5s").await.unwrap();
    for (sequence, message, reason) in [
        (7, message("missing", "x"), "UNKNOWN_TOPIC"),
        (7, message("", "x"), "INVALID_REQUEST"),
        (9, troubled("unavailable"), "UNAVAILABLE"),
        (0, message("orders", vec![0; (1 << 20) + 1]), "TOO_LARGE"),
    ] {
        stream.send(sequence, message).await;
        let (told, outcome) = stream.next().await;
        assert_eq!((told, failure(&outcome).reason.as_str()), (sequence, reason));
    }
    stream.requests.send(PublishStreamRequest { sequence: 1, message: None }).await.unwrap();
    assert_eq!(failure(&stream.next().await.1).reason, "INVALID_REQUEST");
    stream.send(2, message("orders", "x")).await;
    receipt(&stream.next().await.1);
    drop(stream.requests);
    assert_eq!(stream.outcomes.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_message_that_hangs_holds_up_no_other() {
    let server = Server::start().await;
    let mut stream = Stream::open(server.publisher().await, "2s").await.unwrap();
    let name = unique_name("hang");
    stream.send(1, troubled(&name)).await;
    eventually(PATIENCE, "a message that hangs", async || hangs(&name)).await;
    stream.send(2, message("orders", "x")).await;
    assert_eq!(stream.next().await.0, 2);
    let (sequence, outcome) = stream.next().await;
    let failure = failure(&outcome);
    assert_eq!((sequence, failure.reason.as_str(), failure.outcome_unknown), (1, "TIMEOUT", true));
}

#[tokio::test]
async fn what_is_not_read_holds_up_the_sender_and_is_not_lost() {
    let server = Server::start().await;
    // A client that does not take more into its own memory than it must.
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address())).unwrap();
    let channel = endpoint.initial_stream_window_size(65_535).connect().await.unwrap();
    let mut stream = Stream::open(PublisherClient::new(channel), "30s").await.unwrap();
    let mut sent = 0_u64;
    let body = "x".repeat(4096);
    // Nobody reads outcomes: at some time nothing more is taken.
    loop {
        let message = message("orders", format!("{sent} {body}"));
        let request = PublishStreamRequest { sequence: sent, message: Some(message) };
        match timeout(Duration::from_secs(2), stream.requests.send(request)).await {
            Ok(sending) => sending.unwrap(),
            Err(_) => break,
        }
        sent += 1;
        assert!(sent < 20_000, "a sender is held up");
    }
    // What the broker has answered has given its room back: others publish as ever.
    server.publish("orders", "y").await;
    let mut told = BTreeSet::new();
    while told.len() < usize::try_from(sent).unwrap() {
        let (sequence, outcome) = stream.next().await;
        receipt(&outcome);
        told.insert(sequence);
    }
    assert_eq!(told, (0..sent).collect());
}

#[tokio::test]
async fn a_stream_waits_for_the_room_that_it_takes_itself() {
    let server = Server::with("limits: { max_in_flight: 4 }").await;
    let mut stream = Stream::open(server.publisher().await, "5s").await.unwrap();
    let requests = stream.requests.clone();
    tokio::spawn(async move {
        for sequence in 0..200 {
            let message = Some(message("orders", "x"));
            requests.send(PublishStreamRequest { sequence, message }).await.unwrap();
        }
    });
    for _ in 0..200 {
        receipt(&stream.next().await.1);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_gives_back_its_room() {
    let server = Server::with("limits: { max_in_flight: 1, max_streams: 1 }").await;
    let stream = Stream::open(server.publisher().await, "1s").await.unwrap();
    let name = unique_name("hang");
    stream.send(1, troubled(&name)).await;
    eventually(PATIENCE, "a message that hangs", async || hangs(&name)).await;
    let status = Stream::open(server.publisher().await, "1s").await.err().expect("a refusal");
    details(&status, Code::ResourceExhausted, "LIMITED");
    assert!(status.message().contains("limits.max_streams"), "{status:?}");
    drop(stream);
    let mut publisher = server.publisher().await;
    eventually(PATIENCE, "there is room for a message", async || {
        publisher.publish(batch([message("orders", "x")])).await.is_ok()
    })
    .await;
    eventually(PATIENCE, "there is room for a stream", async || {
        Stream::open(publisher.clone(), "1s").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_hundred_streams_publish_on_one_connection() {
    let server = Server::start().await;
    let publisher = server.publisher().await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(Stream::open(publisher.clone(), "10s").await.unwrap());
    }
    for stream in &streams {
        for sequence in 0..10 {
            stream.send(sequence, message("orders", "x")).await;
        }
    }
    for stream in &mut streams {
        for _ in 0..10 {
            receipt(&stream.next().await.1);
        }
    }
    assert_eq!(server.get("/v1/topics/orders").expect(200).await["messages"], 1000);
}

#[tokio::test]
async fn a_server_that_stops_tells_the_outcomes_of_all_that_it_took() {
    let server = Server::start().await;
    let mut stream = Stream::open(server.publisher().await, "1s").await.unwrap();
    stream.send(1, message("orders", "x")).await;
    assert_eq!(stream.next().await.0, 1);
    let name = unique_name("hang");
    stream.send(2, troubled(&name)).await;
    eventually(PATIENCE, "a message that hangs", async || hangs(&name)).await;
    let stopping = tokio::spawn(server.stop());
    assert_eq!(stream.next().await.0, 2);
    details(&stream.end().await.unwrap_err(), Code::Unavailable, "DRAINING");
    assert!(stopping.await.unwrap().is_clean());
}

#[tokio::test]
async fn what_breaks_a_stream_comes_after_the_outcomes() {
    let server = Server::with("limits: { max_message: 64KiB }").await;
    let mut stream = Stream::open(server.publisher().await, "5s").await.unwrap();
    stream.send(1, message("orders", "x")).await;
    stream.send(2, message("orders", vec![0; 1 << 20])).await;
    assert_eq!(stream.next().await.0, 1);
    let status = stream.end().await.unwrap_err();
    details(&status, Code::ResourceExhausted, "TOO_LARGE");
    let topic: Value = server.get("/v1/topics/orders").expect(200).await;
    assert_eq!(topic["messages"], 1);
}
