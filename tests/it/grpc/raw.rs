//! HTTP/2 without a gRPC client, for what no such client would send.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::{batch, message};
use crate::server::Server;

pub(crate) const PUBLISH: &str = "/sidespan.v1.Publisher/Publish";

/// What a call was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) http: u16,
    /// Headers and trailers.
    pub(crate) said: HeaderMap,
}

impl Answer {
    pub(crate) fn grpc(&self) -> &str {
        self.said.get("grpc-status").map_or("none", |status| status.to_str().unwrap())
    }
}

/// A message with its length ahead.
pub(crate) fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[flag], &length.to_be_bytes()[..], message].concat()
}

/// A batch of one message, as it is on the wire.
pub(crate) fn publish_request() -> Vec<u8> {
    framed(0, &batch([message("orders", "x")]).encode_to_vec())
}

/// A body that comes in pieces.
pub(crate) fn pieces()
-> (mpsc::Sender<Vec<u8>>, impl Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static) {
    let (sender, pieces) = mpsc::channel(1);
    let frames = ReceiverStream::new(pieces).map(|piece: Vec<u8>| Ok(Frame::data(Bytes::from(piece))));
    (sender, StreamBody::new(frames))
}

impl Server {
    /// Sends a body to a path, with these headers instead of or beside those that belong to a call.
    pub(crate) async fn post_raw(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        post(self.address(), path, headers, Full::new(Bytes::from(body))).await
    }
}

/// Sends a body that need not be whole yet.
pub(crate) fn post<B>(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: B,
) -> impl Future<Output = Answer> + use<B>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let mut host = address.to_string();
    let mut request = Request::post("/").body(body).unwrap();
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    for (name, value) in headers {
        if *name == "host" {
            host = (*value).to_owned();
        } else {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    *request.uri_mut() = format!("http://{host}{path}").parse().unwrap();
    let answer = async move {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let connected = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
        let (mut client, connection) = connected.unwrap();
        tokio::spawn(connection);
        let (head, body) = client.send_request(request).await.unwrap().into_parts();
        let mut said = head.headers;
        said.extend(body.collect().await.unwrap().trailers().cloned().unwrap_or_default());
        Answer { http: head.status.as_u16(), said }
    };
    async { timeout(Duration::from_secs(20), answer).await.expect("an answer") }
}

#[tokio::test]
async fn what_is_no_call_is_told_so() {
    let server = Server::start().await;
    let good = publish_request;
    for (what, path, headers, body, expected) in [
        ("a good one", PUBLISH, vec![], good(), "0"),
        ("with its format", PUBLISH, vec![("content-type", "application/grpc+proto")], good(), "0"),
        ("no such method", "/sidespan.v1.Publisher/Store", vec![], good(), "12"),
        ("no such service", "/x.Y/Z", vec![], good(), "12"),
        ("no path", "/", vec![], good(), "12"),
        ("no message", PUBLISH, vec![], vec![], "13"),
        ("half a head", PUBLISH, vec![], vec![0, 0, 0], "3"),
        ("half a message", PUBLISH, vec![], good()[..9].to_vec(), "3"),
        ("a flag that is none", PUBLISH, vec![], framed(7, b""), "13"),
        ("compressed without a word", PUBLISH, vec![], framed(1, b"abc"), "13"),
        ("not protobuf", PUBLISH, vec![], framed(0, b"\xff\xff\xff\xff"), "3"),
        ("another compression", PUBLISH, vec![("grpc-encoding", "br")], good(), "12"),
        ("not what it says", PUBLISH, vec![("grpc-encoding", "gzip")], framed(1, b"abc"), "13"),
        ("no timeout", PUBLISH, vec![("grpc-timeout", "soon")], good(), "3"),
        ("too late", PUBLISH, vec![("grpc-timeout", "0n")], good(), "4"),
        ("a key for a batch", PUBLISH, vec![("idempotency-key", "1")], good(), "3"),
        ("a mistyped name", PUBLISH, vec![("sidespan-timout", "1s")], good(), "3"),
        ("another host", PUBLISH, vec![("host", "rebound.example")], good(), "7"),
        ("a page", PUBLISH, vec![("origin", "https://evil.example")], good(), "7"),
    ] {
        let answer = server.post_raw(path, &headers, body).await;
        assert_eq!((answer.http, answer.grpc()), (200, expected), "{what}: {answer:?}");
    }
    for content_type in ["application/grpc-web", "application/grpc+json", "application/json"] {
        let answer = server.post_raw(PUBLISH, &[("content-type", content_type)], good()).await;
        assert_eq!((answer.http, answer.grpc()), (404, "none"), "{content_type}: {answer:?}");
    }
    assert_eq!(server.messages("orders", 2).await.len(), 2);
    let topic = server.get("/v1/topics/orders").expect(200).await;
    assert_eq!(topic["messages"], 2, "nothing else was stored");
}

#[tokio::test]
async fn fields_that_nobody_knows_are_passed_over() {
    let server = Server::start().await;
    let mut request = batch([message("orders", "x")]).encode_to_vec();
    request.extend(b"\xf8\x07\x01\xfa\x07\x03abc");
    let answer = server.post_raw(PUBLISH, &[], framed(0, &request)).await;
    assert_eq!(answer.grpc(), "0", "{answer:?}");
}
