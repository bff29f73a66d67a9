//! A client of WebSocket that holds every frame to the description.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::{Error, handshake};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::document::Document;
use crate::server::Server;

/// An open socket.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// What each frame must be.
    schema: &'static str,
    protocol: Option<String>,
}

impl Socket {
    pub(crate) async fn open(server: &Server, path: &str) -> Self {
        Self::open_with(server, path, &[]).await
    }

    pub(crate) async fn open_with(server: &Server, path: &str, headers: &[(&str, &str)]) -> Self {
        let (stream, response) =
            connect(server, path, headers).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        Document::get().check_head(&Method::GET, path, 101, response.headers());
        let protocol = response.headers().get("sec-websocket-protocol");
        let schema = if path.starts_with("/v1/topics/") { "TopicFrame" } else { "ConsumerAnswer" };
        Self { stream, schema, protocol: protocol.map(|name| name.to_str().unwrap().to_owned()) }
    }

    /// Returns the subprotocol that the server has picked.
    pub(crate) fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.try_send_text(text).await.unwrap();
    }

    pub(crate) async fn try_send_text(&mut self, text: &str) -> Result<(), Error> {
        self.stream.send(Message::text(text)).await
    }

    pub(super) async fn send_binary(&mut self, bytes: Vec<u8>) {
        self.stream.send(Message::binary(bytes)).await.unwrap();
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).await.unwrap();
    }

    pub(crate) async fn credit(&mut self, messages: u64) {
        self.send(json!({ "type": "credit", "messages": messages })).await;
    }

    /// Waits for the next frame, which must be of this type.
    pub(crate) async fn answer(&mut self, kind: &str) -> Value {
        let frame = timeout(PATIENCE, self.frame()).await.expect("a frame in time");
        let frame = frame.unwrap_or_else(|closed| panic!("the socket goes on: {closed:?}"));
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// Waits for the next frame, which must be a message, and returns the message object.
    pub(crate) async fn message(&mut self) -> Value {
        self.answer("message").await["message"].take()
    }

    /// Tells whether nothing comes for a moment.
    pub(crate) async fn is_silent(&mut self) -> bool {
        self.is_silent_for(Duration::from_millis(300)).await
    }

    /// Tells whether nothing comes for so long.
    pub(crate) async fn is_silent_for(&mut self, time: Duration) -> bool {
        timeout(time, self.frame()).await.is_err()
    }

    /// Waits for the socket to be closed; returns why. What comes before is left out.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        let closed = async {
            loop {
                if let Err(closed) = self.frame().await {
                    return closed;
                }
            }
        };
        timeout(PATIENCE, closed).await.expect("a close in time").expect("a close frame")
    }

    /// Returns the next frame, or why there is none.
    async fn frame(&mut self) -> Result<Value, Option<(u16, String)>> {
        match self.next().await? {
            Message::Text(text) => {
                let frame = serde_json::from_str(&text).unwrap();
                Document::get().check_schema(self.schema, &frame);
                Ok(frame)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Returns the next frame with data, or why there is none.
    pub(super) async fn next(&mut self) -> Result<Message, Option<(u16, String)>> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err(Some((frame.code.into(), frame.reason.to_string())));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(frame)) => return Ok(frame),
                Some(Err(_)) | None => return Err(None),
            }
        }
    }
}

/// Asks for a socket, and expects a problem.
pub(crate) async fn refused(server: &Server, path: &str, headers: &[(&str, &str)]) -> Value {
    match connect(server, path, headers).await {
        Err(Error::Http(response)) => {
            let status = response.status().as_u16();
            Document::get().check_head(&Method::GET, path, status, response.headers());
            // The handshake reads no further than the head, and what came with it.
            serde_json::from_slice(response.body().as_deref().unwrap_or_default())
                .unwrap_or_else(|error| panic!("{error} in {response:?}"))
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("{path} is open"),
    }
}

async fn connect(
    server: &Server,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<(WebSocketStream<TcpStream>, handshake::client::Response), Error> {
    let mut request = format!("ws://{}{path}", server.address()).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    let stream = TcpStream::connect(server.address()).await.unwrap();
    timeout(PATIENCE, client_async(request, stream)).await.expect("a handshake in time")
}

const PATIENCE: Duration = Duration::from_secs(20);
