//! Through core NATS: replies come to inboxes.

use async_nats::HeaderMap;
use futures_util::StreamExt;
use sidespan_test_support::{Nats, Sidecar, Webhook, unique_name};
use tokio::time::timeout;

use super::{QUESTIONS, ask, greeting, is_greeted, service};
use crate::{PATIENCE, ended_with};

async fn start(nats: &Nats, asked: &str, webhook: &Webhook) -> Sidecar {
    let bridge = format!("{{ kind: nats, servers: ['{}'], mode: core, open: true }}", nats.url());
    super::start(&bridge, "", asked, webhook).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_client_asks_a_service_that_speaks_only_http() {
    let nats = Nats::shared().await;
    let (subject, webhook) = (unique_name("asked"), service().await);
    let mut sidecar = start(nats, &subject, &webhook).await;
    let client = async_nats::connect(nats.url()).await.unwrap();
    for (asked, status) in QUESTIONS {
        let answer = timeout(PATIENCE, client.request(subject.clone(), asked.into())).await.unwrap().unwrap();
        assert_eq!(answer.payload, greeting(asked));
        let headers = answer.headers.unwrap();
        let said = |name| headers.get(name).unwrap().as_str();
        assert_eq!(said("sidespan-status"), status.to_string());
        assert_eq!((said("x-total"), said("Content-Type")), ("42", "text/greeting"));
    }
    assert_eq!(webhook.received().len(), QUESTIONS.len());
    ended_with(&sidecar.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_client_asks_a_service_that_speaks_only_nats() {
    let nats = Nats::shared().await;
    let (own, webhook) = (unique_name("own"), service().await);
    let mut sidecar = start(nats, &own, &webhook).await;
    let asked = unique_name("service");
    let responder = async_nats::connect(nats.url()).await.unwrap();
    let mut requests = responder.subscribe(asked.clone()).await.unwrap();
    responder.flush().await.unwrap();
    let serving = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let mut headers = HeaderMap::new();
            headers.insert("Content-Type", "text/greeting");
            headers.insert("x-total", request.headers.unwrap().get("total").unwrap().as_str());
            let body = greeting(str::from_utf8(&request.payload).unwrap());
            responder.publish_with_headers(request.reply.unwrap(), headers, body.into()).await.unwrap();
        }
    });
    is_greeted(&ask(&sidecar, &asked, "hello").await, "hello");
    let nobody = ask(&sidecar, &unique_name("nobody"), "hello").await;
    assert_eq!(nobody.status, 404, "{}", nobody.text());
    assert_eq!(nobody.json()["code"], "UNROUTABLE");
    serving.abort();
    ended_with(&sidecar.stop().await, 0);
}
