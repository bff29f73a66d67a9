//! Requests and replies, with clients on the other side that know nothing of Sidespan.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::{BasicProperties, Channel, ExchangeKind};
use sidespan_bridge::{Error, Topic};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;

/// A server that reads a queue and answers each message in capitals, as tutorials have it.
struct Server {
    queue: String,
    task: JoinHandle<()>,
    _connection: Connection,
}

impl Server {
    async fn start(rabbit: &Rabbit) -> Self {
        let (connection, channel) = foreigner(rabbit).await;
        let queue = unique_name("rpc");
        let passing = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.as_str().into(), passing, FieldTable::default()).await.unwrap();
        let unsettled = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumed =
            channel.basic_consume(queue.as_str().into(), "".into(), unsettled, FieldTable::default());
        let mut requests = consumed.await.unwrap();
        let task = tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                let asked = request.properties;
                let (Some(to), Some(correlation)) = (asked.reply_to(), asked.correlation_id()) else {
                    continue;
                };
                let answer = String::from_utf8(request.data).unwrap().to_uppercase();
                let properties = BasicProperties::default()
                    .with_correlation_id(correlation.clone())
                    .with_content_type("text/plain".into());
                send(&channel, "", to.as_str(), properties, &answer).await;
            }
        });
        Self { queue, task, _connection: connection }
    }

    fn topic(&self) -> Topic {
        Topic::new(format!("/{}", self.queue))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send(channel: &Channel, exchange: &str, key: &str, properties: BasicProperties, body: &str) {
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish(exchange.into(), key.into(), options, body.as_bytes(), properties);
    drop(sent.await.unwrap());
}

async fn ask(bridge: &dyn Bridge, topic: &Topic, question: &str) -> Result<String, Error> {
    let reply = bridge.request(topic, text(question), soon()).await?;
    Ok(String::from_utf8(reply.payload.expect("a body").to_vec()).expect("text"))
}

#[tokio::test]
async fn a_server_that_knows_nothing_of_sidespan_answers() {
    let rabbit = Rabbit::shared().await;
    let (bridge, server) = (open(rabbit), Server::start(rabbit).await);
    let topic = server.topic();
    let own = Message { correlation: Some("my own".into()), ..text("hello") };
    let reply = bridge.request(&topic, own, soon()).await.unwrap();
    assert_eq!(reply.payload.as_deref(), Some(&b"HELLO"[..]));
    assert_eq!(reply.content_type.as_deref(), Some("text/plain"));
    assert_eq!(reply.correlation.as_deref(), Some("my own"), "what the caller called it");
    let without = bridge.request(&topic, text("again"), soon()).await.unwrap();
    assert!(without.correlation.is_some_and(|correlation| &*correlation != "my own"));
}

/// Both ways that clients have: direct reply-to, and a queue of their own.
#[tokio::test]
async fn a_client_that_knows_nothing_of_sidespan_is_answered() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let topic = unique_name("asked");
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    let (_connection, channel) = foreigner(rabbit).await;
    let passing = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let own = channel.queue_declare("".into(), passing, FieldTable::default()).await.unwrap();
    for place in ["amq.rabbitmq.reply-to", own.name().as_str()] {
        let unsettled = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumed = channel.basic_consume(place.into(), "".into(), unsettled, FieldTable::default());
        let mut replies = consumed.await.unwrap();
        let properties =
            BasicProperties::default().with_correlation_id("17".into()).with_reply_to(place.into());
        send(&channel, "amq.topic", &topic, properties, "how many?").await;

        let request = next(&mut inbox).await;
        let to = request.message.reply_to.clone().expect("where the reply is awaited");
        let reply = Message { correlation: request.message.correlation.clone(), ..text("42") };
        bridge.reply(&to, reply, soon()).await.unwrap();
        accept(request).await;

        let reply = timeout(PATIENCE, replies.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(reply.data, b"42", "{place}");
        assert_eq!(reply.properties.correlation_id().as_ref().map(|text| text.as_str()), Some("17"));
    }
}

#[tokio::test]
async fn a_reply_to_a_client_that_is_gone_is_unroutable() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let topic = unique_name("gone");
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    for direct in [true, false] {
        let (connection, channel) = foreigner(rabbit).await;
        let place = if direct {
            "amq.rabbitmq.reply-to".to_owned()
        } else {
            let passing = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
            let queue = channel.queue_declare("".into(), passing, FieldTable::default()).await.unwrap();
            queue.name().to_string()
        };
        let unsettled = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumed =
            channel.basic_consume(place.as_str().into(), "".into(), unsettled, FieldTable::default());
        let _replies = consumed.await.unwrap();
        let properties = BasicProperties::default().with_reply_to(place.as_str().into());
        send(&channel, "amq.topic", &topic, properties, "how many?").await;
        let request = next(&mut inbox).await;
        connection.close(200, "OK".into()).await.unwrap();

        let to = request.message.reply_to.clone().unwrap();
        let error = bridge.reply(&to, text("42"), soon()).await.unwrap_err();
        assert_eq!(error.fault, Fault::Unroutable, "direct: {direct}, {error}");
        accept(request).await;
    }
    attempt(&*bridge, &topic, text("publishing goes on")).await.unwrap();
}

