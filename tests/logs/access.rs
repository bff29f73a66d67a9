//! The access log: which request was answered how, without what stands in it.

use http::Method;
use serde_json::Value;
use sidespan_test_support::{Answer, Client, Launch, Webhook};

use crate::{SIDESPAN, lines};

const TOKEN: &str = "token-token-token-token-token";

fn requests(stderr: &str) -> Vec<Value> {
    lines(stderr).into_iter().filter(|line| line["target"] == "sidespan::access").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_line_with_its_route_and_its_caller() {
    let config = format!(
        "version: 1\nservice: shop\nlog: {{format: json, access: 1}}\n\
         bridges: {{local: {{kind: embedded, dir: data, open: true}}}}\n\
         auth: {{tokens: [{{name: till, secret: {TOKEN}, publish: ['>']}}]}}\n"
    );
    let mut sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let send = async |method: Method, path: &str, token: &str| {
        let request = Client::new().request(method, &sidecar.url(path)).body("card 4111");
        let request = request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
        request.header("authorization", format!("Bearer {token}")).send().await.unwrap()
    };
    let stored = send(Method::POST, "/v1/topics/hidden/messages", TOKEN).await;
    assert_eq!(stored.status, 200, "{}", stored.text());
    send(Method::GET, "/v1/secret-place", TOKEN).await;
    send(Method::POST, "/v1/topics/hidden/messages", "nobody-nobody-nobody-nobody").await;

    let ended = sidecar.stop().await;
    let requests = requests(&ended.stderr);
    let stored_line = requests.iter().find(|line| line["status"] == 200 && line["method"] == "POST").unwrap();
    assert_eq!(stored_line["route"], "/v1/topics/{topic}/messages", "{stored_line}");
    assert_eq!(
        (&stored_line["caller"], &stored_line["trace_id"]),
        (&"till".into(), &trace.into()),
        "{stored_line}"
    );
    assert_eq!(stored_line["bytes"], stored.text().len(), "{stored_line}");
    assert!(stored_line["duration_ms"].as_f64().unwrap() > 0.0, "{stored_line}");
    assert!(requests.iter().any(|line| line["status"] == 404 && line["route"] == "other"), "{requests:?}");
    assert!(requests.iter().any(|line| line["status"] == 401 && line["caller"].is_null()), "{requests:?}");
    for hidden in ["hidden", "secret-place", "4111", "nobody-", TOKEN] {
        let said = requests.iter().find(|line| line.to_string().contains(hidden));
        assert!(said.is_none(), "{hidden}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_has_a_line_where_few_have_and_none_where_it_is_off() {
    let webhook = Webhook::start(|_| Answer::hang()).await;
    for (share, lines) in [("0.0000001", 1), ("0", 0)] {
        let config = format!(
            "version: 1\nservice: shop\nlog: {{format: json, access: {share}}}\n\
             bridges: {{local: {{kind: embedded, dir: data}}}}\ntopics: {{prices: {{}}, orders: {{}}}}\n\
             drain: {{deliveries: 1s, shutdown: 1s}}\n\
             subscriptions: {{prices: {{topic: prices, push: {{url: '{}', reply: true}}}}}}\n",
            webhook.url("/")
        );
        let mut sidecar = Launch::new(SIDESPAN).config(&config).start().await;
        sidecar.until_ready().await;
        let ask = Client::new().post(&sidecar.url("/v1/topics/prices/requests"), "x");
        assert_eq!(ask.header("sidespan-timeout", "300ms").send().await.unwrap().status, 504);
        crate::store(&sidecar, "orders", "x", &[]).await;
        let ended = sidecar.stop().await;
        let requests = requests(&ended.stderr);
        assert_eq!(requests.len(), lines, "{requests:?}");
        assert!(requests.iter().all(|line| line["status"] == 504 && line["level"] == "WARN"), "{requests:?}");
    }
}
