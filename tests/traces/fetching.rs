//! What consumers that fetch get of a trace, and what is told of that, at every door.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use sidespan::proto::subscribe_request::Request as Say;
use sidespan::proto::subscriber_client::SubscriberClient;
use sidespan::proto::{
    Acknowledge, AcknowledgeRequest, Begin, Credit, PullRequest, ReceivedMessage, SubscribeRequest,
};
use sidespan_test_support::{Client, Sidecar};
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};

use crate::collector::Collector;
use crate::socket::Socket;
use crate::{PATIENCE, RECORDED, TRACE, embedded, fetched, header, messages, parts, publish};

/// Headers, as a consumer has got them.
type Headers = Vec<(String, String)>;

#[tokio::test]
async fn a_message_that_is_pulled_over_rest_has_its_context() {
    a_consumer_goes_on_from_the_message(async |sidecar| {
        let body = json!({ "max_messages": 1, "wait": "20s" });
        let pulled = post(sidecar, "pull", &body).await["messages"][0].take();
        let settled = post(sidecar, "ack", &json!({ "ack_ids": [pulled["ack_id"]] })).await;
        assert_eq!(settled["settled"], 1, "{settled}");
        of_json(&pulled)
    })
    .await;
}

#[tokio::test]
async fn a_message_that_is_pulled_over_grpc_has_its_context() {
    a_consumer_goes_on_from_the_message(async |sidecar| {
        let mut client = subscriber(sidecar).await;
        let wish = PullRequest { subscription: "jobs".into(), ..PullRequest::default() };
        let pulled = client.pull(wish).await.unwrap().into_inner().messages.remove(0);
        let ack_ids = vec![pulled.ack_id.clone()];
        let acknowledge = AcknowledgeRequest { subscription: "jobs".into(), ack_ids };
        assert_eq!(client.acknowledge(acknowledge).await.unwrap().into_inner().failed, 0);
        of_proto(&pulled)
    })
    .await;
}

#[tokio::test]
async fn a_message_of_a_grpc_stream_has_its_context() {
    a_consumer_goes_on_from_the_message(async |sidecar| {
        let (say, said) = tokio::sync::mpsc::channel(2);
        let said = tokio_stream::wrappers::ReceiverStream::new(said);
        let ask = |request| SubscribeRequest { request: Some(request) };
        let credit = Some(Credit { messages: 1, ..Credit::default() });
        let begin = Begin { subscription: "jobs".into(), credit, ..Begin::default() };
        say.send(ask(Say::Begin(begin))).await.unwrap();
        let mut answers = subscriber(sidecar).await.subscribe(said).await.unwrap().into_inner();
        let received = answers.next().await.unwrap().unwrap().messages.remove(0);
        let acknowledge = Acknowledge { ack_ids: vec![received.ack_id.clone()] };
        say.send(ask(Say::Acknowledge(acknowledge))).await.unwrap();
        let settled = answers.next().await.unwrap().unwrap().settled.remove(0);
        assert!(settled.failure.is_none(), "{settled:?}");
        of_proto(&received)
    })
    .await;
}

#[tokio::test]
async fn a_message_of_a_socket_has_its_context() {
    a_consumer_goes_on_from_the_message(async |sidecar| {
        let mut socket = Socket::open(sidecar, "/v1/subscriptions/jobs/stream").await;
        socket.send(json!({ "type": "credit", "messages": 1 })).await;
        let message = socket.answer("message").await["message"].take();
        socket.send(json!({ "type": "ack", "ack_ids": [message["ack_id"]], "seq": 1 })).await;
        let settled = socket.answer("settled").await;
        assert_eq!(settled["outcomes"][0]["status"], 200, "{settled}");
        of_json(&message)
    })
    .await;
}

/// Who only looks settles nothing.
#[tokio::test]
async fn a_message_of_a_stream_of_a_topic_has_its_context() {
    let collector = Collector::grpc().await;
    let sidecar = embedded(&collector.section(0.0)).await;
    publish(&sidecar, &[("traceparent", RECORDED), ("tracestate", "a=b")]).await;
    let event = messages(&sidecar, "orders", 1).await.remove(0);
    let mut socket = Socket::open(&sidecar, "/v1/topics/orders/stream?start=begin").await;
    let frame = socket.answer("message").await["message"].take();
    let [send, receive] = collector.named(["send orders", "receive orders"]).await;
    for message in [&event, &frame] {
        assert_eq!(parts(&header(message, "traceparent")[0]), [TRACE, &*send.id, "01"], "{message}");
        assert_eq!(header(message, "tracestate"), ["a=b"], "{message}");
    }
    assert_eq!((&*receive.trace, &receive.parent), (TRACE, &send.id));
    assert_eq!(receive.attribute("messaging.consumer.group.name"), "");
    assert!(collector.spans().iter().all(|span| !span.name.starts_with("settle")));
}

/// Publishes a message, has `consume` fetch and acknowledge it, and looks at what both were told.
async fn a_consumer_goes_on_from_the_message(consume: impl AsyncFnOnce(&Sidecar) -> Headers) {
    let collector = Collector::grpc().await;
    let sidecar = fetched(&collector.section(0.0)).await;
    let receipt =
        publish(&sidecar, &[("traceparent", RECORDED), ("tracestate", "a=b"), ("baggage", "k=v")]).await;
    let got = tokio::time::timeout(PATIENCE, consume(&sidecar)).await.expect("a message in time");

    let [send, receive, settle] = collector.named(["send orders", "receive orders", "settle orders"]).await;
    let of = |name: &str| got.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value);
    assert_eq!(parts(of("traceparent")), [TRACE, &*send.id, "01"]);
    assert_eq!((of("tracestate"), of("baggage")), ("a=b", "k=v"));
    for span in [&receive, &settle] {
        assert_eq!((&*span.trace, &span.parent, span.kind), (TRACE, &send.id, SpanKind::Client), "{span:?}");
        assert_eq!(span.links, [(TRACE.to_owned(), send.id.clone())], "{span:?}");
        assert_eq!(span.attribute("messaging.consumer.group.name"), "shop.jobs", "{span:?}");
        assert_eq!(span.attribute("messaging.message.id"), receipt["id"].as_str().unwrap(), "{span:?}");
        assert!(!span.is_error, "{span:?}");
    }
    assert_eq!(settle.attribute("sidespan.verdict"), "accept");
    // To process it is the consumer's part, and so is the span of that.
    assert!(collector.spans().iter().all(|span| !span.name.starts_with("process")));
}

async fn post(sidecar: &Sidecar, what: &str, body: &Value) -> Value {
    let url = sidecar.url(&format!("/v1/subscriptions/jobs/{what}"));
    let answer = Client::new().post(&url, body.to_string()).send().await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn subscriber(sidecar: &Sidecar) -> SubscriberClient<Channel> {
    SubscriberClient::new(Endpoint::from_shared(sidecar.url("")).unwrap().connect().await.unwrap())
}

fn of_json(message: &Value) -> Headers {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let headers = message["headers"].as_array().unwrap_or_else(|| panic!("no headers in {message}"));
    headers.iter().map(|header| (text(&header[0]), text(&header[1]))).collect()
}

fn of_proto(received: &ReceivedMessage) -> Headers {
    let headers = &received.message.as_ref().unwrap().headers;
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    headers.iter().map(|header| (header.name.clone(), text(&header.value))).collect()
}
