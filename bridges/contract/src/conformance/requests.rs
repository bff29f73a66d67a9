//! Requests and replies: who asks hears from who answers, and nothing else.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::poll;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Harness;
use super::inbox::{Inbox, QUIET, body, message, topic, unique, wish, within};
use crate::{Bridge, Error, Fault, Header, Message, Topic, Verdict};

/// The replier sees the request as it was sent, with `reply_to` and `correlation`. The asker gets the reply's
/// body, content type, headers and correlation as the replier gave them.
pub async fn a_request_gets_the_reply_that_names_it(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let [asker, replier] = [harness.open().await, harness.open().await];
    let mut inbox = Inbox::open(harness, &replier, wish(harness, &topic, &unique())).await;
    let question = Message {
        headers: vec![Header::new("lang", "en"), Header::new("binary", Bytes::from_static(&[0, 255, 254]))],
        content_type: Some("text/plain".into()),
        ..message("how many?")
    };
    let answer = Message {
        headers: vec![
            Header::new("sidespan-status", "201"),
            Header::new("zone", "2"),
            Header::new("zone", "3"),
            Header::new("empty", ""),
            Header::new("text", "Grüße, 100 %"),
            Header::new("binary", Bytes::from_static(&[0, 255, 254, 13, 10, 0])),
        ],
        content_type: Some("application/json".into()),
        ..message("{\"count\": 42}")
    };
    let empty = Message { payload: Some(Bytes::new()), ..Message::default() };

    for answer in [answer, empty] {
        let replying = async {
            let delivery = inbox.delivery("the request").await;
            let got = &delivery.message;
            assert_eq!(got.payload, question.payload, "the body of the request");
            assert_eq!(got.headers, question.headers, "the headers of the request");
            assert_eq!(got.content_type, question.content_type, "the content type of the request");
            let correlation = got.correlation.clone().expect("a request with a correlation");
            let reply = Message { correlation: Some(correlation.clone()), ..answer.clone() };
            respond(harness, &replier, reply_to(got), reply).await.expect("a reply to who awaits it");
            drop(delivery.ack.settle(Verdict::Accept));
            correlation
        };
        let (reply, correlation) = tokio::join!(ask(harness, &asker, &topic, question.clone()), replying);
        let reply = reply.expect("the reply");
        assert_eq!(reply.payload, answer.payload, "the body of the reply");
        assert_eq!(reply.headers, answer.headers, "the headers of the reply");
        assert_eq!(reply.content_type, answer.content_type, "the content type of the reply");
        assert_eq!(reply.correlation, Some(correlation), "the correlation of the reply");
    }
}

/// Many requests of several members are under way, and are answered in another order than they were asked in.
pub async fn requests_at_once_each_get_their_own_reply(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let [one, other, replier] = [harness.open().await, harness.open().await, harness.open().await];
    let mut inbox = Inbox::open(harness, &replier, wish(harness, &topic, &unique())).await;

    let questions = (0..COUNT).map(|n| {
        let asker = if n % 2 == 0 { &one } else { &other };
        ask(harness, asker, &topic, message(format!("{n}")))
    });
    let replying = async {
        let mut requests = inbox.deliveries(COUNT, "every request").await;
        requests.sort_by_key(|delivery| std::cmp::Reverse(body(delivery)));
        let replies = requests.into_iter().map(|delivery| async {
            let reply = answer_to(&delivery.message, format!("answer {}", body(&delivery)));
            respond(harness, &replier, reply_to(&delivery.message), reply).await.expect("a reply");
            drop(delivery.ack.settle(Verdict::Accept));
        });
        join_all(replies).await;
    };
    let (replies, _) = tokio::join!(join_all(questions), replying);

    for (n, reply) in replies.into_iter().enumerate() {
        let reply = reply.unwrap_or_else(|error| panic!("request {n} was to be answered: {error:?}"));
        assert_eq!(text(&reply), format!("answer {n}"));
    }
}

