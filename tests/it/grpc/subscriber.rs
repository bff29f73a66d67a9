//! `Subscriber`: pull, verdicts, and the stream.

use std::time::Duration;

use sidespan::proto::modify_deadline_request::Change;
use sidespan::proto::subscribe_request::Request as Say;
use sidespan::proto::subscriber_client::SubscriberClient;
use sidespan::proto::{
    Acknowledge, AcknowledgeRequest, Begin, Credit, Extend, GiveBack, ModifyDeadlineRequest, Nack,
    PullRequest, ReceivedMessage, Settled, SubscribeRequest, SubscribeResponse,
};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::details;
use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(20);

async fn server(pull: &str) -> (Server, SubscriberClient<Channel>) {
    let server = Server::with(&format!(
        "subscriptions:\n\
         \x20 jobs: {{ topic: declared, start: begin, retry: {{ max_attempts: 3 }}, pull: {{ {pull} }} }}\n\
         \x20 others: {{ topic: other, start: begin, pull: {{}} }}\n\
         \x20 pushed: {{ topic: other, push: {{ url: 'http://127.0.0.1:1/' }} }}\n"
    ))
    .await;
    let client = SubscriberClient::new(server.channel().await);
    (server, client)
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

pub(super) fn wish(subscription: &str, wait: i64) -> PullRequest {
    let subscription = subscription.into();
    PullRequest { subscription, wait: Some(seconds(wait)), ..PullRequest::default() }
}

fn texts(messages: &[ReceivedMessage]) -> Vec<String> {
    let text =
        |one: &ReceivedMessage| String::from_utf8(one.message.as_ref().unwrap().payload.to_vec()).unwrap();
    messages.iter().map(text).collect()
}

pub(super) fn ids(messages: &[ReceivedMessage]) -> Vec<String> {
    messages.iter().map(|message| message.ack_id.clone()).collect()
}

#[tokio::test]
async fn what_is_pulled_and_acknowledged_does_not_come_again() {
    let (server, mut client) = server("lease: 1s").await;
    for text in ["one", "two"] {
        server.publish("declared", text).await;
    }
    let mut messages = Vec::new();
    while messages.len() < 2 {
        messages.extend(client.pull(wish("jobs", 10)).await.unwrap().into_inner().messages);
    }
    assert_eq!(texts(&messages), ["one", "two"]);
    let first = &messages[0];
    assert_eq!((first.attempt, first.message.as_ref().unwrap().topic.as_str()), (1, "declared"));
    assert!(!first.position.is_empty() && first.time.is_some() && first.lease.is_some(), "{first:?}");
    let acknowledge = AcknowledgeRequest { subscription: "jobs".into(), ack_ids: ids(&messages) };
    let answer = client.acknowledge(acknowledge.clone()).await.unwrap().into_inner();
    assert_eq!((answer.outcomes.len(), answer.failed), (2, 0));
    assert!(client.pull(wish("jobs", 2)).await.unwrap().into_inner().messages.is_empty());
    let status = client.acknowledge(acknowledge).await.unwrap_err();
    details(&status, Code::Aborted, "LEASE_ENDED");
}

#[tokio::test]
async fn a_lease_is_extended_or_given_back() {
    let (server, mut client) = server("lease: 1s").await;
    server.publish("declared", "one").await;
    let messages = client.pull(wish("jobs", 10)).await.unwrap().into_inner().messages;
    let change = |ack_ids, change| ModifyDeadlineRequest {
        subscription: "jobs".into(),
        ack_ids,
        change: Some(change),
    };
    client.modify_deadline(change(ids(&messages), Change::Lease(seconds(60)))).await.unwrap();
    assert!(client.pull(wish("jobs", 2)).await.unwrap().into_inner().messages.is_empty());
    let back = Change::GiveBack(GiveBack { delay: Some(seconds(0)) });
    let mut some = ids(&messages);
    some.push("nonsense".into());
    let answer = client.modify_deadline(change(some, back)).await.unwrap().into_inner();
    assert_eq!(answer.failed, 1);
    assert_eq!(answer.outcomes[1].failure.as_ref().unwrap().reason, "INVALID_REQUEST");
    let again = client.pull(wish("jobs", 10)).await.unwrap().into_inner().messages;
    assert_eq!((texts(&again), again[0].attempt), (vec!["one".to_owned()], 2));
}

#[tokio::test]
async fn what_cannot_be_fetched_is_told_why() {
    let (_server, mut client) = server("lease: 30s").await;
    for (request, code, reason) in [
        (wish("nobody", 1), Code::NotFound, "UNKNOWN_SUBSCRIPTION"),
        (wish("pushed", 1), Code::Aborted, "NOT_PULLED"),
        (wish("jobs", 3600), Code::InvalidArgument, "INVALID_REQUEST"),
        (wish("jobs", -1), Code::InvalidArgument, "INVALID_REQUEST"),
        (PullRequest { max_messages: 10_001, ..wish("jobs", 1) }, Code::InvalidArgument, "INVALID_REQUEST"),
    ] {
        details(&client.pull(request).await.unwrap_err(), code, reason);
    }
    let nothing = ModifyDeadlineRequest { subscription: "jobs".into(), ..ModifyDeadlineRequest::default() };
    details(&client.modify_deadline(nothing).await.unwrap_err(), Code::InvalidArgument, "INVALID_REQUEST");
}

/// A client's end of a stream.
pub(super) struct Stream {
    requests: Sender<SubscribeRequest>,
    answers: Streaming<SubscribeResponse>,
}

impl Stream {
    async fn open(client: &mut SubscriberClient<Channel>, messages: u32, bytes: u64) -> Self {
        Self::open_at(client, "jobs", messages, bytes).await
    }

    pub(super) async fn open_at(
        client: &mut SubscriberClient<Channel>,
        subscription: &str,
        messages: u32,
        bytes: u64,
    ) -> Self {
        let credit = Some(Credit { messages, bytes });
        let begin = Begin { subscription: subscription.into(), credit, ..Begin::default() };
        Self::begin(client, Say::Begin(begin)).await.unwrap()
    }

    async fn begin(client: &mut SubscriberClient<Channel>, first: Say) -> Result<Self, Status> {
        let (requests, sent) = mpsc::channel(16);
        requests.send(SubscribeRequest { request: Some(first) }).await.unwrap();
        let answers = client.subscribe(ReceiverStream::new(sent)).await?.into_inner();
        Ok(Self { requests, answers })
    }

    pub(super) async fn say(&self, request: Say) {
        self.requests.send(SubscribeRequest { request: Some(request) }).await.unwrap();
    }

    async fn next(&mut self) -> SubscribeResponse {
        timeout(PATIENCE, self.answers.message()).await.unwrap().unwrap().expect("the stream goes on")
    }

    /// Waits for so many messages.
    pub(super) async fn messages(&mut self, count: usize) -> Vec<ReceivedMessage> {
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.extend(self.next().await.messages);
        }
        messages
    }

    /// Waits for outcomes, and that no message comes before them.
    pub(super) async fn settled(&mut self) -> Vec<Settled> {
        let SubscribeResponse { messages, settled } = self.next().await;
        assert_eq!(messages, []);
        settled
    }

    async fn failure(mut self) -> Status {
        loop {
            match timeout(PATIENCE, self.answers.message()).await.unwrap() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended well"),
                Err(status) => return status,
            }
        }
    }
}

