//! WebSockets, at every replica.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sidespan_test_support::{Kafka, Nats, Rabbit, Scene, Sidecar};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::cluster::{Cluster, PATIENCE, ids, numbers};

#[tokio::test(flavor = "multi_thread")]
async fn kafka_is_consumed_over_a_socket_at_any_replica() {
    any_replica(&Scene::kafka(Kafka::shared().await).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_is_consumed_over_a_socket_at_any_replica() {
    any_replica(&Scene::nats(Nats::shared().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_is_consumed_over_a_socket_at_any_replica() {
    any_replica(&Scene::rabbit(Rabbit::shared().await)).await;
}

async fn any_replica(scene: &Scene) {
    let cluster = Cluster::start(scene).await;
    for by in 0..3 {
        let mut socket = Socket::open(&cluster.replicas[by]).await;
        cluster.publish((by + 1) % 3, COUNT).await;
        let mut messages = Vec::new();
        while messages.len() < COUNT {
            socket.say(json!({ "type": "credit", "messages": 1 })).await;
            messages.push(socket.next("message").await["message"].take());
        }
        assert_eq!(numbers(&messages), (0..COUNT).collect::<Vec<_>>(), "by {by}: each once, and all");
        let (first, rest) = messages.split_at(1);
        socket.settle("ack", rest).await;

        // What is given back, or had by a socket that ends, comes again by another replica.
        socket.settle("nack", first).await;
        socket.say(json!({ "type": "credit", "messages": 1 })).await;
        let again = socket.next("message").await;
        assert_eq!((&again["message"]["attempt"], &first[0]["attempt"]), (&json!(2), &json!(1)));
        drop(socket);
        let mut other = Socket::open(&cluster.replicas[(by + 2) % 3]).await;
        other.say(json!({ "type": "credit", "messages": 1 })).await;
        let third = other.next("message").await["message"].take();
        assert_eq!(third["attempt"], 3);
        other.settle("ack", &[third]).await;
    }
}

/// A client's end of a socket that consumes.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn open(replica: &Sidecar) -> Self {
        let url = replica.url("/v1/subscriptions/billing/stream").replacen("http", "ws", 1);
        Self(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    pub(crate) async fn say(&mut self, frame: Value) {
        self.0.send(Frame::text(frame.to_string())).await.unwrap();
    }

    /// Waits for the next frame, which must be of this type.
    pub(crate) async fn next(&mut self, kind: &str) -> Value {
        loop {
            let frame = timeout(PATIENCE, self.0.next()).await.expect("a frame in time").unwrap().unwrap();
            let Frame::Text(text) = frame else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(frame["type"], kind, "{frame}");
            return frame;
        }
    }

    /// Expects that verdicts are taken.
    async fn settle(&mut self, verb: &str, messages: &[Value]) {
        self.say(json!({ "type": verb, "ack_ids": ids(messages), "seq": 1 })).await;
        let settled = self.next("settled").await;
        let outcomes = settled["outcomes"].as_array().unwrap();
        assert_eq!(outcomes.len(), messages.len());
        assert!(outcomes.iter().all(|outcome| outcome["status"] == 200), "{settled}");
    }
}

const COUNT: usize = 20;
