//! How metrics are told, and to whom.

use sidespan_test_support::{Client, Launch, free_port};

use crate::exposition::Exposition;
use crate::{OPENMETRICS, SIDESPAN, ask, config, metrics, publish, start};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn a_client_gets_the_format_that_it_asks_for_and_both_say_the_same() {
    let sidecar = start("").await;
    let url = sidecar.admin_url("/metrics");
    let newer = ask(&url, Some(OPENMETRICS)).await;
    let older = ask(&url, None).await;
    let kind = |answer: &sidespan_test_support::Response| {
        answer.headers["content-type"].to_str().unwrap().to_owned()
    };
    assert_eq!(kind(&newer), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!(kind(&older), "text/plain; version=0.0.4; charset=utf-8");
    let (newer, older) = (Exposition::parse(newer.text(), true), Exposition::parse(older.text(), false));
    assert_eq!(newer.len(), older.len());
    assert_eq!(newer.one("sidespan_build_info", &["version=\""]), 1.0);
    assert!(older.one("process_resident_memory_bytes", &[]) > 1e6);
    assert_eq!(older.one("sidespan_bridge_up", &["messaging_system=\"sidespan_embedded\""]), 1.0);
}

#[tokio::test]
async fn a_trace_that_is_kept_is_an_example_of_how_long_it_took() {
    let sidecar = start("").await;
    let parent = |flags| format!("00-{TRACE}-b7ad6b7169203331-{flags}");
    let took = "messaging_client_operation_duration_seconds";
    assert_eq!(publish(&sidecar, "orders", &[("traceparent", &parent("00"))]).await.status, 200);
    assert_eq!(metrics(&sidecar).await.exemplars(took), [""; 0], "a trace that nobody keeps helps nobody");
    assert_eq!(publish(&sidecar, "orders", &[("traceparent", &parent("01"))]).await.status, 200);
    assert_eq!(metrics(&sidecar).await.exemplars(took), [TRACE]);
}

#[tokio::test]
async fn prometheus_needs_no_token_on_health_and_one_on_admin() {
    let health = free_port();
    let auth = "auth: { tokens: [{ name: prometheus, secret: a-secret-of-the-scraper-alone, subscribe: [orders] }] }\n";
    let launch = Launch::new(SIDESPAN).config(&config(auth));
    let sidecar = launch.env("SIDESPAN__HEALTH", &format!("127.0.0.1:{health}")).start().await;
    sidecar.until_ready().await;
    let open = ask(&format!("http://127.0.0.1:{health}/metrics"), Some(OPENMETRICS)).await;
    assert_eq!(open.status, 200);
    Exposition::parse(open.text(), true);

    let url = sidecar.admin_url("/metrics");
    assert_eq!(ask(&url, None).await.status, 401);
    let shown = Client::new().get(&url).header("authorization", "Bearer a-secret-of-the-scraper-alone");
    assert_eq!(shown.send().await.unwrap().status, 200);
}
