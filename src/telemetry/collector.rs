//! Calls an OpenTelemetry collector: OTLP over gRPC, or over HTTP as protobuf.
//!
//! # Why not the exporters of `opentelemetry-otlp`
//!
//! They take headers, compression and more from `OTEL_*` variables that an operator may set for the service
//! beside us, keep certificates and secrets as they were at the start, and do not tell what was lost.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::Message;
use rustls::{ClientConfig, RootCertStore};
use sidespan_bridge::SecretError;
use sidespan_bridge::tls::TlsError;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::{Code, Extensions, Status};
use tonic_prost::ProstCodec;

use crate::config::{Otlp, OtlpProtocol};

/// Connections to one collector, made when they are needed, with secrets as they were when it was opened.
pub struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    endpoint: Uri,
    protocol: OtlpProtocol,
    headers: HeaderMap,
    timeout: Duration,
}

/// What is told to a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Metrics.
    Metrics,
    /// Traces.
    Traces,
}

/// Why a collector was not told.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// It answered something else than what was asked.
    #[error("its answer is none of OTLP")]
    Answer,
    /// A secret is none that a header may have.
    #[error("the value of the header {0} is none that a header may have")]
    Header(String),
    /// It refused.
    #[error("it answered {reason}")]
    Refused {
        /// How.
        reason: String,
        /// Whether it may take the same later.
        passing: bool,
    },
    /// A secret is not where it should be.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It did not answer in time.
    #[error("no answer within {0:?}")]
    Slow(Duration),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It cannot be reached.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
}

impl CollectorError {
    /// Tells whether the same call may succeed in a moment.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Refused { passing, .. } => *passing,
            Self::Slow(_) | Self::Unreachable(_) => true,
            Self::Answer | Self::Header(_) | Self::Secret(_) | Self::Tls(_) => false,
        }
    }
}

impl Collector {
    /// Reads secrets and certificates; connects to nothing.
    ///
    /// # Errors
    ///
    /// One of them cannot be used.
    pub fn open(otlp: &Otlp) -> Result<Self, CollectorError> {
        let mut headers = HeaderMap::new();
        for (name, secret) in &otlp.headers {
            let mut value = HeaderValue::try_from(secret.reveal()?)
                .map_err(|_| CollectorError::Header(name.to_string()))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(otlp.timeout));
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls(otlp)?).https_or_http();
        let is_grpc = otlp.protocol == OtlpProtocol::Grpc;
        let connector = match otlp.protocol {
            OtlpProtocol::Grpc => connector.enable_http2().wrap_connector(tcp),
            OtlpProtocol::Http => connector.enable_http1().wrap_connector(tcp),
        };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1)
            .http2_only(is_grpc)
            .build(connector);
        let (endpoint, protocol, timeout) = (otlp.endpoint.clone(), otlp.protocol, otlp.timeout);
        Ok(Self { client, endpoint, protocol, headers, timeout })
    }

    /// Tells it something, and returns what it says to that.
    ///
    /// # Errors
    ///
    /// It was not told, as far as is known.
    pub async fn call<Q, A>(&self, signal: Signal, request: Q) -> Result<A, CollectorError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let call = async {
            match self.protocol {
                OtlpProtocol::Grpc => self.grpc(signal, request).await,
                OtlpProtocol::Http => self.http(signal, &request).await,
            }
        };
        timeout(self.timeout, call).await.map_err(|_| CollectorError::Slow(self.timeout))?
    }

    async fn grpc<Q, A>(&self, signal: Signal, request: Q) -> Result<A, CollectorError>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = match signal {
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        };
        let metadata = MetadataMap::from_headers(self.headers.clone());
        let request = tonic::Request::from_parts(metadata, Extensions::new(), request);
        let mut service = Grpc::with_origin(self.client.clone(), self.endpoint.clone());
        let codec = ProstCodec::<Q, A>::default();
        let answer = service.unary(request, PathAndQuery::from_static(path), codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| refusal(&status))
    }

    async fn http<A: Message + Default>(
        &self,
        signal: Signal,
        request: &impl Message,
    ) -> Result<A, CollectorError> {
        let path = match signal {
            Signal::Metrics => "v1/metrics",
            Signal::Traces => "v1/traces",
        };
        let endpoint = self.endpoint.to_string();
        let mut post = Request::new(Body::new(Full::new(Bytes::from(request.encode_to_vec()))));
        *post.method_mut() = Method::POST;
        // An address with a path and nothing else behind it stays one.
        *post.uri_mut() = format!("{}/{path}", endpoint.trim_end_matches('/'))
            .parse()
            .map_err(|_| CollectorError::Answer)?;
        post.headers_mut().extend(self.headers.clone());
        post.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        post.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let response =
            self.client.request(post).await.map_err(|error| CollectorError::Unreachable(root(&error)))?;
        let status = response.status();
        if !status.is_success() {
            let passing = matches!(status.as_u16(), 429 | 502 | 503 | 504);
            return Err(CollectorError::Refused { reason: status.to_string(), passing });
        }
        let body = Limited::new(response.into_body(), MOST_ANSWER).collect().await;
        A::decode(body.map_err(|_| CollectorError::Answer)?.to_bytes()).map_err(|_| CollectorError::Answer)
    }
}

/// The machine's certificate authorities are read only where they are needed: they take megabytes.
fn tls(otlp: &Otlp) -> Result<ClientConfig, TlsError> {
    if otlp.endpoint.scheme_str() == Some("https") {
        return otlp.tls.client();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(TlsError::Tls)?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// Which of them pass is OTLP's to say; what never reached the collector does.
fn refusal(status: &Status) -> CollectorError {
    if let Some(source) = status.source() {
        return CollectorError::Unreachable(root(source));
    }
    let passing = matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    );
    CollectorError::Refused { reason: format!("{:?}: {}", status.code(), status.message()), passing }
}

/// The innermost cause: the layers above it say no more than "error".
fn root(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

const AGENT: &str = concat!("sidespan/", env!("CARGO_PKG_VERSION"));
/// The longest answer that is read, in bytes.
const MOST_ANSWER: usize = 64 << 10;
