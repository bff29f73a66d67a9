//! A collector that writes down what it is told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::HeaderMap;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use sidespan_test_support::{Answer, Pair, Webhook, eventually};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status};

use crate::PATIENCE;

/// A span, as a test looks at it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty where there is none.
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Trace and span.
    pub(crate) links: Vec<(String, String)>,
    pub(crate) is_error: bool,
    pub(crate) resource: BTreeMap<String, String>,
}

impl Told {
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// A collector on a port of its own. Dropping it closes that.
pub(crate) struct Collector {
    url: String,
    book: Arc<Book>,
    running: Running,
}

enum Running {
    Grpc { _task: AbortOnDropHandle<()> },
    Http { _webhook: Webhook },
}

#[derive(Default)]
struct Book {
    spans: Mutex<Vec<Told>>,
    calls: Mutex<Vec<HeaderMap>>,
}

impl Collector {
    /// Speaks gRPC.
    pub(crate) async fn grpc() -> Self {
        Self::listen("http", None).await
    }

    /// Speaks gRPC over TLS.
    pub(crate) async fn tls(pair: &Pair) -> Self {
        Self::listen("https", Some(acceptor(pair))).await
    }

    /// Speaks HTTP, at paths below `/collect`.
    pub(crate) async fn http() -> Self {
        let book = Arc::new(Book::default());
        let told = book.clone();
        let webhook = Webhook::start(move |received| {
            if received.path != "/collect/v1/traces" {
                return Answer::status(404);
            }
            assert_eq!(received.header("content-type"), "application/x-protobuf");
            told.tell(&received.headers, ExportTraceServiceRequest::decode(received.body.clone()).unwrap());
            let said = ExportTraceServiceResponse::default().encode_to_vec();
            Answer::status(200).header("content-type", "application/x-protobuf").body(said)
        })
        .await;
        Self { url: webhook.url("/collect"), book, running: Running::Http { _webhook: webhook } }
    }

    async fn listen(scheme: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{scheme}://localhost:{}", listener.local_addr().unwrap().port());
        let book = Arc::new(Book::default());
        let service = TowerToHyperService::new(TraceServiceServer::new(Scribe(book.clone())));
        let accept = async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (tls, service) = (tls.clone(), service.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket, service).await,
                        // Who does not trust the certificate goes away.
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket, service).await;
                            }
                        }
                    }
                });
            }
        };
        let task = AbortOnDropHandle::new(tokio::spawn(accept));
        Self { url, book, running: Running::Grpc { _task: task } }
    }

    /// Returns the section `telemetry` by which a server tells it, with this share of its own traces.
    pub(crate) fn section(&self, ratio: f64) -> String {
        let protocol = match self.running {
            Running::Grpc { .. } => "grpc",
            Running::Http { .. } => "http",
        };
        section(&self.url, ratio, &format!("protocol: {protocol}"))
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns all spans so far.
    pub(crate) fn spans(&self) -> Vec<Told> {
        self.book.spans.lock().unwrap().clone()
    }

    /// Returns the headers of all calls so far.
    pub(crate) fn calls(&self) -> Vec<HeaderMap> {
        self.book.calls.lock().unwrap().clone()
    }

    /// Waits until there are spans of all these names, and returns one of each, in their order.
    pub(crate) async fn named<const N: usize>(&self, names: [&str; N]) -> [Told; N] {
        let find = |name: &str| self.spans().into_iter().find(|span| span.name == name);
        eventually(PATIENCE, &format!("spans named {names:?}"), async || {
            names.iter().all(|name| find(name).is_some())
        })
        .await;
        names.map(|name| find(name).unwrap())
    }
}

/// Returns the section `telemetry` for a collector at this address.
pub(crate) fn section(url: &str, ratio: f64, more: &str) -> String {
    format!("telemetry: {{ traces: {{ ratio: {ratio:?} }}, otlp: {{ endpoint: '{url}', {more} }} }}")
}

async fn serve<S>(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: S)
where
    S: Service<
            http::Request<hyper::body::Incoming>,
            Response = http::Response<tonic::body::Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Send
        + 'static,
{
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
}

struct Scribe(Arc<Book>);

#[tonic::async_trait]
impl TraceService for Scribe {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.0.tell(&metadata.into_headers(), request);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Book {
    fn tell(&self, headers: &HeaderMap, request: ExportTraceServiceRequest) {
        self.calls.lock().unwrap().push(headers.clone());
        let mut spans = self.spans.lock().unwrap();
        for resource in request.resource_spans {
            let known =
                resource.resource.map(|resource| attributes(&resource.attributes)).unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(Told {
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    kind: span.kind(),
                    attributes: attributes(&span.attributes),
                    links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
                    is_error: span.status.is_some_and(|status| status.code == 2),
                    name: span.name,
                    resource: known.clone(),
                });
            }
        }
    }
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(&attribute.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn acceptor(pair: &Pair) -> TlsAcceptor {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let chain = CertificateDer::pem_file_iter(&pair.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
