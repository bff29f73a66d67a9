//! The access log: which request was answered how, without what stands in it.

use http::Method;
use http::uri::PathAndQuery;
use serde_json::{Value, json};
use sidespan::proto::publisher_client::PublisherClient;
use sidespan::proto::requester_client::RequesterClient;
use sidespan::proto::{Message, PublishRequest, PublishResponse, RequestRequest};
use sidespan_test_support::{Answer, Client, Launch, Sidecar, Webhook};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_a_line_with_its_method_and_its_status() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let config = format!(
        "version: 1\nservice: shop\nlog: {{format: json, access: 1}}\n\
         bridges: {{local: {{kind: embedded, dir: data, open: true}}}}\n\
         auth: {{tokens: [{{name: till, secret: {TOKEN}, publish: ['>']}}]}}\n"
    );
    let mut sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    let channel = connect(&sidecar).await;
    let call = |token: &str| {
        let mut call = Request::new(PublishRequest { messages: vec![message("hidden")] });
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        call.metadata_mut().insert("traceparent", parent.parse().unwrap());
        call.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        call
    };
    PublisherClient::new(channel.clone()).publish(call(TOKEN)).await.unwrap();
    for (path, token, code) in [
        ("/sidespan.v1.Publisher/Publish", "nobody-nobody-nobody-nobody", Code::Unauthenticated),
        ("/secret.v1.Place/Ask", "nobody-nobody-nobody-nobody", Code::Unauthenticated),
        ("/secret.v1.Place/Ask", TOKEN, Code::Unimplemented),
    ] {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<PublishRequest, PublishResponse>::default();
        let answer = grpc.unary(call(token), PathAndQuery::from_static(path), codec).await;
        assert_eq!(answer.unwrap_err().code(), code, "{path}");
    }
    drop(channel);

    let ended = sidecar.stop().await;
    let requests = requests(&ended.stderr);
    let lines: Vec<_> = requests
        .iter()
        .filter(|line| line["method"] == "POST")
        .map(|line| json!([line["route"], line["status"], line["grpc_status"], line["caller"]]))
        .collect();
    let publish = "/sidespan.v1.Publisher/Publish";
    let expected = [
        json!([publish, 200, 0, "till"]),
        json!([publish, 200, 16, null]),
        json!(["other", 200, 16, null]),
        json!(["other", 200, 12, "till"]),
    ];
    assert_eq!(lines, expected);
    let stored = requests.iter().find(|line| line["grpc_status"] == 0).unwrap();
    assert_eq!((&stored["trace_id"], &stored["level"]), (&json!(TRACE), &json!("INFO")), "{stored}");
    assert!(stored["bytes"].as_u64().unwrap() > 0, "{stored}");
    for hidden in ["hidden", "secret.v1", "4111", "nobody-", TOKEN] {
        let said = requests.iter().find(|line| line.to_string().contains(hidden));
        assert!(said.is_none(), "{hidden}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_has_a_line_where_few_have() {
    let webhook = Webhook::start(|_| Answer::hang()).await;
    let config = format!(
        "version: 1\nservice: shop\nlog: {{format: json, access: 0.0000001}}\n\
         bridges: {{local: {{kind: embedded, dir: data}}}}\ntopics: {{prices: {{}}, orders: {{}}}}\n\
         drain: {{deliveries: 1s, shutdown: 1s}}\nlimits: {{timeout: 300ms}}\n\
         subscriptions: {{prices: {{topic: prices, push: {{url: '{}', reply: true}}}}}}\n",
        webhook.url("/")
    );
    let mut sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    let channel = connect(&sidecar).await;
    let ask = |topic: &str| RequestRequest { message: Some(message(topic)) };
    let mut requester = RequesterClient::new(channel.clone());
    assert_eq!(requester.request(ask("prices")).await.unwrap_err().code(), Code::DeadlineExceeded);
    // What the caller has got wrong is no failure.
    assert_eq!(requester.request(ask("nothing")).await.unwrap_err().code(), Code::NotFound);
    let batch = PublishRequest { messages: vec![message("orders")] };
    PublisherClient::new(channel.clone()).publish(batch).await.unwrap();
    drop((requester, channel));

    let ended = sidecar.stop().await;
    let requests = requests(&ended.stderr);
    assert_eq!(requests.len(), 1, "{requests:?}");
    let line = &requests[0];
    assert_eq!((&line["grpc_status"], &line["level"]), (&json!(4), &json!("WARN")), "{line}");
    assert_eq!(line["route"], "/sidespan.v1.Requester/Request", "{line}");
}

async fn connect(sidecar: &Sidecar) -> Channel {
    Endpoint::from_shared(sidecar.url("")).unwrap().connect().await.unwrap()
}

fn message(topic: &str) -> Message {
    Message { topic: topic.into(), payload: "card 4111".into(), ..Message::default() }
}
