//! A gRPC service that messages are pushed to.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::routing::post;
use sidespan::proto::{DeliverRequest, DeliverResponse, Reply};
use sidespan_test_support::{Client, Launch, eventually};
use tokio::net::TcpListener;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::collector::{Collector, Told};
use crate::{PATIENCE, RECORDED, SIDESPAN, TRACE, parts, publish};

#[tokio::test]
async fn a_grpc_service_goes_on_from_the_attempt() {
    let collector = Collector::grpc().await;
    let receiver = Receiver::start().await;
    let config = format!(
        "version: 1\nservice: shop\nbridges: {{ main: {{ kind: embedded, dir: ./data }} }}\n\
         topics: {{ orders: {{}} }}\nsubscriptions:\n  billing: {{ topic: orders, start: begin, dead_letter: false, \
         push: {{ url: '{}', protocol: grpc, reply: true }}, retry: {{ backoff: {{ base: 5ms, cap: 10ms }} }} }}\n{}\n",
        receiver.url,
        collector.section(0.0),
    );
    let sidecar = Launch::new(SIDESPAN).config(&config).start().await;
    sidecar.until_ready().await;
    let context = [("traceparent", RECORDED), ("tracestate", "a=b"), ("baggage", "k=v")];
    publish(&sidecar, &context).await;

    let processes = || -> Vec<Told> {
        collector.spans().into_iter().filter(|span| span.name == "process orders").collect()
    };
    eventually(PATIENCE, "both attempts", async || processes().len() == 2).await;
    let [send, _] = collector.named(["send orders", "settle orders"]).await;
    let (calls, processes) = (receiver.calls(), processes());
    assert_eq!(calls.len(), 2);
    for (number, ((metadata, call), span)) in calls.iter().zip(&processes).enumerate() {
        let said = |name: &str| -> Vec<&str> {
            metadata.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
        };
        assert_eq!(said("traceparent").len(), 1, "{metadata:?}");
        assert_eq!(parts(said("traceparent")[0]), [TRACE, &*span.id, "01"]);
        assert_eq!((said("tracestate"), said("baggage")), (vec!["a=b"], vec!["k=v"]));
        // The message itself has the context that it was published in.
        let headers = &call.message.as_ref().unwrap().headers;
        let own = headers.iter().find(|header| header.name == "traceparent").unwrap();
        assert_eq!(parts(std::str::from_utf8(&own.value).unwrap()), [TRACE, &*send.id, "01"]);
        assert_eq!((&*span.trace, &span.parent), (TRACE, &send.id), "{span:?}");
        assert_eq!(span.attribute("sidespan.attempt"), (number + 1).to_string());
        let server = format!("{}:{}", span.attribute("server.address"), span.attribute("server.port"));
        assert!(receiver.url.ends_with(&server), "{span:?}");
    }
    // As HTTP counts.
    let told = |name: &str| processes.iter().map(|span| span.attribute(name)).collect::<Vec<_>>();
    assert_eq!(
        (told("http.response.status_code"), told("error.type")),
        (vec!["500", "200"], vec!["500", ""])
    );

    let asked = Client::new().post(&sidecar.url("/v1/topics/orders/requests"), "how many?");
    let answer = asked.header("traceparent", RECORDED).send().await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "how many?"));
    let [reply] = collector.named(["send (temporary)"]).await;
    assert_eq!(parts(answer.header("traceparent")), [TRACE, &*reply.id, "01"]);
}

/// Fails the first call, and says again what it was told in all others.
struct Receiver {
    url: String,
    calls: Arc<Mutex<Vec<(MetadataMap, DeliverRequest)>>>,
}

impl Receiver {
    async fn start() -> Self {
        let calls: Arc<Mutex<Vec<_>>> = Arc::default();
        let seen = calls.clone();
        let deliver = move |request: Request| {
            let seen = seen.clone();
            let serve = service_fn(move |call: tonic::Request<DeliverRequest>| {
                let (metadata, _, call) = call.into_parts();
                let payload = call.message.as_ref().unwrap().payload.clone();
                let mut seen = seen.lock().unwrap();
                let is_first = seen.is_empty();
                seen.push((metadata, call));
                async move {
                    match is_first {
                        true => Err(Status::internal("not today")),
                        false => Ok(Response::new(DeliverResponse {
                            reply: Some(Reply { payload, ..Reply::default() }),
                        })),
                    }
                }
            });
            let codec = ProstCodec::<DeliverResponse, DeliverRequest>::default();
            async move { tonic::server::Grpc::new(codec).unary(serve, request).await }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/sidespan.v1.Receiver/Deliver", post(deliver));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, calls }
    }

    fn calls(&self) -> Vec<(MetadataMap, DeliverRequest)> {
        self.calls.lock().unwrap().clone()
    }
}
