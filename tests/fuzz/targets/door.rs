//! The REST door: whatever a request holds, the answer is one that the door knows, and a 2xx tells of
//! as many messages as the broker was given.

#![no_main]

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use axum::body::Body;
use axum::http::{HeaderValue, Request};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use sidespan::listen::Service;
use sidespan::rest::{Door, Guard, Guarded, Rest};
use sidespan_bridge::Fault;
use sidespan_fuzz::{GIVEN, Ground, RUNTIME};
use tokio_util::sync::CancellationToken;

#[derive(Arbitrary, Debug)]
struct Call<'a> {
    batch: bool,
    topic: Topics,
    content_type: ContentTypes<'a>,
    encoding: Encoding,
    headers: Vec<(Names, &'a [u8])>,
    chunks: Vec<&'a [u8]>,
}

#[derive(Arbitrary, Debug)]
enum Topics {
    Declared,
    Open,
    Odd,
}

#[derive(Arbitrary, Debug)]
enum ContentTypes<'a> {
    Absent,
    Array,
    Event,
    EventBatch,
    Json,
    Lines,
    Other(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Encoding {
    Absent,
    Gzip,
    Zstd,
}

#[derive(Arbitrary, Debug)]
enum Names {
    Accept,
    CeId,
    CeSource,
    CeSpecversion,
    CeType,
    CeTime,
    CePartitionkey,
    CeOther,
    Deduplication,
    Header,
    Id,
    Key,
    Partition,
    Prefer,
    Timeout,
    Tombstone,
    Traceparent,
}

impl Names {
    fn text(&self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::CeId => "ce-id",
            Self::CeSource => "ce-source",
            Self::CeSpecversion => "ce-specversion",
            Self::CeType => "ce-type",
            Self::CeTime => "ce-time",
            Self::CePartitionkey => "ce-partitionkey",
            Self::CeOther => "ce-anotherattribute",
            Self::Deduplication => "idempotency-key",
            Self::Header => "sidespan-header-any",
            Self::Id => "sidespan-id",
            Self::Key => "sidespan-key",
            Self::Partition => "sidespan-partition",
            Self::Prefer => "prefer",
            Self::Timeout => "sidespan-timeout",
            Self::Tombstone => "sidespan-tombstone",
            Self::Traceparent => "traceparent",
        }
    }
}

impl Call<'_> {
    fn request(&self) -> Option<Request<Body>> {
        let topic = match self.topic {
            Topics::Declared => "declared",
            Topics::Open => "open.topic",
            Topics::Odd => "%00%ff*",
        };
        let kind = if self.batch { "batches" } else { "messages" };
        let mut request = Request::post(format!("/v1/topics/{topic}/{kind}")).header("host", "localhost");
        let content_type: &[u8] = match &self.content_type {
            ContentTypes::Absent => b"",
            ContentTypes::Array => b"application/json; charset=utf-8",
            ContentTypes::Event => b"application/cloudevents+json",
            ContentTypes::EventBatch => b"application/cloudevents-batch+json",
            ContentTypes::Json => b"application/json",
            ContentTypes::Lines => b"application/x-ndjson",
            ContentTypes::Other(text) => text,
        };
        if !content_type.is_empty() {
            request = request.header("content-type", HeaderValue::from_bytes(content_type).ok()?);
        }
        request = match self.encoding {
            Encoding::Absent => request,
            Encoding::Gzip => request.header("content-encoding", "gzip"),
            Encoding::Zstd => request.header("content-encoding", "zstd"),
        };
        for (name, value) in &self.headers {
            request = request.header(name.text(), HeaderValue::from_bytes(value).ok()?);
        }
        let chunks: Vec<_> =
            self.chunks.iter().map(|chunk| Ok::<_, Fault>(Bytes::copy_from_slice(chunk))).collect();
        request.body(Body::from_stream(stream::iter(chunks))).ok()
    }
}

fuzz_target!(|call: Call<'_>| {
    let Some(request) = call.request() else { return };
    let asynchronous = request.headers().contains_key("prefer");
    let (status, body, given) = RUNTIME.block_on(async {
        let before = GIVEN.load(Ordering::Relaxed);
        let answer = DOOR.clone().answer(request).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, body, GIVEN.load(Ordering::Relaxed) - before)
    });
    assert!(KNOWN.contains(&status), "{status}: {}", String::from_utf8_lossy(&body));
    let answer: serde_json::Value = serde_json::from_slice(&body).expect("an answer in JSON");
    if status == 200 && !asynchronous {
        let told = answer["stored"].as_u64().unwrap_or(1);
        assert_eq!(told, given as u64, "{answer}");
    }
});

/// What publishing may be answered with.
const KNOWN: [u16; 11] = [200, 202, 207, 400, 404, 406, 408, 409, 413, 415, 422];

static DOOR: LazyLock<Guarded<Rest>> = LazyLock::new(|| {
    let Ground { limits, publishing, requesting, subscriptions, pulling, .. } = Ground::new();
    let door = Door::new(publishing, requesting, subscriptions, pulling, limits, CancellationToken::new());
    Guard::new(None, vec!["localhost".into()], Vec::new()).protect(Rest::new(Arc::new(door)))
});