#[tokio::test]
async fn a_stream_hands_out_as_far_as_there_is_credit_and_settles() {
    let (server, mut client) = server("lease: 30s").await;
    for n in 0..5 {
        server.publish("declared", n.to_string()).await;
    }
    let mut stream = Stream::open(&mut client, 2, 0).await;
    let first = stream.messages(2).await;
    assert_eq!(texts(&first), ["0", "1"]);
    // Without credit nothing comes but the outcomes.
    stream.say(Say::Acknowledge(Acknowledge { ack_ids: ids(&first) })).await;
    let settled = stream.settled().await;
    assert_eq!(settled.iter().map(|one| one.ack_id.clone()).collect::<Vec<_>>(), ids(&first));
    assert!(settled.iter().all(|one| one.failure.is_none()), "{settled:?}");
    stream.say(Say::Credit(Credit { messages: 10, bytes: 0 })).await;
    let rest = stream.messages(3).await;
    assert_eq!(texts(&rest), ["2", "3", "4"]);
    let extend = Extend { ack_ids: ids(&rest[..1]), lease: Some(seconds(60)) };
    stream.say(Say::Extend(extend)).await;
    assert!(stream.settled().await[0].failure.is_none());
    let back = Nack { ack_ids: ids(&rest[2..]), delay: Some(seconds(0)) };
    stream.say(Say::Nack(back)).await;
    let mut again = Vec::new();
    while again.is_empty() {
        again = stream.next().await.messages;
    }
    assert_eq!((texts(&again), again[0].attempt), (vec!["4".to_owned()], 2));
    stream.say(Say::Acknowledge(Acknowledge { ack_ids: ids(&first) })).await;
    let ended = stream.settled().await;
    assert_eq!(ended[0].failure.as_ref().unwrap().reason, "LEASE_ENDED");
}

