//! A message's whole journey: HTTP, Kafka, a webhook whose service publishes, NATS, and a stream.

use std::collections::HashMap;

use sidespan_test_support::{Answer, Client, Kafka, Launch, Nats, Webhook, eventually, unique_name};

use crate::collector::{Collector, Told};
use crate::{CALLER, PATIENCE, RECORDED, SIDESPAN, TRACE, header, messages, parts, publish};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_three_hops_away_shows_one_trace() {
    let (kafka, nats) = (Kafka::shared().await, Nats::shared().await);
    let [orders, shipments, service] = ["orders", "shipments", "shop"].map(unique_name);
    kafka.create_topic(&orders, 1).await;
    let collector = Collector::grpc().await;
    let launch = Launch::new(SIDESPAN);
    // The service behind the webhook knows nothing of traces but to pass on the context that it got.
    let (client, ships) =
        (Client::new(), format!("http://{}/v1/topics/shipments/messages", launch.address()));
    let webhook = Webhook::start(move |received| {
        let request = client.post(&ships, "a shipment").header("content-type", "text/plain");
        tokio::spawn(request.header("traceparent", received.header("traceparent")).send());
        Answer::status(200)
    })
    .await;
    let config = format!(
        "version: 1\nservice: {service}\n\
         bridges:\n  log: {{ kind: kafka, brokers: ['{}'] }}\n  jobs: {{ kind: nats, servers: ['{}'], create_streams: {{}} }}\n\
         topics:\n  orders: {{ bridge: log, address: {orders} }}\n  shipments: {{ bridge: jobs, address: {shipments} }}\n\
         subscriptions:\n  billing: {{ topic: orders, start: begin, dead_letter: false, push: {{ url: '{}' }} }}\n{}\n",
        kafka.address(),
        nats.url(),
        webhook.url("/orders"),
        collector.section(0.0),
    );
    let sidecar = launch.config(&config).start().await;
    sidecar.until_ready().await;
    publish(&sidecar, &[("traceparent", RECORDED)]).await;
    let shipment = messages(&sidecar, "shipments", 1).await.remove(0);

    // From the stream back to who began it.
    let [trace, last, flags] = parts(&header(&shipment, "traceparent")[0]);
    assert_eq!((&*trace, &*flags), (TRACE, "01"));
    let chain = async || {
        let spans: HashMap<String, Told> =
            collector.spans().into_iter().map(|span| (span.id.clone(), span)).collect();
        let mut names = Vec::new();
        let mut at = last.clone();
        while let Some(span) = spans.get(&at) {
            assert_eq!(span.trace, TRACE);
            names.push(span.name.clone());
            at.clone_from(&span.parent);
        }
        (names, at)
    };
    eventually(PATIENCE, "a whole chain", async || chain().await.1 == CALLER).await;
    let expected = [format!("send {shipments}"), format!("process {orders}"), format!("send {orders}")];
    assert_eq!(chain().await.0, expected);
}
