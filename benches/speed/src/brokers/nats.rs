//! JetStream on files: a publish is a request on the one connection that all share, and its answer
//! says that the message is stored.

use async_nats::{Client, HeaderMap, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use sidespan_test_support::Nats as Server;

use super::{Broker, Consume, TAILED, TOPICS};
use crate::Failed;
use crate::load::{Message, Publish, Target};

pub(crate) struct Nats(Server);

impl Broker for Nats {
    const KIND: &'static str = "nats";

    async fn start() -> Result<Self, Failed> {
        let server = Server::start().await?;
        let client = async_nats::connect(server.url()).await?;
        for topic in TOPICS {
            // The oldest go, so that a long run does not fill the disk.
            let stream = json!({
                "name": topic, "subjects": [topic], "storage": "file", "retention": "limits",
                "max_bytes": 256 << 20, "discard": "old",
            });
            ask(&client, format!("$JS.API.STREAM.CREATE.{topic}"), &stream).await?;
        }
        Ok(Self(server))
    }

    fn at(&self) -> String {
        self.0.url().to_owned()
    }

    fn bridge(&self) -> String {
        format!(r#"{{ kind: nats, servers: ["{}"], create_streams: {{}} }}"#, self.0.url())
    }
}

#[derive(Clone)]
pub(super) struct Raw {
    client: Client,
    subject: String,
}

impl Raw {
    pub(super) async fn connect(target: &Target) -> Result<Self, Failed> {
        Ok(Self { client: async_nats::connect(&target.at).await?, subject: target.topic.clone() })
    }
}

impl Publish for Raw {
    async fn publish(&mut self, message: &Message) -> Result<(), Failed> {
        let mut headers = HeaderMap::new();
        headers.insert("Sidespan-Key", message.key.as_str());
        let payload = Bytes::copy_from_slice(&message.body);
        let answer = self.client.request_with_headers(self.subject.clone(), headers, payload).await?;
        check(&answer.payload)
    }
}

pub(super) struct Tail(Subscriber);

impl Tail {
    pub(super) async fn connect(at: &str) -> Result<Self, Failed> {
        let client = async_nats::connect(at).await?;
        let inbox = client.new_inbox();
        let subscriber = client.subscribe(inbox.clone()).await?;
        let config = json!({ "deliver_subject": inbox, "deliver_policy": "new", "ack_policy": "none" });
        let consumer = json!({ "stream_name": TAILED, "config": config });
        ask(&client, format!("$JS.API.CONSUMER.CREATE.{TAILED}"), &consumer).await?;
        Ok(Self(subscriber))
    }
}

impl Consume for Tail {
    async fn next(&mut self) -> Result<Vec<u8>, Failed> {
        Ok(self.0.next().await.ok_or("nats has ended the subscription")?.payload.to_vec())
    }
}

async fn ask(client: &Client, subject: String, what: &serde_json::Value) -> Result<(), Failed> {
    check(&client.request(subject, what.to_string().into()).await?.payload)
}

fn check(answer: &[u8]) -> Result<(), Failed> {
    let answer = String::from_utf8_lossy(answer);
    if answer.contains(r#""error""#) { Err(format!("JetStream refused: {answer}").into()) } else { Ok(()) }
}
