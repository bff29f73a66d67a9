//! Services that speak NATS and services that speak only HTTP ask each other, through the whole server.

use futures_util::StreamExt;
use sidespan_test_support::{Answer, Client, Launch, Nats, Sidecar, Webhook, unique_name};
use tokio::time::timeout;

use crate::{PATIENCE, SIDESPAN, ended_with};

/// Starts a server that posts what is asked at a subject to a webhook.
async fn start(nats: &Nats, subject: &str, webhook: &Webhook) -> Sidecar {
    let config = format!(
        "version: 1\nservice: shop\nbridges: {{ main: {{ kind: nats, servers: ['{}'], mode: core, open: true }} }}\n\
         subscriptions:\n  asked: {{ topic: {subject}, dead_letter: false, push: {{ url: '{}', reply: true }} }}\n",
        nats.url(),
        webhook.url("/ask")
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    sidecar
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_client_asks_a_service_that_speaks_only_http() {
    let nats = Nats::shared().await;
    let subject = unique_name("asked");
    let webhook = Webhook::start(|asked| {
        let status = if asked.text() == "no" { 404 } else { 200 };
        Answer::status(status).header("x-total", "42").body(format!("{} to you", asked.text()))
    })
    .await;
    let mut sidecar = start(nats, &subject, &webhook).await;
    let client = async_nats::connect(nats.url()).await.unwrap();
    for (asked, status) in [("hello", "200"), ("no", "404")] {
        let answer = timeout(PATIENCE, client.request(subject.clone(), asked.into())).await.unwrap().unwrap();
        assert_eq!(answer.payload, format!("{asked} to you"));
        let headers = answer.headers.unwrap();
        assert_eq!(headers.get("sidespan-status").unwrap().as_str(), status);
        assert_eq!(headers.get("x-total").unwrap().as_str(), "42");
    }
    assert_eq!(webhook.received().len(), 2);
    ended_with(&sidecar.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_client_asks_a_service_that_speaks_only_nats() {
    let nats = Nats::shared().await;
    let (subject, webhook) = (unique_name("own"), Webhook::start(|_| Answer::ok()).await);
    let mut sidecar = start(nats, &subject, &webhook).await;
    let asked = unique_name("service");
    let service = async_nats::connect(nats.url()).await.unwrap();
    let mut requests = service.subscribe(asked.clone()).await.unwrap();
    service.flush().await.unwrap();
    let serving = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let body = format!("{} to you", String::from_utf8_lossy(&request.payload));
            service.publish(request.reply.unwrap(), body.into()).await.unwrap();
        }
    });
    let ask =
        |topic: &str| Client::new().post(&sidecar.url(&format!("/v1/topics/{topic}/requests")), "hello");
    let answer = ask(&asked).send().await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "hello to you"));
    assert_eq!(answer.header("sidespan-reply"), "true");
    let nobody = ask(&unique_name("nobody")).send().await.unwrap();
    assert_eq!(nobody.status, 404, "{}", nobody.text());
    assert_eq!(nobody.json()["code"], "UNROUTABLE");
    serving.abort();
    ended_with(&sidecar.stop().await, 0);
}