/// The broker ends the channel over each of these, and with it all that is awaited there.
#[tokio::test]
async fn what_is_wrong_with_one_exchange_leaves_requests_to_others_alone() {
    let rabbit = match Rabbit::start().await {
        Ok(rabbit) => rabbit,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    rabbit.ctl(&["add_user", "service", "s"]).await;
    rabbit.ctl(&["set_permissions", "service", "^mine", "^(mine|amq\\.topic)", "^(mine|amq\\.topic)"]).await;
    let (_operator, channel) = foreigner(&rabbit).await;
    for exchange in ["theirs", "mine"] {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let kind = ExchangeKind::Topic;
        channel.exchange_declare(exchange.into(), kind, durable, FieldTable::default()).await.unwrap();
    }
    let bridge = open_with(&rabbit, json!({"username": "service", "password": "s"}));
    let mut inbox = subscribe(&*bridge, all_of("mine")).await;
    let topic = Topic::new("mine");
    let asked = tokio::spawn({
        let (bridge, topic) = (Arc::clone(&bridge), topic.clone());
        async move { ask(&*bridge, &topic, "how many?").await }
    });
    let request = next(&mut inbox).await;

    let fault = async |topic: &str| ask(&*bridge, &Topic::new(topic), "x").await.unwrap_err().fault;
    for _ in 0..2 {
        assert_eq!(fault("missing/orders").await, Fault::UnknownTopic);
        assert_eq!(fault("theirs/orders").await, Fault::Denied);
        assert_eq!(fault("mine/nowhere").await, Fault::Unroutable);
    }

    let to = request.message.reply_to.clone().unwrap();
    let reply = Message { correlation: request.message.correlation.clone(), ..text("42") };
    // The default exchange is not ours to write to, and is none of the asker's business.
    let replier = open(&rabbit);
    replier.reply(&to, reply, soon()).await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), "42");
    accept(request).await;
}

#[tokio::test]
async fn requests_under_way_at_a_lost_connection_say_that_they_may_have_been_handled() {
    let rabbit = match Rabbit::start().await {
        Ok(rabbit) => rabbit,
        Err(skipped) => return eprintln!("{skipped}"),
    };
    let bridge = open(&rabbit);
    let topic = unique_name("lost");
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    let asked = tokio::spawn({
        let (bridge, topic) = (Arc::clone(&bridge), Topic::new(topic.as_str()));
        async move { ask(&*bridge, &topic, "how many?").await }
    });
    drop(next(&mut inbox).await);
    let begin = Instant::now();
    rabbit.ctl(&["close_all_connections", "a test"]).await;
    let error = asked.await.unwrap().unwrap_err();
    assert_eq!(error.fault, Fault::Timeout, "{error}");
    assert!(error.to_string().contains("may have been handled"), "{error}");
    assert!(begin.elapsed() < PATIENCE / 2, "said at once, not at the deadline: {:?}", begin.elapsed());

    let server = Server::start(&rabbit).await;
    sidespan_test_support::eventually(PATIENCE, "requests to work again", async || {
        ask(&*bridge, &server.topic(), "again").await.is_ok_and(|reply| reply == "AGAIN")
    })
    .await;
}

#[tokio::test]
async fn closing_a_bridge_ends_its_requests() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let topic = unique_name("closing");
    make_group(&*bridge, &topic).await;
    let topic = Topic::new(topic);
    let asked = ask(&*bridge, &topic, "how many?");
    let closing = async {
        // What is handed over first is confirmed first.
        attempt(&*bridge, topic.as_str(), text("behind")).await.unwrap();
        bridge.close(soon()).await;
    };
    let (asked, ()) = timeout(PATIENCE / 2, async { tokio::join!(asked, closing) }).await.unwrap();
    assert!(matches!(asked.unwrap_err().fault, Fault::Timeout | Fault::Unavailable));
    assert_eq!(ask(&*bridge, &topic, "more?").await.unwrap_err().fault, Fault::Unavailable);
}

#[tokio::test]
async fn as_many_requests_may_wait_as_the_settings_say() {
    let rabbit = Rabbit::shared().await;
    let bridge = open_with(rabbit, json!({"max_requests": 2}));
    let topic = unique_name("few");
    let mut inbox = subscribe(&*bridge, all_of(&topic)).await;
    let topic = Topic::new(topic);
    let ask_in_vain = || {
        let (bridge, topic) = (Arc::clone(&bridge), topic.clone());
        tokio::spawn(async move { ask(&*bridge, &topic, "how many?").await })
    };
    let waiting = [ask_in_vain(), ask_in_vain()];
    for _ in &waiting {
        accept(next(&mut inbox).await).await;
    }
    assert_eq!(ask(&*bridge, &topic, "one too many").await.unwrap_err().fault, Fault::Limited);
    waiting[0].abort();
    let [gone, _waiting] = waiting;
    assert!(gone.await.unwrap_err().is_cancelled());
    let deadline = Instant::now() + Duration::from_millis(100);
    let error = bridge.request(&topic, text("instead"), deadline).await.unwrap_err();
    assert_eq!(error.fault, Fault::Timeout, "there is room again: {error}");
}

/// The broker ends the channel of who names it without waiting there, and with it what others publish.
#[tokio::test]
async fn a_message_that_only_claims_to_be_a_request_is_refused_alone() {
    let rabbit = Rabbit::shared().await;
    let bridge = open(rabbit);
    let topic = unique_name("claims");
    make_group(&*bridge, &topic).await;
    let claims = Message { reply_to: Some("amq.rabbitmq.reply-to".into()), ..text("x") };
    let batch = vec![text("ahead"), claims, text("behind")];
    let outcomes = bridge.publisher().publish(&Topic::new(topic), batch, soon()).await;
    let faults: Vec<_> = outcomes.into_iter().map(|outcome| outcome.err().map(|error| error.fault)).collect();
    assert_eq!(faults, [None, Some(Fault::Invalid), None]);
}
