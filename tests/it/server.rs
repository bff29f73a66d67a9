//! A server for one test, and a client that holds every answer to the description.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use sidespan::app::{App, Ended, Listeners};
use sidespan::config::{Address, Config};
use sidespan::listen::Listener;
use sidespan_bridge::Driver;
use sidespan_test_support::{Client, NoAnswer, Request, Response, Streamed, eventually, unique_name};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::document::Document;
use crate::trouble::{Trouble, hangs};

/// A running server. It stops when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    admin: SocketAddr,
    client: Client,
    stop: CancellationToken,
    serving: JoinHandle<Ended>,
    _directory: TempDir,
}

impl Server {
    /// Starts a server whose default bridge is an open embedded log, with the topic `declared` at
    /// `address.of.declared`, and a bridge that makes no topics, with the topic `missing`.
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// Starts a server with further top-level sections.
    pub(crate) async fn with(sections: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::on(address, Listener::Tcp(listener), sections).await
    }

    /// Starts a server behind a Unix socket.
    pub(crate) async fn behind(socket: &Path) -> Self {
        let listener = Listener::bind(&Address::Unix(socket.to_owned())).await.unwrap();
        Self::on(([127, 0, 0, 1], 0).into(), listener, "").await
    }

    async fn on(address: SocketAddr, services: Listener, sections: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        let yaml = format!(
            "version: 1\nservice: shop\ndefault_bridge: local\nbridges:\n\
             \x20 local: {{ kind: trouble, dir: {root}/local, open: true }}\n\
             \x20 closed: {{ kind: trouble, dir: {root}/closed, create_topics: false }}\n\
             topics:\n  declared: {{ bridge: local, address: address.of.declared }}\n\
             \x20 missing: {{ bridge: closed }}\n{sections}"
        );
        let path = directory.path().join("sidespan.yaml");
        std::fs::File::create(&path).unwrap().write_all(yaml.as_bytes()).unwrap();
        let drivers: [&'static dyn Driver; 1] = [&Trouble];
        let config = Config::load(&path, &drivers).unwrap();

        let operators = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = operators.local_addr().unwrap();
        let listeners = Listeners { services, admin: Listener::Tcp(operators), health: None };
        let app = App::with(config, listeners).unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(app.run(stop.clone().cancelled_owned()));
        Self { address, admin, client: Client::new(), stop, serving, _directory: directory }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns where operators speak to it.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Tells the server to stop and waits until it has; returns how it ended.
    pub(crate) async fn stop(mut self) -> Ended {
        self.stop.cancel();
        (&mut self.serving).await.unwrap()
    }

    /// Tells the server to stop; what is returned waits until it has. It answers meanwhile.
    pub(crate) fn begin_to_stop(&mut self) -> impl Future<Output = Ended> + use<> {
        self.stop.cancel();
        let serving = std::mem::replace(&mut self.serving, tokio::spawn(async { Ended::default() }));
        async { serving.await.unwrap() }
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path, Bytes::new())
    }

    pub(crate) fn post(&self, path: &str, body: impl Into<Bytes>) -> Call {
        self.call(Method::POST, path, body.into())
    }

    pub(crate) fn call(&self, method: Method, path: &str, body: Bytes) -> Call {
        self.call_by(&self.client, method, path, body)
    }

    pub(crate) fn call_by(&self, client: &Client, method: Method, path: &str, body: Bytes) -> Call {
        let request = client.request(method.clone(), &format!("http://{}{path}", self.address)).body(body);
        Call { request, method, path: path.to_owned() }
    }

    /// Publishes a message and expects its receipt.
    pub(crate) async fn publish(&self, topic: &str, body: impl Into<Bytes>) -> Value {
        self.post(&format!("/v1/topics/{topic}/messages"), body).expect(200).await
    }

    /// Sends a message that its broker has and does not answer for two seconds; returns once the
    /// broker has it.
    pub(crate) async fn occupy(&self, body: Vec<u8>) -> JoinHandle<Response> {
        let name = unique_name("hang");
        let call = self.post("/v1/topics/orders/messages", body).header("Sidespan-Timeout", "2s");
        let answer = tokio::spawn(call.header("Sidespan-Header-Trouble", &name).send());
        eventually(Duration::from_secs(10), "a message that hangs", async || hangs(&name)).await;
        answer
    }

    /// Reads the first `count` messages that a topic has.
    pub(crate) async fn messages(&self, topic: &str, count: usize) -> Vec<Value> {
        let mut events = self.follow(&format!("/v1/topics/{topic}/stream?start=begin"), &[]).await;
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.push(events.message().await.1);
        }
        messages
    }

