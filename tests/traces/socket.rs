//! A small client of WebSocket.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use sidespan_test_support::Sidecar;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::PATIENCE;

/// An open socket.
pub(crate) struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    pub(crate) async fn open(sidecar: &Sidecar, path: &str) -> Self {
        let url = sidecar.url(path).replace("http://", "ws://");
        let address = url.trim_start_matches("ws://").split('/').next().unwrap().to_owned();
        let stream = TcpStream::connect(address).await.unwrap();
        let (socket, _) = timeout(PATIENCE, client_async(url, stream)).await.unwrap().unwrap();
        Self(socket)
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// Waits for the next frame of this type.
    pub(crate) async fn answer(&mut self, kind: &str) -> Value {
        let next = async {
            loop {
                let Message::Text(text) = self.0.next().await.unwrap().unwrap() else { continue };
                let frame: Value = serde_json::from_str(&text).unwrap();
                if frame["type"] == kind {
                    return frame;
                }
            }
        };
        timeout(PATIENCE, next).await.expect("a frame in time")
    }
}
