//! JetStream on files: a publish is a request on the one connection that all share, and its answer
//! says that the message is stored.

use async_nats::{Client, HeaderMap, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use sidespan_test_support::Nats as Server;

use super::{Broker, Consume, TAILED, TAKEN, TOPICS, Take, WINDOW};
use crate::Failed;
use crate::load::{Message, Publish, Target};
use crate::part::{Orders, say};

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
                "max_bytes": 160 << 20, "discard": "old",
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

    fn requests(&self) -> Option<String> {
        Some(format!(r#"{{ kind: nats, servers: ["{}"], mode: core }}"#, self.0.url()))
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

/// Answers requests until nobody needs it. What asks is [`Raw`]: a publish to a stream is such a request.
pub(crate) async fn respond(at: &str, subject: String) -> Result<(), Failed> {
    let client = async_nats::connect(at).await?;
    let mut requests = client.subscribe(subject).await?;
    client.flush().await?;
    say(&"ready")?;
    let mut orders = Orders::new();
    loop {
        tokio::select! {
            request = requests.next() => {
                let request = request.ok_or("nats has ended the subscription")?;
                let reply = request.reply.ok_or("this is no request")?;
                client.publish(reply, request.payload).await?;
            }
            order = orders.next::<()>() => if order?.is_none() { return Ok(()) },
        }
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

/// A durable consumer whose every message is acknowledged, and each acknowledgement confirmed by the server.
pub(super) struct Taker {
    client: Client,
    inbox: String,
    subscriber: Subscriber,
    /// Messages that were asked for and have not come.
    asked: usize,
    confirmed_at: String,
    confirmations: Subscriber,
}

impl Taker {
    pub(super) async fn connect(at: &str) -> Result<Self, Failed> {
        let client = async_nats::connect(at).await?;
        let inbox = client.new_inbox();
        let subscriber = client.subscribe(inbox.clone()).await?;
        let config = json!({ "durable_name": TAKEN, "ack_policy": "explicit", "max_ack_pending": WINDOW });
        let consumer = json!({ "stream_name": TAKEN, "config": config });
        ask(&client, format!("$JS.API.CONSUMER.DURABLE.CREATE.{TAKEN}.{TAKEN}"), &consumer).await?;
        let confirmed_at = client.new_inbox();
        let confirmations = client.subscribe(confirmed_at.clone()).await?;
        Ok(Self { client, inbox, subscriber, asked: 0, confirmed_at, confirmations })
    }
}

impl Take for Taker {
    async fn take(&mut self, messages: usize) -> Result<(), Failed> {
        for number in 0..messages {
            if self.asked <= WINDOW / 2 {
                let more = json!({ "batch": WINDOW / 2 }).to_string();
                let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{TAKEN}.{TAKEN}");
                self.client.publish_with_reply(subject, self.inbox.clone(), more.into()).await?;
                self.asked += WINDOW / 2;
            }
            let message = self.subscriber.next().await.ok_or("nats has ended the subscription")?;
            self.asked -= 1;
            let reply = message.reply.ok_or("this is no message of a stream")?;
            let ack = Bytes::from_static(b"+ACK");
            self.client.publish_with_reply(reply, self.confirmed_at.clone(), ack).await?;
            if number >= WINDOW {
                self.confirm().await?;
            }
        }
        for _ in 0..messages.min(WINDOW) {
            self.confirm().await?;
        }
        Ok(())
    }
}

impl Taker {
    async fn confirm(&mut self) -> Result<(), Failed> {
        let confirmation = self.confirmations.next().await;
        confirmation.map(drop).ok_or_else(|| "nats has ended the subscription".into())
    }
}

async fn ask(client: &Client, subject: String, what: &serde_json::Value) -> Result<(), Failed> {
    check(&client.request(subject, what.to_string().into()).await?.payload)
}

fn check(answer: &[u8]) -> Result<(), Failed> {
    let answer = String::from_utf8_lossy(answer);
    if answer.contains(r#""error""#) { Err(format!("JetStream refused: {answer}").into()) } else { Ok(()) }
}
