//! The gRPC door: whatever the frames of a call hold, its status is one that the door knows, and every
//! receipt is of a message that the broker was given.

#![no_main]

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arbitrary::Arbitrary;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Version};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use sidespan::grpc::{Door, Grpc};
use sidespan::health::Health;
use sidespan::listen::Service;
use sidespan::prepare;
use sidespan::proto::modify_deadline_request::Change;
use sidespan::proto::subscribe_request::Request as Say;
use sidespan::proto::{self, outcome};
use sidespan_fuzz::{GIVEN, Ground, RUNTIME};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Arbitrary, Debug)]
struct Call<'a> {
    method: Method,
    gzip: bool,
    timeout: Option<&'a str>,
    frames: Vec<Frame<'a>>,
    /// Where the body is cut into pieces.
    cuts: Vec<u8>,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Method {
    Acknowledge,
    GetSubscription,
    ListTopics,
    ModifyDeadline,
    Publish,
    PublishStream,
    Pull,
    Reflection,
    Reply,
    Request,
    Subscribe,
}

impl Method {
    fn path(self) -> &'static str {
        match self {
            Self::Acknowledge => "/sidespan.v1.Subscriber/Acknowledge",
            Self::GetSubscription => "/sidespan.v1.Admin/GetSubscription",
            Self::ListTopics => "/sidespan.v1.Admin/ListTopics",
            Self::ModifyDeadline => "/sidespan.v1.Subscriber/ModifyDeadline",
            Self::Publish => "/sidespan.v1.Publisher/Publish",
            Self::PublishStream => "/sidespan.v1.Publisher/PublishStream",
            Self::Pull => "/sidespan.v1.Subscriber/Pull",
            Self::Reflection => "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            Self::Reply => "/sidespan.v1.Subscriber/Reply",
            Self::Request => "/sidespan.v1.Requester/Request",
            Self::Subscribe => "/sidespan.v1.Subscriber/Subscribe",
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Frame<'a> {
    /// In place of 0.
    flag: Option<u8>,
    /// In place of the true length.
    length: Option<u32>,
    message: Message<'a>,
}

#[derive(Arbitrary, Debug)]
enum Message<'a> {
    Begin { jobs: bool, messages: u32, bytes: u64 },
    Credit { messages: u32, bytes: u64 },
    Modify { id: &'a str, seconds: i64, nanos: i32, lease: bool },
    Nack { id: &'a str, seconds: i64, nanos: i32 },
    Publish { messages: Vec<Published<'a>> },
    Pull { messages: u32, bytes: u64, seconds: i64 },
    Raw(&'a [u8]),
    Reply { id: &'a str, status: u32, headers: Vec<(&'a str, &'a [u8])>, payload: &'a [u8] },
    Request { message: Published<'a> },
    Settle { ids: Vec<&'a str> },
    Stream { sequence: u64, message: Published<'a> },
}

#[derive(Arbitrary, Debug)]
struct Published<'a> {
    topic: Option<&'a str>,
    id: &'a str,
    key: Option<&'a [u8]>,
    partition: Option<u32>,
    content_type: &'a str,
    headers: Vec<(&'a str, &'a [u8])>,
    payload: &'a [u8],
    tombstone: bool,
}

fn header((name, value): &(&str, &[u8])) -> proto::Header {
    proto::Header { name: (*name).to_owned(), value: value.to_vec() }
}

impl Published<'_> {
    fn message(&self) -> proto::Message {
        proto::Message {
            topic: self.topic.unwrap_or("declared").to_owned(),
            id: self.id.to_owned(),
            key: self.key.map(<[u8]>::to_vec),
            partition: self.partition,
            content_type: self.content_type.to_owned(),
            headers: self.headers.iter().map(header).collect(),
            payload: Bytes::copy_from_slice(self.payload),
            tombstone: self.tombstone,
            ..proto::Message::default()
        }
    }
}

impl Message<'_> {
    fn encode(&self) -> Vec<u8> {
        let subscription = || "jobs".to_owned();
        let span = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        let say = |request| proto::SubscribeRequest { request: Some(request) }.encode_to_vec();
        match *self {
            Self::Begin { jobs, messages, bytes } => say(Say::Begin(proto::Begin {
                subscription: if jobs { subscription() } else { String::new() },
                credit: Some(proto::Credit { messages, bytes }),
                ..proto::Begin::default()
            })),
            Self::Credit { messages, bytes } => say(Say::Credit(proto::Credit { messages, bytes })),
            Self::Modify { id, seconds, nanos, lease } => {
                let back = Change::GiveBack(proto::GiveBack { delay: span(seconds, nanos) });
                let change = span(seconds, nanos).filter(|_| lease).map_or(back, Change::Lease);
                let (ack_ids, change) = (vec![id.to_owned()], Some(change));
                proto::ModifyDeadlineRequest { subscription: subscription(), ack_ids, change }.encode_to_vec()
            }
            Self::Nack { id, seconds, nanos } => {
                let ack_ids = vec![id.to_owned()];
                say(Say::Nack(proto::Nack { ack_ids, delay: span(seconds, nanos) }))
            }
            Self::Publish { ref messages } => {
                let messages = messages.iter().map(Published::message).collect();
                proto::PublishRequest { messages }.encode_to_vec()
            }
            Self::Pull { messages, bytes, seconds } => proto::PullRequest {
                subscription: subscription(),
                max_messages: messages,
                max_bytes: bytes,
                wait: span(seconds, 0),
                ..proto::PullRequest::default()
            }
            .encode_to_vec(),
            Self::Raw(bytes) => bytes.to_vec(),
            Self::Reply { id, status, ref headers, payload } => {
                let reply = proto::Reply {
                    status,
                    headers: headers.iter().map(header).collect(),
                    payload: Bytes::copy_from_slice(payload),
                    ..proto::Reply::default()
                };
                let ack_id = id.to_owned();
                proto::ReplyRequest { subscription: subscription(), ack_id, reply: Some(reply) }
                    .encode_to_vec()
            }
            Self::Request { ref message } => {
                proto::RequestRequest { message: Some(message.message()) }.encode_to_vec()
            }
            Self::Settle { ref ids } => {
                let ack_ids = ids.iter().map(|id| (*id).to_owned()).collect();
                proto::AcknowledgeRequest { subscription: subscription(), ack_ids }.encode_to_vec()
            }
            Self::Stream { sequence, ref message } => {
                let message = Some(message.message());
                proto::PublishStreamRequest { sequence, message }.encode_to_vec()
            }
        }
    }
}

impl Call<'_> {
    /// Tells whether it is a call as gRPC has it, whatever its messages hold. Of others the framing says
    /// INTERNAL.
    fn is_whole(&self) -> bool {
        let is_stream = matches!(self.method, Method::PublishStream | Method::Reflection | Method::Subscribe);
        let is_true = |frame: &Frame<'_>| frame.flag.is_none() && frame.length.is_none();
        (is_stream || self.frames.len() == 1) && self.frames.iter().all(is_true)
    }

    fn request(&self) -> Option<Request<Body>> {
        let mut request = Request::post(self.method.path()).version(Version::HTTP_2);
        request = request.header("content-type", "application/grpc");
        if self.gzip {
            request = request.header("grpc-encoding", "gzip");
        }
        if let Some(timeout) = self.timeout {
            request = request.header("grpc-timeout", timeout);
        }
        let mut body = Vec::new();
        for frame in &self.frames {
            let message = frame.message.encode();
            let length = frame.length.unwrap_or(u32::try_from(message.len()).ok()?);
            body.push(frame.flag.unwrap_or(0));
            body.extend(length.to_be_bytes());
            body.extend(message);
        }
        let mut body = Bytes::from(body);
        let mut pieces = Vec::new();
        for cut in &self.cuts {
            let piece = body.split_to(usize::from(*cut).min(body.len()));
            pieces.push(Ok::<_, Infallible>(piece));
        }
        pieces.push(Ok(body));
        request.body(Body::from_stream(stream::iter(pieces))).ok()
    }
}

fuzz_target!(|call: Call<'_>| {
    let Some(request) = call.request() else { return };
    RUNTIME.block_on(async {
        let before = GIVEN.load(Ordering::Relaxed);
        let answered = async {
            let answer = DOOR.clone().answer(request).await;
            let head = answer.headers().clone();
            (head, answer.into_body().collect().await.expect("a body"))
        };
        let (head, body) = timeout(PATIENCE, answered).await.expect("a call ends");
        let trailers = body.trailers().cloned().unwrap_or_default();
        let status = status(&head).or_else(|| status(&trailers)).expect("a status");
        let is_known = KNOWN.contains(&status) || (status == INTERNAL && !call.is_whole());
        assert!(is_known, "{status}: {head:?} {trailers:?}");
        let given = GIVEN.load(Ordering::Relaxed) - before;
        let receipts = receipts(call.method, &body.to_bytes());
        assert!(receipts <= given, "{receipts} receipts of {given} messages");
        assert!(status != 0 || receipts == given, "{given} messages, and {receipts} receipts");
    });
});

fn status(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Counts the receipts in an answer, which is whole.
fn receipts(method: Method, mut body: &[u8]) -> usize {
    let mut outcomes = Vec::new();
    while let Some((head, rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (message, rest) = rest.split_at(length);
        body = rest;
        match method {
            Method::Publish => {
                outcomes.extend(proto::PublishResponse::decode(message).expect("an answer").outcomes);
            }
            Method::PublishStream => {
                outcomes.extend(proto::PublishStreamResponse::decode(message).expect("an answer").outcome);
            }
            _ => {}
        }
    }
    outcomes.iter().filter(|one| matches!(one.result, Some(outcome::Result::Receipt(_)))).count()
}

/// Of gRPC's statuses, those that a call may end with: neither UNKNOWN nor INTERNAL.
const KNOWN: [i32; 10] = [0, 1, 3, 4, 5, 8, 9, 10, 12, 14];
const INTERNAL: i32 = 13;
const PATIENCE: Duration = Duration::from_secs(10);

static DOOR: LazyLock<Grpc<Nothing>> = LazyLock::new(|| {
    let Ground { limits, publishing, requesting, roster, subscriptions, pulling } = Ground::new();
    let (drain, tasks) = (CancellationToken::new(), TaskTracker::new());
    let unknown = prepare::topics(&publishing.routes().declared()).unknown();
    let file = Arc::default();
    let health = Health::watch(
        std::iter::empty(),
        publishing.clone(),
        unknown,
        roster,
        subscriptions.clone(),
        file,
        drain.clone(),
    );
    let (health, streams) = (Arc::new(health), Arc::new(Semaphore::new(limits.max_streams)));
    let door = Door { publishing, requesting, subscriptions, pulling, health, limits, drain, streams, tasks };
    Grpc::before(Nothing, door)
});

/// There is no other door.
#[derive(Clone)]
struct Nothing;

impl Service for Nothing {
    async fn answer(self, _: Request<Body>) -> axum::response::Response {
        unreachable!("every request is a call")
    }
}
