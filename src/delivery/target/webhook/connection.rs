//! Connections to an endpoint, pooled. Each goes to an address that may be called.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use super::WebhookError;
use crate::config::{Push, PushProtocol, Reach};
use crate::security::destination::{check_within, permitted};

/// Connects by TCP, and TLS where the address says so.
pub(in crate::delivery::target) type Connector = HttpsConnector<Marked>;

/// Makes a client with a pool of its own.
pub(in crate::delivery::target) fn client(
    push: &Push,
    max_in_flight: usize,
) -> Result<Client<Connector, Full<Bytes>>, WebhookError> {
    let mut tcp = HttpConnector::new_with_resolver(Resolver(GaiResolver::new(), push.reach.clone()));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(push.timeout));
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls(push.url.scheme() == "https")?)
        .https_or_http();
    let marked = Marked(tcp, push.reach.clone());
    let connector = match push.protocol {
        PushProtocol::Grpc | PushProtocol::H2 => connector.enable_http2().wrap_connector(marked),
        PushProtocol::Http1 => connector.enable_http1().wrap_connector(marked),
    };
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        // The pool connects anew for a request that comes a moment before a connection is free again.
        // Such spare ones are kept, or this would go on for ever.
        .pool_max_idle_per_host(max_in_flight.saturating_mul(2))
        .http2_only(push.protocol != PushProtocol::Http1)
        .build(connector))
}

/// Reads the machine's certificate authorities only where they are needed: they take megabytes.
fn tls(needed: bool) -> Result<ClientConfig, WebhookError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(WebhookError::Tls)?;
    let config = if needed {
        config.with_native_roots().map_err(WebhookError::Certificates)?
    } else {
        config.with_root_certificates(RootCertStore::empty())
    };
    let mut config = config.with_no_client_auth();
    // As many as rustls keeps for one server, and a client calls one: by itself it has room for 32, 14 KiB.
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(config)
}

/// Tells whether a connection has carried an answer before.
#[derive(Clone, Debug, Default)]
pub(super) struct Used(Arc<AtomicBool>);

impl Used {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes TCP connections that carry a [`Used`] mark.
#[derive(Clone, Debug)]
pub(in crate::delivery::target) struct Marked(HttpConnector<Resolver>, Reach);

impl Service<Uri> for Marked {
    type Response = MarkedStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<MarkedStream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(BoxError::from)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // The resolver is not asked about an address.
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let literal = host.parse::<IpAddr>().map_or(Ok(()), |ip| check_within(ip, &self.1));
        let connecting = literal.map(|()| self.0.call(uri));
        Box::pin(async move { Ok(MarkedStream { stream: connecting?.await?, used: Used::default() }) })
    }
}

/// Finds a name's addresses, anew for each connection, and leaves out those that are never called.
#[derive(Clone, Debug)]
pub(in crate::delivery::target) struct Resolver(GaiResolver, Reach);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.0.call(name);
        let reach = self.1.clone();
        Box::pin(async move { permitted(resolving.await?, &reach).map(Vec::into_iter) })
    }
}

/// A TCP connection with a mark.
#[derive(Debug)]
pub(in crate::delivery::target) struct MarkedStream {
    stream: TokioIo<TcpStream>,
    used: Used,
}

impl Connection for MarkedStream {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.used.clone())
    }
}

impl Read for MarkedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for MarkedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

/// Shorter than what common servers keep (Node: 5 s), so that we close before they do.
const IDLE: Duration = Duration::from_secs(4);
/// TLS sessions that a new connection can go on with.
const SESSIONS: usize = 8;

#[cfg(test)]
mod tests {
    use std::error::Error;

    use tokio::net::TcpListener;

    use super::*;

    async fn connect(uri: &str) -> Result<MarkedStream, String> {
        let mut tcp = HttpConnector::new_with_resolver(Resolver(GaiResolver::new(), Reach::Any));
        tcp.set_connect_timeout(Some(Duration::from_secs(5)));
        Marked(tcp, Reach::Any).call(uri.parse().unwrap()).await.map_err(|error| {
            let mut cause: &(dyn Error + 'static) = &*error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            cause.to_string()
        })
    }

    #[tokio::test]
    async fn an_address_that_is_never_called_is_known_in_every_form() {
        // The last ones are names to HTTP, and the resolver knows where they lead.
        for host in
            ["169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "169.254.43518", "0xa9.254.0251.254"]
        {
            let error = connect(&format!("http://{host}:80/")).await.unwrap_err();
            assert!(error.contains("is never called"), "{host}: {error}");
        }
    }

    #[tokio::test]
    async fn a_name_leads_to_its_other_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost", "127.1"] {
            connect(&format!("http://{host}:{port}/")).await.unwrap();
        }
    }
}
