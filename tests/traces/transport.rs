//! How a collector is called: by gRPC or HTTP, with headers, over TLS.

use std::fs;

use sidespan_test_support::{Certificates, Launch, eventually};

use crate::collector::{Collector, section};
use crate::{PATIENCE, RECORDED, SIDESPAN, embedded, publish};

#[tokio::test]
async fn a_collector_is_told_over_http_too() {
    let collector = Collector::http().await;
    let sidecar = embedded(&collector.section(0.0)).await;
    publish(&sidecar, &[("traceparent", RECORDED)]).await;
    collector.named(["send orders"]).await;
}

#[tokio::test]
async fn headers_go_with_each_call_and_their_secrets_stay_secret() {
    for (collector, protocol) in [(Collector::grpc().await, "grpc"), (Collector::http().await, "http")] {
        let more = format!("protocol: {protocol}, headers: {{ x-api-key: {{ env: KEY }}, X-Tenant: shop }}");
        let config = format!(
            "version: 1\nservice: shop\nbridges: {{ main: {{ kind: embedded, dir: ./data }} }}\n\
             topics: {{ orders: {{}} }}\n{}\n",
            section(collector.url(), 0.0, &more)
        );
        let launch = Launch::new(SIDESPAN).config(&config).env("KEY", "open sesame");
        let mut sidecar = launch.env("SIDESPAN__LOG__LEVEL", "debug").start().await;
        sidecar.until_ready().await;
        publish(&sidecar, &[("traceparent", RECORDED)]).await;
        collector.named(["send orders"]).await;
        let call = collector.calls().remove(0);
        assert_eq!(call["x-api-key"], "open sesame");
        assert_eq!(call["x-tenant"], "shop");
        assert!(!sidecar.stop().await.stderr.contains("sesame"));
    }
}

#[tokio::test]
async fn a_collector_is_told_over_tls_if_its_certificate_is_good() {
    let (authority, stranger) = (Certificates::new(), Certificates::new());
    let collector = Collector::tls(&authority.server()).await;
    let trusting = |authority: &Certificates| {
        section(
            collector.url(),
            0.0,
            &format!("tls: {{ ca: {{ file: '{}' }} }}", authority.authority().display()),
        )
    };
    let mut wary = embedded(&trusting(&stranger)).await;
    publish(&wary, &[("traceparent", RECORDED)]).await;
    eventually(PATIENCE, "a word on the certificate", async || wary.stderr().contains("takes no spans"))
        .await;
    assert_eq!(collector.spans().len(), 0);
    wary.stop().await;

    let sidecar = embedded(&trusting(&authority)).await;
    publish(&sidecar, &[("traceparent", RECORDED)]).await;
    collector.named(["send orders"]).await;
}

#[tokio::test]
async fn the_last_spans_are_told_before_the_end() {
    let collector = Collector::grpc().await;
    let mut sidecar = embedded(&collector.section(0.0)).await;
    publish(&sidecar, &[("traceparent", RECORDED)]).await;
    // Sooner than a span waits for others.
    let ended = sidecar.stop().await;
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!(collector.spans().iter().filter(|span| span.name == "send orders").count(), 1);
}

#[tokio::test]
async fn a_secret_that_comes_later_is_read_then() {
    let collector = Collector::grpc().await;
    let more = "headers: { x-api-key: { file: key } }";
    let sidecar = embedded(&section(collector.url(), 0.0, more)).await;
    publish(&sidecar, &[("traceparent", RECORDED)]).await;
    eventually(PATIENCE, "a word on the secret", async || sidecar.stderr().contains("takes no spans")).await;
    fs::write(sidecar.directory().join("key"), "sesame\n").unwrap();
    publish(&sidecar, &[("traceparent", RECORDED)]).await;
    collector.named(["send orders"]).await;
    assert_eq!(collector.calls()[0]["x-api-key"], "sesame");
    eventually(PATIENCE, "a word of relief", async || sidecar.stderr().contains("takes spans again")).await;
}