#[tokio::test]
async fn credit_by_bytes_lets_one_more_pass_however_large() {
    let (server, mut client) = server("lease: 30s").await;
    for _ in 0..3 {
        server.publish("declared", vec![b'x'; 1000]).await;
    }
    let mut stream = Stream::open(&mut client, 100, 1500).await;
    // 500 bytes are left after the first, and the second passes with them.
    assert_eq!(stream.messages(2).await.len(), 2);
    stream.say(Say::Acknowledge(Acknowledge { ack_ids: vec!["nonsense".into()] })).await;
    assert_eq!(stream.settled().await.len(), 1);
    stream.say(Say::Credit(Credit { messages: 0, bytes: 1 })).await;
    assert_eq!(stream.messages(1).await.len(), 1);
}

#[tokio::test]
async fn what_a_client_that_goes_away_had_comes_again_at_once() {
    let (server, mut client) = server("lease: 10m").await;
    server.publish("declared", "one").await;
    let mut stream = Stream::open(&mut client, 10, 0).await;
    assert_eq!(stream.messages(1).await[0].attempt, 1);
    drop(stream);
    let mut stream = Stream::open(&mut client, 10, 0).await;
    assert_eq!(stream.messages(1).await[0].attempt, 2);
    // Also when it says good-bye.
    let Stream { requests, mut answers } = stream;
    drop(requests);
    assert_eq!(timeout(PATIENCE, answers.message()).await.unwrap().unwrap(), None);
    let mut stream = Stream::open(&mut client, 10, 0).await;
    assert_eq!(stream.messages(1).await[0].attempt, 3);
}

#[tokio::test]
async fn wrong_requests_end_a_stream() {
    let (_server, mut client) = server("lease: 30s").await;
    let begin =
        |subscription: &str| Say::Begin(Begin { subscription: subscription.into(), ..Begin::default() });
    let none = Credit { messages: 0, bytes: 0 };
    let long = Extend { ack_ids: vec!["x".into()], lease: Some(seconds(3600)) };
    for (first, second, code, reason) in [
        (Say::Credit(Credit { messages: 1, bytes: 0 }), None, Code::InvalidArgument, "INVALID_REQUEST"),
        (begin("nobody"), None, Code::NotFound, "UNKNOWN_SUBSCRIPTION"),
        (begin("pushed"), None, Code::Aborted, "NOT_PULLED"),
        (begin("jobs"), Some(begin("jobs")), Code::InvalidArgument, "INVALID_REQUEST"),
        (begin("jobs"), Some(Say::Credit(none)), Code::InvalidArgument, "INVALID_REQUEST"),
        (begin("jobs"), Some(Say::Extend(long)), Code::InvalidArgument, "INVALID_REQUEST"),
    ] {
        let stream = Stream::begin(&mut client, first).await.unwrap();
        if let Some(second) = second {
            stream.say(second).await;
        }
        details(&stream.failure().await, code, reason);
    }
}

#[tokio::test]
async fn a_stream_that_is_not_read_costs_no_other_one_anything() {
    let (server, mut client) = server("lease: 30s").await;
    let _idle = Stream::open(&mut client, 1, 0).await;
    let mut other = SubscriberClient::new(server.channel().await);
    server.publish("declared", "one").await;
    server.publish("declared", "two").await;
    let mut stream = Stream::open(&mut other, 10, 0).await;
    // One of the two is leased to the stream that nobody reads.
    assert_eq!(stream.messages(1).await.len(), 1);
}

#[tokio::test]
async fn a_server_that_stops_takes_verdicts_first() {
    let (mut server, mut client) = server("lease: 30s").await;
    server.publish("declared", "one").await;
    let mut stream = Stream::open(&mut client, 10, 0).await;
    let messages = stream.messages(1).await;
    let stopping = server.begin_to_stop();
    stream.say(Say::Acknowledge(Acknowledge { ack_ids: ids(&messages) })).await;
    assert!(stream.settled().await[0].failure.is_none());
    details(&stream.failure().await, Code::Unavailable, "DRAINING");
    let ended = stopping.await;
    assert!(ended.is_clean(), "{ended:?}");
}
