//! The gRPC door, on every broker and at every replica.

use std::collections::BTreeMap;

use sidespan::proto::outcome::Result::Receipt;
use sidespan::proto::publisher_client::PublisherClient;
use sidespan::proto::subscribe_request::Request as Say;
use sidespan::proto::subscriber_client::SubscriberClient;
use sidespan::proto::{
    Acknowledge, AcknowledgeRequest, Begin, Credit, Guarantee, Message, Nack, Outcome, PublishRequest,
    PublishStreamRequest, PullRequest, ReceivedMessage, SubscribeRequest, SubscribeResponse,
};
use sidespan_test_support::{Kafka, Nats, Rabbit, Scene};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::cluster::{Cluster, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn kafka_is_published_to_and_fetched_from_by_grpc_at_any_replica() {
    any_replica(&Scene::kafka(Kafka::shared().await).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_is_published_to_and_fetched_from_by_grpc_at_any_replica() {
    any_replica(&Scene::nats(Nats::shared().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_is_published_to_and_fetched_from_by_grpc_at_any_replica() {
    any_replica(&Scene::rabbit(Rabbit::shared().await)).await;
}

async fn any_replica(scene: &Scene) {
    let cluster = Cluster::start(scene).await;
    for by in 0..3 {
        pulled(&cluster, by).await;
        streamed(&cluster, by).await;
    }
}

/// Published at one replica, pulled at another and acknowledged at a third.
async fn pulled(cluster: &Cluster, by: usize) {
    let batch = PublishRequest { messages: (0..COUNT).map(|number| message(number, COUNT)).collect() };
    let told = publisher(cluster, (by + 1) % 3).await.publish(batch).await.unwrap().into_inner();
    assert_eq!((told.outcomes.len(), told.failed), (COUNT, 0));
    told.outcomes.iter().for_each(is_stored);

    let mut consumer = subscriber(cluster, by).await;
    let mut messages = Vec::new();
    while messages.len() < COUNT {
        let pulled = timeout(PATIENCE, consumer.pull(wish(20))).await.expect("messages in time");
        messages.extend(pulled.unwrap().into_inner().messages);
    }
    // No two have the same key: the second would wait for the first.
    in_order(&messages, COUNT);
    let acknowledge = AcknowledgeRequest { subscription: BILLING.into(), ack_ids: ids(&messages) };
    let mut other = subscriber(cluster, (by + 2) % 3).await;
    let settled = other.acknowledge(acknowledge.clone()).await.unwrap().into_inner();
    assert_eq!((settled.outcomes.len(), settled.failed), (COUNT, 0));
    let late = consumer.acknowledge(acknowledge).await.unwrap_err();
    assert_eq!((late.code(), &*reason(&late)), (Code::Aborted, "LEASE_ENDED"), "{late:?}");
}

/// Published in a stream at one replica; handed out, as far as there is credit, and settled in one at
/// another.
async fn streamed(cluster: &Cluster, by: usize) {
    let mut stream = Stream::open(cluster, by).await;
    stream.say(Say::Credit(Credit { messages: FEW, bytes: 0 })).await;
    publish_stream(cluster, (by + 1) % 3).await;
    let (mut messages, mut settled, mut given) = (Vec::new(), 0, FEW as usize);
    while settled < COUNT {
        let answer = stream.next().await;
        settled += answer.settled.len();
        assert!(answer.settled.iter().all(|one| one.failure.is_none()), "{:?}", answer.settled);
        if answer.messages.is_empty() {
            continue;
        }
        stream.say(Say::Acknowledge(Acknowledge { ack_ids: ids(&answer.messages) })).await;
        messages.extend(answer.messages);
        assert!(messages.len() <= given, "{} came, and credit was for {given}", messages.len());
        if messages.len() == given && given < COUNT {
            stream.say(Say::Credit(Credit { messages: FEW, bytes: 0 })).await;
            given += FEW as usize;
        }
    }
    assert_eq!(messages.len(), COUNT, "each once");
    in_order(&messages, KEYS);

    // What is given back, or had by a stream that ends, comes again by another replica.
    cluster.publish((by + 1) % 3, 1).await;
    stream.say(Say::Credit(Credit { messages: 2, bytes: 0 })).await;
    let first = stream.message().await;
    stream.say(Say::Nack(Nack { ack_ids: vec![first.ack_id.clone()], delay: None })).await;
    assert_eq!((stream.message().await.attempt, first.attempt), (2, 1));
    drop(stream);
    let mut other = Stream::open(cluster, (by + 2) % 3).await;
    other.say(Say::Credit(Credit { messages: 1, bytes: 0 })).await;
    let third = other.message().await;
    assert_eq!(third.attempt, 3);
    other.say(Say::Acknowledge(Acknowledge { ack_ids: vec![third.ack_id] })).await;
    assert!(other.next().await.settled[0].failure.is_none());
}

async fn publish_stream(cluster: &Cluster, by: usize) {
    let requests = (0..COUNT)
        .map(|number| PublishStreamRequest { sequence: number as u64, message: Some(message(number, KEYS)) });
    let requests = tokio_stream::iter(requests.collect::<Vec<_>>());
    let mut outcomes = publisher(cluster, by).await.publish_stream(requests).await.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(answer) = timeout(PATIENCE, outcomes.message()).await.expect("an outcome").unwrap() {
        is_stored(&answer.outcome.unwrap());
        told.push(answer.sequence);
    }
    told.sort_unstable();
    assert_eq!(told, (0..COUNT as u64).collect::<Vec<_>>());
}

/// Nothing would ever come to who stands by, and cannot ask others.
pub(crate) async fn stands_by(cluster: &Cluster, by: usize) {
    let mut client = subscriber(cluster, by).await;
    let refused = timeout(PATIENCE, client.pull(wish(20))).await.expect("an answer").unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::Unavailable, "MISDIRECTED"), "{refused:?}");
    assert!(refused.message().contains("`replicas`"), "{refused:?}");
    let mut stream = Stream::open(cluster, by).await;
    stream.say(Say::Credit(Credit { messages: 1, bytes: 0 })).await;
    let refused = timeout(PATIENCE, stream.answers.message()).await.expect("a word").unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::Unavailable, "MISDIRECTED"), "{refused:?}");
}

/// A client's end of `Subscribe`.
struct Stream {
    requests: Sender<SubscribeRequest>,
    answers: Streaming<SubscribeResponse>,
}

impl Stream {
    async fn open(cluster: &Cluster, by: usize) -> Self {
        let (requests, sent) = mpsc::channel(16);
        let begin = Say::Begin(Begin { subscription: BILLING.into(), ..Begin::default() });
        requests.send(SubscribeRequest { request: Some(begin) }).await.unwrap();
        let mut client = subscriber(cluster, by).await;
        let answers = client.subscribe(ReceiverStream::new(sent)).await.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn say(&self, request: Say) {
        self.requests.send(SubscribeRequest { request: Some(request) }).await.unwrap();
    }

    async fn next(&mut self) -> SubscribeResponse {
        let answer = timeout(PATIENCE, self.answers.message()).await.expect("an answer in time");
        answer.unwrap().expect("the stream goes on")
    }

    /// Waits for one message.
    async fn message(&mut self) -> ReceivedMessage {
        loop {
            if let Some(message) = self.next().await.messages.pop() {
                return message;
            }
        }
    }
}

async fn channel(cluster: &Cluster, to: usize) -> Channel {
    Endpoint::from_shared(cluster.replicas[to].url("")).unwrap().connect().await.unwrap()
}

async fn publisher(cluster: &Cluster, at: usize) -> PublisherClient<Channel> {
    PublisherClient::new(channel(cluster, at).await)
}

pub(crate) async fn subscriber(cluster: &Cluster, at: usize) -> SubscriberClient<Channel> {
    SubscriberClient::new(channel(cluster, at).await)
}

fn wish(seconds: i64) -> PullRequest {
    let wait = Some(prost_types::Duration { seconds, nanos: 0 });
    PullRequest { subscription: BILLING.into(), wait, ..PullRequest::default() }
}

fn message(number: usize, keys: usize) -> Message {
    let key = Some(format!("k{}", number % keys).into_bytes());
    let payload = number.to_string().into_bytes().into();
    Message { topic: "orders".into(), content_type: "text/plain".into(), key, payload, ..Message::default() }
}

#[track_caller]
fn is_stored(outcome: &Outcome) {
    let Some(Receipt(receipt)) = &outcome.result else { panic!("{outcome:?}") };
    assert_eq!(receipt.guarantee(), Guarantee::AtLeastOnce, "{receipt:?}");
}

/// Each is there once, and those of a key one after the other.
#[track_caller]
fn in_order(messages: &[ReceivedMessage], count: usize) {
    let mut keys: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    for one in messages {
        let message = one.message.as_ref().unwrap();
        assert_eq!((one.attempt, &*message.topic), (1, "orders"), "{one:?}");
        let number = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
        keys.entry(message.key.clone().unwrap()).or_default().push(number);
    }
    for (key, numbers) in &keys {
        assert!(numbers.is_sorted_by(|one, next| one < next), "{key:?}: {numbers:?}");
    }
    assert_eq!((messages.len(), keys.len()), (COUNT, count));
}

fn ids(messages: &[ReceivedMessage]) -> Vec<String> {
    messages.iter().map(|message| message.ack_id.clone()).collect()
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

const BILLING: &str = "billing";
const COUNT: usize = 60;
const KEYS: usize = 5;
/// How much credit is given at a time.
const FEW: u32 = 7;
