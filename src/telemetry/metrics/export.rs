//! Sends snapshots to an OpenTelemetry collector, by gRPC or HTTP.
//!
//! A collector that is away costs nothing but a counter: nothing is kept for it, as the next export says all that
//! the last one would have said.

use std::fmt;
use std::future::Future;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use prost::Message as _;
use rustls::{ClientConfig, RootCertStore};
use sidespan_bridge::tls::TlsError;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tonic::body::Body;
use tonic::metadata::MetadataMap;

use super::otlp::{self, Attributes};
use super::snapshot::Snapshot;
use crate::config::{Otlp, OtlpProtocol};
use crate::telemetry::counts::FAILED_METRICS_EXPORTS;

/// Sends what is counted and measured, for ever.
pub struct Exporter {
    otlp: Otlp,
    resource: Attributes,
    start: SystemTime,
    client: Client<HttpsConnector<HttpConnector>, Body>,
    /// Whether the last export failed, which is said once.
    is_failing: bool,
}

/// Why an export was not taken.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the collector cannot be reached, or does not speak this protocol")]
    Call(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the header {0} cannot be sent: its value cannot be read, or is none of a header")]
    Header(http::HeaderName),
    #[error("the collector did not answer within telemetry.otlp.timeout")]
    Late,
    #[error("the collector refuses")]
    Refused(#[source] Box<tonic::Status>),
    #[error("the collector answers {0}")]
    Status(http::StatusCode),
}

impl Exporter {
    /// Prepares to send to a collector, as the service of this name; connects to nothing.
    ///
    /// # Errors
    ///
    /// The certificates cannot be used.
    pub fn new(otlp: Otlp, service: &str) -> Result<Self, TlsError> {
        let tls = match otlp.endpoint.scheme_str() {
            Some("https") => otlp.tls.client()?,
            _ => ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .map(|builder| builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
                .map_err(TlsError::Tls)?,
        };
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let connector = match otlp.protocol {
            OtlpProtocol::Grpc => connector.enable_http2().build(),
            OtlpProtocol::Http => connector.enable_http1().build(),
        };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_only(otlp.protocol == OtlpProtocol::Grpc)
            .build(connector);
        let resource = vec![
            ("service.name", service.to_owned()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", uuid::Uuid::now_v7().to_string()),
        ];
        Ok(Self { otlp, resource, start: SystemTime::now(), client, is_failing: false })
    }

    /// Sends what `read` sees at each interval, and once more when `stop` comes.
    pub async fn run(mut self, read: impl Fn() -> Snapshot, stop: impl Future<Output = ()>) {
        let every = self.otlp.interval;
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.export(&read(), self.otlp.timeout).await,
                () = &mut stop => break,
            }
        }
        self.export(&read(), self.otlp.timeout.min(LAST)).await;
    }

    async fn export(&mut self, snapshot: &Snapshot, patience: Duration) {
        let request = otlp::export(snapshot, &self.resource, self.start);
        let sent = timeout(patience, self.send(request)).await.unwrap_or(Err(Failure::Late));
        let failed = sent.is_err();
        match sent {
            Ok(()) if self.is_failing => tracing::info!("the collector takes metrics again"),
            Ok(()) => {}
            Err(error) => {
                FAILED_METRICS_EXPORTS.count();
                if !self.is_failing {
                    let source = std::error::Error::source(&error).map(tracing::field::display);
                    tracing::warn!(%error, source, "metrics are not exported: check telemetry.otlp; trying again");
                }
            }
        }
        self.is_failing = failed;
    }

    async fn send(&self, request: ExportMetricsServiceRequest) -> Result<(), Failure> {
        let headers = self.headers()?;
        match self.otlp.protocol {
            OtlpProtocol::Grpc => {
                let mut call = tonic::Request::new(request);
                *call.metadata_mut() = MetadataMap::from_headers(headers);
                let mut service =
                    MetricsServiceClient::with_origin(self.client.clone(), self.otlp.endpoint.clone());
                service.export(call).await.map_err(|status| Failure::Refused(Box::new(status)))?;
                Ok(())
            }
            OtlpProtocol::Http => {
                let body = Body::new(Full::new(request.encode_to_vec().into()));
                let mut post = Request::new(body);
                *post.method_mut() = Method::POST;
                *post.uri_mut() = self.path()?;
                *post.headers_mut() = headers;
                post.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                let answer = self.client.request(post).await.map_err(|error| Failure::Call(error.into()))?;
                let status = answer.status();
                // So that the connection can be used again.
                let body = http_body_util::Limited::new(answer.into_body(), MOST_ANSWER);
                let _ = body.collect().await;
                if status.is_success() { Ok(()) } else { Err(Failure::Status(status)) }
            }
        }
    }

    /// Reads the headers anew for each export, as their secrets may be renewed.
    fn headers(&self) -> Result<HeaderMap, Failure> {
        let read = |(name, secret): &(http::HeaderName, sidespan_bridge::Secret)| {
            let value = secret.reveal().ok().and_then(|text| HeaderValue::try_from(text).ok());
            let mut value = value.ok_or_else(|| Failure::Header(name.clone()))?;
            value.set_sensitive(true);
            Ok((name.clone(), value))
        };
        self.otlp.headers.iter().map(read).collect()
    }

    /// Returns where metrics are posted.
    fn path(&self) -> Result<Uri, Failure> {
        let mut parts = self.otlp.endpoint.clone().into_parts();
        let path = format!("{}/v1/metrics", self.otlp.endpoint.path().trim_end_matches('/'));
        parts.path_and_query = Some(path.parse().map_err(|error| Failure::Call(Box::new(error)))?);
        Uri::from_parts(parts).map_err(|error| Failure::Call(error.into()))
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").field("endpoint", &self.otlp.endpoint).finish_non_exhaustive()
    }
}

/// What the last export may take while the server stops.
const LAST: Duration = Duration::from_secs(2);
/// How much of an answer is read.
const MOST_ANSWER: usize = 64 << 10;
