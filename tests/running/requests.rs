//! Services that speak a broker's protocol and services that speak only HTTP ask each other, through the whole
//! server. Those at the broker use its own client and do as is usual there.

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;

use sidespan_test_support::{Answer, Client, Launch, Response, Sidecar, Webhook, unique_name};

use crate::SIDESPAN;

/// What is asked of a service that speaks only HTTP, and the status of its answer.
const QUESTIONS: [(&str, u16); 2] = [("hello", 200), ("no", 404)];

/// A service that speaks only HTTP: it greets who asks, and refuses who says no.
async fn service() -> Webhook {
    Webhook::start(|asked| {
        let status =
            QUESTIONS.iter().find(|(question, _)| *question == asked.text()).map_or(400, |(_, it)| *it);
        let answer = Answer::status(status).header("content-type", "text/greeting").header("x-total", "42");
        answer.body(greeting(asked.text()))
    })
    .await
}

fn greeting(asked: &str) -> String {
    format!("{asked} to you")
}

/// Starts a server that posts what is asked on `asked` to a webhook, and knows the topics of the section `topics`.
/// It is a service of its own: two of one name would share the queue of `asked`, and answer each other's questions.
async fn start(bridge: &str, topics: &str, asked: &str, webhook: &Webhook) -> Sidecar {
    let config = format!(
        "version: 1\nservice: {}\nbridges: {{ main: {bridge} }}\n{topics}\n\
         subscriptions:\n  asked: {{ topic: {asked}, dead_letter: false, push: {{ url: '{}', reply: true }} }}\n",
        unique_name("shop"),
        webhook.url("/ask")
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    sidecar
}

/// Asks by HTTP, with a header that the service at the broker gives back as `x-total`.
async fn ask(sidecar: &Sidecar, topic: &str, question: &str) -> Response {
    let url = sidecar.url(&format!("/v1/topics/{topic}/requests"));
    let request = Client::new().post(&url, question.to_owned()).header("content-type", "text/plain");
    request.header("sidespan-header-total", "42").send().await.unwrap()
}

/// Expects the greeting of a service at the broker, with what it says of itself.
#[track_caller]
fn is_greeted(answer: &Response, asked: &str) {
    assert_eq!((answer.status.as_u16(), answer.text()), (200, greeting(asked).as_str()));
    assert_eq!(answer.header("sidespan-reply"), "true");
    assert_eq!(answer.header("content-type"), "text/greeting");
    assert_eq!(answer.header("sidespan-header-x-total"), "42");
}
