//! The WebSocket of a subscription: whatever frames come, each that goes back can be read, the socket ends
//! when its client does, and nothing fails inside.

#![no_main]

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arbitrary::Arbitrary;
use axum::body::Body;
use axum::http::Request;
use futures_util::StreamExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use sidespan::listen::Service;
use sidespan::proto::consumer_frame::{Frame as Say, Ping};
use sidespan::proto::{self, ConsumerAnswer, ConsumerFrame};
use sidespan::rest::{Door, Guard, Guarded, Rest};
use sidespan_fuzz::{Ground, RUNTIME};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};
use tokio_util::sync::CancellationToken;

#[derive(Arbitrary, Debug)]
struct Talk<'a> {
    proto: bool,
    frames: Vec<Frame<'a>>,
}

#[derive(Arbitrary, Debug)]
struct Frame<'a> {
    /// In place of one that is whole, with data.
    head: Option<u8>,
    unmasked: bool,
    said: Said<'a>,
}

#[derive(Arbitrary, Debug)]
enum Said<'a> {
    Ack { ids: Vec<&'a str>, seq: Option<u64> },
    Credit { messages: u64, bytes: Option<u64> },
    Extend { id: &'a str, seconds: i64 },
    Nack { id: &'a str, seconds: i64 },
    Ping { seq: u64 },
    Publish { seq: u64, topic: Option<&'a str>, key: Option<&'a str>, text: &'a str },
    Raw(&'a [u8]),
}

impl Said<'_> {
    fn json(&self) -> Vec<u8> {
        use serde_json::json;
        let said = match *self {
            Self::Ack { ref ids, seq } => json!({ "type": "ack", "ack_ids": ids, "seq": seq }),
            Self::Credit { messages, bytes } => {
                json!({ "type": "credit", "messages": messages, "bytes": bytes })
            }
            Self::Extend { id, seconds } => {
                json!({ "type": "extend", "ack_ids": [id], "lease": format!("{seconds}s") })
            }
            Self::Nack { id, seconds } => {
                json!({ "type": "nack", "ack_ids": [id], "delay": format!("{seconds}s") })
            }
            Self::Ping { seq } => json!({ "type": "ping", "seq": seq }),
            Self::Publish { seq, topic, key, text } => json!({
                "type": "publish",
                "seq": seq,
                "topic": topic.unwrap_or("declared"),
                "message": { "text": text, "key": key },
            }),
            Self::Raw(bytes) => return bytes.to_vec(),
        };
        said.to_string().into_bytes()
    }

    fn proto(&self) -> Vec<u8> {
        let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let (sequence, frame) = match *self {
            Self::Ack { ref ids, seq } => {
                let ack_ids = ids.iter().map(|id| (*id).to_owned()).collect();
                (seq, Say::Acknowledge(proto::Acknowledge { ack_ids }))
            }
            Self::Credit { messages, bytes } => {
                let messages = u32::try_from(messages).unwrap_or(u32::MAX);
                (None, Say::Credit(proto::Credit { messages, bytes: bytes.unwrap_or(0) }))
            }
            Self::Extend { id, seconds } => {
                (None, Say::Extend(proto::Extend { ack_ids: vec![id.to_owned()], lease: span(seconds) }))
            }
            Self::Nack { id, seconds } => {
                (None, Say::Nack(proto::Nack { ack_ids: vec![id.to_owned()], delay: span(seconds) }))
            }
            Self::Ping { seq } => (Some(seq), Say::Ping(Ping {})),
            Self::Publish { seq, topic, key, text } => {
                let message = proto::Message {
                    topic: topic.unwrap_or("declared").to_owned(),
                    key: key.map(|key| key.as_bytes().to_vec()),
                    payload: text.as_bytes().to_vec().into(),
                    ..proto::Message::default()
                };
                (Some(seq), Say::Publish(message))
            }
            Self::Raw(bytes) => return bytes.to_vec(),
        };
        ConsumerFrame { sequence, frame: Some(frame) }.encode_to_vec()
    }
}

impl Talk<'_> {
    /// The handshake (RFC 6455, section 4.1).
    fn head(&self) -> String {
        let protocol = if self.proto { "sidespan.v1.proto" } else { "sidespan.v1.json" };
        format!(
            "GET /v1/subscriptions/jobs/stream HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: {protocol}\r\n\r\n"
        )
    }

    /// The frames (section 5.2).
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in &self.frames {
            let (data, whole) =
                if self.proto { (frame.said.proto(), 0x82) } else { (frame.said.json(), 0x81) };
            bytes.push(frame.head.unwrap_or(whole));
            let mask = if frame.unmasked { 0 } else { 0x80 };
            match (u8::try_from(data.len()), u16::try_from(data.len())) {
                (Ok(short), _) if short < 126 => bytes.push(mask | short),
                (_, Ok(length)) => {
                    bytes.push(mask | 126);
                    bytes.extend(length.to_be_bytes());
                }
                (_, Err(_)) => {
                    bytes.push(mask | 127);
                    bytes.extend((data.len() as u64).to_be_bytes());
                }
            }
            if !frame.unmasked {
                // A mask that changes nothing.
                bytes.extend([0; 4]);
            }
            bytes.extend(data);
        }
        bytes
    }
}

fuzz_target!(|talk: Talk<'_>| {
    RUNTIME.block_on(async {
        let (client, server) = duplex(64 << 10);
        let answer = service_fn(|request: Request<hyper::body::Incoming>| {
            let answer = DOOR.clone().answer(request.map(Body::new));
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(server), answer).with_upgrades();
        let connection = tokio::spawn(connection);
        timeout(PATIENCE, converse(client, &talk)).await.expect("a socket ends with its client");
        connection.abort();
    });
});

/// Says everything, and reads until the other side has ended too.
async fn converse(mut client: DuplexStream, talk: &Talk<'_>) {
    client.write_all(talk.head().as_bytes()).await.expect("a server that reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    let (mut reader, mut writer) = tokio::io::split(client);
    let bytes = talk.bytes();
    let saying = async move {
        // The other side may have ended before.
        let _ = writer.write_all(&bytes).await;
        let _ = writer.shutdown().await;
    };
    let mut all = Vec::new();
    let (_, read) = tokio::join!(saying, reader.read_to_end(&mut all));
    read.expect("an end");
    let (client, mut server) = duplex(all.len().max(1));
    server.write_all(&all).await.expect("room for all");
    drop(server);
    let mut socket = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    while let Some(Ok(frame)) = socket.next().await {
        match frame {
            Message::Text(text) => {
                let answer: serde_json::Value = serde_json::from_str(&text).expect("an answer in JSON");
                assert!(!talk.proto && answer["type"].is_string(), "{answer}");
                assert_ne!(answer["code"], "INTERNAL", "{answer}");
            }
            Message::Binary(bytes) => {
                let answer = ConsumerAnswer::decode(bytes).expect("an answer in protobuf");
                assert!(talk.proto && answer.answer.is_some());
            }
            Message::Close(Some(close)) => assert_ne!(u16::from(close.code), FAILED, "{close}"),
            Message::Close(None) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// The server has failed, by its own word.
const FAILED: u16 = 1011;
const PATIENCE: Duration = Duration::from_secs(10);

static DOOR: LazyLock<Guarded<Rest>> = LazyLock::new(|| {
    let Ground { limits, publishing, requesting, subscriptions, pulling, .. } = Ground::new();
    let door = Door::new(publishing, requesting, subscriptions, pulling, limits, CancellationToken::new());
    Guard::new(None, vec!["localhost".into()], Vec::new()).protect(Rest::new(Arc::new(door)))
});