    /// Opens a stream.
    pub(crate) async fn follow(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        self.try_follow(path, headers).await.unwrap_or_else(|status| panic!("{path} is {status}"))
    }

    /// Opens a stream, or returns the status of the refusal.
    pub(crate) async fn try_follow(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Events, StatusCode> {
        let mut call = self.get(path);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let streamed = call.request.open().await.unwrap();
        Document::get().check_head(&Method::GET, path, streamed.status.as_u16(), &streamed.headers);
        if streamed.status != StatusCode::OK {
            return Err(streamed.status);
        }
        Ok(Events { streamed, buffer: String::new() })
    }

    /// Sends bytes on a connection of their own.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        self.serving.abort();
    }
}

/// A request that has not been sent yet.
pub(crate) struct Call {
    request: Request,
    method: Method,
    path: String,
}

impl Call {
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Sends it; the answer must be one that the description has.
    pub(crate) async fn send(self) -> Response {
        let response = self.try_send().await;
        response.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn try_send(self) -> Result<Response, NoAnswer> {
        let response = self.request.deadline(Duration::from_secs(20)).send().await?;
        Document::get().check(&self.method, &self.path, &response);
        Ok(response)
    }

    /// Sends it, and expects a status and a body of JSON.
    pub(crate) async fn expect(self, status: u16) -> Value {
        let path = self.path.clone();
        let response = self.send().await;
        assert_eq!(response.status, status, "{path}: {}", response.text());
        response.json()
    }

    /// Sends it, and expects a problem of this code.
    pub(crate) async fn problem(self, status: u16, code: &str) -> Value {
        let problem = self.expect(status).await;
        assert_eq!(problem["code"], code, "{problem}");
        problem
    }
}

/// An open stream of server-sent events.
pub(crate) struct Events {
    streamed: Streamed,
    buffer: String,
}

impl Events {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.streamed.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Waits for the next message; returns the event's id too.
    pub(crate) async fn message(&mut self) -> (Option<String>, Value) {
        loop {
            let event = self.event().await.expect("the stream goes on");
            let field = |name: &str| {
                event
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .map(|value| value.trim_start().to_owned())
            };
            if let Some(data) = field("data:") {
                let message: Value = serde_json::from_str(&data).unwrap();
                Document::get().check_schema("ReceivedMessage", &message);
                return (field("id:"), message);
            }
        }
    }

    /// Waits for the next event, and returns its id, which it must have.
    pub(crate) async fn id(&mut self) -> String {
        let event = self.event().await.expect("the stream goes on");
        let id = event.lines().find_map(|line| line.strip_prefix("id: "));
        id.unwrap_or_else(|| panic!("an id in {event:?}")).to_owned()
    }

    /// Waits for the end of the stream, and returns the last event.
    pub(crate) async fn last(&mut self) -> String {
        let mut last = String::new();
        while let Some(event) = self.event().await {
            last = event;
        }
        last
    }

    /// Waits for the end of the stream.
    pub(crate) async fn end(&mut self) {
        while self.event().await.is_some() {}
    }

    async fn event(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let event = event.to_owned();
                self.buffer = rest.to_owned();
                return Some(event);
            }
            let piece = tokio::time::timeout(Duration::from_secs(20), self.streamed.next()).await.unwrap()?;
            self.buffer.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
    }
}

/// Reads an answer's head from a raw connection.
pub(crate) async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(Duration::from_secs(10), stream.read_u8()).await;
        head.push(byte.expect("an answer in time").expect("an answer"));
    }
    String::from_utf8(head).unwrap()
}
