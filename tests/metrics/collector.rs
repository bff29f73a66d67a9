//! A real receiver of OTLP, by gRPC and by HTTP, that keeps what it gets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::HeaderMap;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use prost::Message;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, async_trait};

/// What came, the latest last, with the header `api-key` that came along.
#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Vec<(String, ExportMetricsServiceRequest)>>>);

impl Collector {
    /// Starts one; returns its address too.
    pub(crate) async fn start() -> (Self, SocketAddr) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let grpc = MetricsServiceServer::new(collector.clone());
        let both = Router::new()
            .route("/v1/metrics", post(take))
            .with_state(collector.clone())
            .route_service("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", grpc);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(both.clone());
                tokio::spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        (collector, address)
    }

    /// Returns the latest that came.
    pub(crate) fn latest(&self) -> Option<(String, ExportMetricsServiceRequest)> {
        self.0.lock().unwrap().last().cloned()
    }

    fn keep(&self, headers: &HeaderMap, request: ExportMetricsServiceRequest) {
        let key = headers.get("api-key").map(|key| key.to_str().unwrap().to_owned());
        self.0.lock().unwrap().push((key.unwrap_or_default(), request));
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    collector.keep(&headers, ExportMetricsServiceRequest::decode(body).unwrap());
}

#[async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.keep(&metadata.into_headers(), request);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// Returns the attributes of the resource, as `name=value`.
pub(crate) fn resource(request: &ExportMetricsServiceRequest) -> Vec<String> {
    written(&request.resource_metrics[0].resource.as_ref().unwrap().attributes)
}

/// Returns a metric by its name.
pub(crate) fn find<'a>(request: &'a ExportMetricsServiceRequest, name: &str) -> Option<&'a Metric> {
    request.resource_metrics[0].scope_metrics[0].metrics.iter().find(|metric| metric.name == name)
}

/// Returns the numbers of a counter, with their attributes.
pub(crate) fn sums(metric: &Metric) -> Vec<(Vec<String>, i64)> {
    let Some(metric::Data::Sum(sum)) = &metric.data else { panic!("no counter: {metric:?}") };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "cumulative");
    let point = |point: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| match point.value {
        Some(number_data_point::Value::AsInt(number)) => (written(&point.attributes), number),
        other => panic!("no number: {other:?}"),
    };
    sum.data_points.iter().map(point).collect()
}

fn written(attributes: &[KeyValue]) -> Vec<String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
        any_value::Value::StringValue(value) => format!("{}={value}", attribute.key),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(text).collect()
}
