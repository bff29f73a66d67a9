//! JetStream on files: a publish is a request on the one connection that all share, and its answer
//! says that the message is stored.

use async_nats::Client;
use bytes::Bytes;
use serde_json::json;
use sidespan_test_support::Nats as Server;

use super::{Broker, DELIVERED, TOPIC};
use crate::Failed;
use crate::load::Publish;

pub(crate) struct Nats(Server);

pub(crate) struct Raw {
    client: Client,
    body: Bytes,
}

impl Broker for Nats {
    const KIND: &'static str = "nats";
    type Raw = Raw;

    async fn start() -> Result<Self, Failed> {
        let server = Server::start().await?;
        let client = async_nats::connect(server.url()).await?;
        for topic in [TOPIC, DELIVERED] {
            // The oldest go, so that a long run does not fill the disk.
            let stream = json!({
                "name": topic, "subjects": [topic], "storage": "file", "retention": "limits",
                "max_bytes": 256 << 20, "discard": "old",
            });
            request(&client, format!("$JS.API.STREAM.CREATE.{topic}"), stream.to_string().into()).await?;
        }
        Ok(Self(server))
    }

    fn bridge(&self) -> String {
        format!(r#"{{ kind: nats, servers: ["{}"], create_streams: {{}} }}"#, self.0.url())
    }

    async fn publishers(&self, count: usize, body: &[u8]) -> Result<Vec<Raw>, Failed> {
        let client = async_nats::connect(self.0.url()).await?;
        let raw = || Raw { client: client.clone(), body: Bytes::copy_from_slice(body) };
        Ok(std::iter::repeat_with(raw).take(count).collect())
    }
}

impl Publish for Raw {
    async fn publish(&mut self) -> Result<(), Failed> {
        request(&self.client, TOPIC.to_owned(), self.body.clone()).await
    }
}

/// Asks JetStream, which names the stream in every answer that is no error.
async fn request(client: &Client, subject: String, payload: Bytes) -> Result<(), Failed> {
    let answer = client.request(subject, payload).await?.payload;
    let answer = String::from_utf8_lossy(&answer);
    if answer.contains(r#""error""#) { Err(format!("JetStream refused: {answer}").into()) } else { Ok(()) }
}
