//! Metrics by OTLP.

use opentelemetry_proto::tonic::metrics::v1::metric;
use sidespan_test_support::{eventually, free_port};

use crate::collector::{Collector, find, resource, sums};
use crate::{PATIENCE, metrics, start, store};

fn otlp(address: &str, protocol: &str) -> String {
    format!(
        "telemetry: {{ otlp: {{ endpoint: \"http://{address}\", protocol: {protocol}, metrics: true, interval: 200ms, \
         timeout: 2s, headers: {{ api-key: a-key }} }} }}\n"
    )
}

async fn arrives(protocol: &str) {
    let (collector, address) = Collector::start().await;
    let mut sidecar = start(&otlp(&address.to_string(), protocol)).await;
    store(&sidecar, "orders").await;
    let sent = |collector: &Collector| {
        let (key, request) = collector.latest()?;
        assert_eq!(key, "a-key");
        Some(sums(find(&request, "messaging.client.sent.messages")?))
    };
    let labels =
        ["messaging.system=sidespan_embedded", "messaging.destination.name=orders", "sidespan.bridge=local"];
    let expected = vec![(labels.map(str::to_owned).to_vec(), 1)];
    eventually(PATIENCE, "what was sent is told", async || sent(&collector).as_ref() == Some(&expected))
        .await;

    let (_, request) = collector.latest().unwrap();
    let resource = resource(&request);
    assert!(resource.contains(&"service.name=shop".to_owned()), "{resource:?}");
    assert!(resource.iter().any(|attribute| attribute.starts_with("service.instance.id=")), "{resource:?}");
    assert!(resource.iter().any(|attribute| attribute.starts_with("service.version=")), "{resource:?}");
    let took = find(&request, "messaging.client.operation.duration").unwrap();
    assert_eq!(took.unit, "s");
    let Some(metric::Data::Histogram(histogram)) = &took.data else { panic!("{took:?}") };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (1, 1));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);

    store(&sidecar, "orders").await;
    sidecar.stop().await;
    assert_eq!(sent(&collector).unwrap()[0].1, 2, "the last word is said at the end");
}

#[tokio::test]
async fn they_arrive_by_grpc() {
    arrives("grpc").await;
}

#[tokio::test]
async fn they_arrive_by_http() {
    arrives("http").await;
}

#[tokio::test]
async fn a_collector_that_is_away_costs_a_counter() {
    let mut sidecar = start(&otlp(&format!("127.0.0.1:{}", free_port()), "grpc")).await;
    let failed = async || {
        let seen = metrics(&sidecar).await;
        seen.one("sidespan_telemetry_failed_exports_total", &["signal=\"metrics\""])
    };
    eventually(PATIENCE, "exports fail", async || failed().await >= 3.0).await;
    store(&sidecar, "orders").await;
    let ended = sidecar.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let said = ended.stderr.matches("metrics are not exported").count();
    assert_eq!(said, 1, "it is said once:\n{}", ended.stderr);
}
