//! The context that comes with a request: in either form, or in none that could be read.

use serde_json::{Value, json};
use sidespan_test_support::Client;

use crate::{RECORDED, UNRECORDED, embedded, header, messages, publish};

#[tokio::test]
async fn context_that_cannot_be_read_is_left_out_and_the_message_is_stored() {
    let sidecar = embedded("").await;
    let long = format!("a={}", "b".repeat(600));
    let baggage = format!("a={}", "b".repeat(9000));
    let cases: [&[(&str, &str)]; 6] = [
        &[("traceparent", "what?"), ("tracestate", "a=b")],
        &[("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01")],
        &[("traceparent", RECORDED), ("traceparent", UNRECORDED)],
        &[("tracestate", "a=b")],
        &[("b3", "1")],
        &[("baggage", &*baggage)],
    ];
    for headers in cases {
        publish(&sidecar, headers).await;
    }
    publish(&sidecar, &[("traceparent", RECORDED), ("tracestate", &*long), ("baggage", "k=v")]).await;
    let kept = messages(&sidecar, "orders", 7).await;
    for message in &kept[..6] {
        assert_eq!(message["headers"].as_array().map_or(0, Vec::len), 0, "{message}");
    }
    assert_eq!(kept[6]["headers"], json!([["traceparent", RECORDED], ["baggage", "k=v"]]));

    let url = sidecar.url("/v1/topics/orders/messages");
    let request = Client::new().post(&url, "x").header("content-type", "text/plain");
    assert_eq!(request.header("traceparent", b"\xff").send().await.unwrap().status, 200);
}

#[tokio::test]
async fn b3_is_read_and_goes_on_as_w3c() {
    let sidecar = embedded("").await;
    publish(&sidecar, &[("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1")]).await;
    let several = [
        ("X-B3-TraceId", "0af7651916cd43dd8448eb211c80319c"),
        ("X-B3-SpanId", "b7ad6b7169203331"),
        ("X-B3-Sampled", "0"),
    ];
    publish(&sidecar, &several).await;
    let batch = json!([
        {"text": "of the request"},
        {"text": "its own", "headers": [["b3", "11111111111111112222222222222222-3333333333333333-1"]]},
    ]);
    let request = Client::new().post(&sidecar.url("/v1/topics/orders/batches"), batch.to_string());
    let request = several.iter().fold(request, |request, (name, value)| request.header(name, value));
    assert_eq!(request.header("content-type", "application/json").send().await.unwrap().status, 200);
    let kept: Vec<Value> = messages(&sidecar, "orders", 4)
        .await
        .into_iter()
        .map(|mut message| message["headers"].take())
        .collect();
    let own = "00-11111111111111112222222222222222-3333333333333333-01";
    let expected = [RECORDED, UNRECORDED, UNRECORDED, own].map(|context| json!([["traceparent", context]]));
    assert_eq!(kept, expected);
    assert_eq!(header(&json!({"headers": kept[0]}), "b3"), Vec::<String>::new());
}
