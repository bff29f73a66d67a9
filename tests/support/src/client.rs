//! A small HTTP client: what it sends is what the test wrote, and nothing is retried or followed.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, timeout_at};

/// Sends requests over connections that it keeps. Clones share them.
#[derive(Clone, Debug)]
pub struct Client(legacy::Client<HttpConnector, Full<Bytes>>);

/// A request that has not been sent yet.
#[derive(Clone, Debug)]
pub struct Request {
    client: Client,
    method: Method,
    url: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
    deadline: Duration,
}

/// An answer that was read whole.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// An answer whose body is still coming, such as server-sent events.
#[derive(Debug)]
pub struct Streamed {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
}

/// The request got no answer, or half of one: whether it was received is unknown.
#[derive(Clone, Debug)]
pub struct NoAnswer(String);

impl Client {
    /// Returns a client that speaks HTTP/1.1.
    #[expect(clippy::new_without_default, reason = "tests name the client they want")]
    pub fn new() -> Self {
        Self(legacy::Client::builder(TokioExecutor::new()).build(connector()))
    }

    /// Returns a client that speaks HTTP/2 without TLS, by prior knowledge.
    pub fn http2() -> Self {
        Self(legacy::Client::builder(TokioExecutor::new()).http2_only(true).build(connector()))
    }

    /// Begins a `GET`.
    pub fn get(&self, url: &str) -> Request {
        self.request(Method::GET, url)
    }

    /// Begins a `POST`.
    pub fn post(&self, url: &str, body: impl Into<Bytes>) -> Request {
        self.request(Method::POST, url).body(body)
    }

    /// Begins a request of any method.
    pub fn request(&self, method: Method, url: &str) -> Request {
        let (client, url) = (self.clone(), url.to_owned());
        Request { client, method, url, headers: Vec::new(), body: Bytes::new(), deadline: DEADLINE }
    }
}

impl Request {
    /// Adds a header; the same name twice gives two lines.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets how long the whole answer may take, instead of 30 seconds.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sends it, and reads the answer whole.
    pub async fn send(self) -> Result<Response, NoAnswer> {
        let end = Instant::now() + self.deadline;
        let answer = self.open().await?;
        let body = timeout_at(end, answer.body.collect()).await.map_err(NoAnswer::because)?;
        let body = body.map_err(NoAnswer::because)?.to_bytes();
        Ok(Response { status: answer.status, headers: answer.headers, body })
    }

    /// Sends it, and returns when the answer's headers are there.
    pub async fn open(self) -> Result<Streamed, NoAnswer> {
        let end = Instant::now() + self.deadline;
        let mut request = http::Request::builder().method(self.method).uri(self.url);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body)).expect("a request that can be sent");
        let sent = self.client.0.request(request);
        let answer = timeout_at(end, sent).await.map_err(NoAnswer::because)?;
        let (head, body) = answer.map_err(NoAnswer::because)?.into_parts();
        Ok(Streamed { status: head.status, headers: head.headers, body })
    }
}

impl Response {
    /// Returns a header's value as text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header that is text"))
    }

    /// Returns the body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body that is text")
    }

    /// Returns the body as JSON.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(json) => json,
            Err(error) => panic!("{error} in {} {:?}", self.status, self.body),
        }
    }
}

impl Streamed {
    /// Waits for the next piece of the body; `None` at its end.
    pub async fn next(&mut self) -> Option<Result<Bytes, NoAnswer>> {
        loop {
            let frame = match self.body.frame().await? {
                Ok(frame) => frame,
                Err(error) => return Some(Err(NoAnswer::because(error))),
            };
            if let Ok(piece) = frame.into_data() {
                return Some(Ok(piece));
            }
        }
    }
}

impl NoAnswer {
    fn because(error: impl std::error::Error + 'static) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            reason = format!("{reason}: {error}");
            source = error.source();
        }
        Self(reason)
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer: {}", self.0)
    }
}

impl std::error::Error for NoAnswer {}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

const DEADLINE: Duration = Duration::from_secs(30);