/// A second reply, one without a correlation, one with a correlation that nobody has, and one to an asker that
/// is gone: each is sent, or known to be for nobody, and nothing comes of it.
pub async fn a_reply_to_nobody_harms_nobody(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let [asker, replier] = [harness.open().await, harness.open().await];
    let mut inbox = Inbox::open(harness, &replier, wish(harness, &topic, &unique())).await;

    let late = {
        let asked = asker.request(&topic, message("never mind"), Instant::now() + harness.patience());
        let delivery = tokio::select! {
            delivery = inbox.delivery("the request") => delivery,
            outcome = asked => panic!("nobody has answered yet: {outcome:?}"),
        };
        drop(delivery.ack.settle(Verdict::Accept));
        delivery.message
    };
    let nobodys = respond(harness, &replier, reply_to(&late), answer_to(&late, "too late")).await;
    sent_or_unroutable(nobodys, "a reply to a request that was dropped");

    let replying = async {
        let delivery = inbox.delivery("the next request").await;
        let request = &delivery.message;
        let mut stray = answer_to(request, "for nobody");
        stray.correlation = Some("nobody's".into());
        if reply_to(request) == reply_to(&late) {
            // Here a correlation is all that names a request.
            sent_or_unroutable(
                respond(harness, &replier, reply_to(request), stray.clone()).await,
                "a stray reply",
            );
            stray.correlation = None;
            sent_or_unroutable(
                respond(harness, &replier, reply_to(request), stray).await,
                "a nameless reply",
            );
        }
        respond(harness, &replier, reply_to(request), answer_to(request, "first")).await.expect("a reply");
        let second = respond(harness, &replier, reply_to(request), answer_to(request, "second")).await;
        sent_or_unroutable(second, "a second reply");
        drop(delivery.ack.settle(Verdict::Accept));
    };
    let (reply, ()) = tokio::join!(ask(harness, &asker, &topic, message("and now?")), replying);
    assert_eq!(text(&reply.expect("the reply")), "first");

    let serving = Serving::start(replier, inbox, |_| true);
    let reply = ask(harness, &asker, &topic, message("still there?")).await.expect("a reply");
    assert_eq!(text(&reply), "still there?");
    serving.stop().await;
}

/// Whoever listens says nothing: the asker is told by its deadline, and that the request may have been handled.
pub async fn a_request_without_a_reply_is_a_timeout(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let [asker, replier] = [harness.open().await, harness.open().await];
    let mut inbox = Inbox::open(harness, &replier, wish(harness, &topic, &unique())).await;
    // What a bridge has to make ready for its first request is ready by the second.
    let warm = ask_within(Duration::from_secs(5), &asker, &topic, "to begin with");
    let (first, _) = tokio::join!(warm, inbox.delivery("the first request"));
    assert_eq!(fault(&first), Some(Fault::Timeout), "{first:?}");

    let begin = Instant::now();
    let wait = Duration::from_secs(1);
    let (outcome, _) =
        tokio::join!(ask_within(wait, &asker, &topic, "hello?"), inbox.delivery("the request"));

    assert_eq!(fault(&outcome), Some(Fault::Timeout), "{outcome:?}");
    assert!(begin.elapsed() >= wait, "not before the deadline");
}

/// Nobody listens, and that is said at once, not at the deadline.
pub async fn a_request_that_nobody_hears_is_unroutable(harness: &dyn Harness) {
    let topic = topic(harness, 1).await;
    let asker = harness.open().await;
    let asked = ask(harness, &asker, &topic, message("is anybody there?"));
    let outcome = within(harness.patience() / 2, "to be told that nobody listens", asked).await;
    assert_eq!(fault(&outcome), Some(Fault::Unroutable), "{outcome:?}");
}

/// `reply_to` is a stranger's word: what can be no address is refused.
pub async fn a_reply_to_no_address_is_refused(harness: &dyn Harness) {
    let replier = harness.open().await;
    let long = "x".repeat(70_000);
    for to in ["", "a b\r\nc", "\0", &long] {
        let outcome = respond(harness, &replier, to, message("for whom?")).await;
        let fault = outcome.as_ref().err().map(|error| error.fault);
        let refused = matches!(fault, Some(Fault::Invalid | Fault::Unroutable));
        assert!(refused, "a reply to {:?}: {outcome:?}", to.chars().take(20).collect::<String>());
    }
}

/// Requests that await replies are bounded, and one too many is refused at once. Those that are dropped give
/// their places to others, and what is answered to them all the same is for nobody.
pub async fn too_many_requests_are_refused_and_dropped_ones_give_way(harness: &dyn Harness) {
    let topic = topic(harness, 4).await;
    let [asker, replier] = [harness.open().await, harness.open().await];
    let inbox = Inbox::open(harness, &replier, wish(harness, &topic, &unique())).await;
    let serving = Serving::start(Arc::clone(&replier), inbox, |body| body != "ignored");
    ask(harness, &asker, &topic, message("ready?")).await.expect("a reply");

    let deadline = Instant::now() + harness.patience() * 3;
    let mut asked = FuturesUnordered::new();
    let refusal = loop {
        assert!(asked.len() < 50_000, "requests that await replies are bounded");
        asked.push(asker.request(&topic, message("ignored"), deadline));
        if let Poll::Ready(Some(outcome)) = poll!(asked.next()) {
            break outcome;
        }
    };
    assert_eq!(fault(&refusal), Some(Fault::Limited), "request {}: {refusal:?}", asked.len() + 1);
    assert!(asked.len() >= 1000, "only {} requests at a time", asked.len());
    let more = asker.request(&topic, message("ignored"), deadline);
    let again = within(QUIET * 10, "to be told at once", more).await;
    assert_eq!(fault(&again), Some(Fault::Limited), "while nothing has changed: {again:?}");

    drop(asked);
    let reply = ask(harness, &asker, &topic, message("and now?")).await.expect("a reply");
    assert_eq!(text(&reply), "and now?");
    serving.stop().await;
}

/// Somebody who replies to requests with what they hold.
struct Serving(JoinHandle<()>);

impl Serving {
    /// Replies to those whose bodies are `wanted`, and takes no notice of the others.
    fn start(replier: Arc<dyn Bridge>, mut inbox: Inbox, wanted: fn(&str) -> bool) -> Self {
        Self(tokio::spawn(async move {
            while let Some(delivery) = inbox.next().await {
                let (request, body) = (&delivery.message, body(&delivery));
                if let (Some(to), true) = (&request.reply_to, wanted(&body)) {
                    let deadline = Instant::now() + Duration::from_secs(10);
                    let replied = replier.reply(to, answer_to(request, body), deadline).await;
                    assert!(replied.is_ok(), "a reply to who awaits it: {replied:?}");
                }
                drop(delivery.ack.settle(Verdict::Accept));
            }
        }))
    }

    /// Ends; fails if replying did.
    async fn stop(self) {
        self.0.abort();
        if let Err(error) = self.0.await {
            assert!(error.is_cancelled(), "who replies has failed: {error}");
        }
    }
}

async fn ask(
    harness: &dyn Harness,
    asker: &Arc<dyn Bridge>,
    topic: &Topic,
    question: Message,
) -> Result<Message, Error> {
    let asked = asker.request(topic, question, Instant::now() + harness.patience());
    let grace = harness.patience() + Duration::from_secs(1);
    within(grace, "the outcome of a request by its deadline", asked).await
}

async fn ask_within(
    wait: Duration,
    asker: &Arc<dyn Bridge>,
    topic: &Topic,
    question: &str,
) -> Result<Message, Error> {
    let asked = asker.request(topic, message(question), Instant::now() + wait);
    within(wait + Duration::from_secs(1), "the outcome of a request by its deadline", asked).await
}

async fn respond(
    harness: &dyn Harness,
    replier: &Arc<dyn Bridge>,
    to: &str,
    reply: Message,
) -> Result<(), Error> {
    let grace = harness.patience() + Duration::from_secs(1);
    let replied = replier.reply(to, reply, Instant::now() + harness.patience());
    within(grace, "the outcome of a reply by its deadline", replied).await
}

fn answer_to(request: &Message, body: impl Into<String>) -> Message {
    Message { correlation: request.correlation.clone(), ..message(body) }
}

fn reply_to(request: &Message) -> &str {
    request.reply_to.as_deref().expect("a request that says where its reply goes")
}

fn sent_or_unroutable(outcome: Result<(), Error>, what: &str) {
    if let Err(error) = outcome {
        assert_eq!(error.fault, Fault::Unroutable, "{what}: {error:?}");
    }
}

fn fault(outcome: &Result<Message, Error>) -> Option<Fault> {
    outcome.as_ref().err().map(|error| error.fault)
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.payload.as_deref().unwrap_or_default()).into_owned()
}

/// How many requests are under way at a time.
const COUNT: usize = 100;
