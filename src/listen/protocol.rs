//! What a connection speaks: HTTP/1, or HTTP/2 where its first bytes are that protocol's preface.
//!
//! hyper-util tells them apart too, but then hands hyper those bytes by themselves. hyper, which wants room
//! for 8 KiB more whenever it reads, doubles its buffer for them and keeps 16 KiB as long as the connection
//! lasts.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::{BufMut, BytesMut};
use futures_util::FutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::conversation::{Answer, Requests};
use super::{Bounds, Service};

/// How connections are served.
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    stop: CancellationToken,
}

impl Protocols {
    /// Serves within these bounds; after `stop` no more requests are taken.
    pub(super) fn new(bounds: Bounds, stop: CancellationToken) -> Self {
        let Bounds { idle, head, .. } = bounds;
        let (mut http1, mut http2) = (http1::Builder::new(), http2::Builder::new(TokioExecutor::new()));
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .max_buf_size(head)
            // Answers are small: a copy costs less than the other call to the system.
            .writev(false)
            .half_close(false);
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(idle)
            .keep_alive_timeout(Duration::from_secs(20))
            .max_concurrent_streams(1024)
            .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX));
        Self { http1, http2, stop }
    }

    /// Serves a connection until its end, or until its requests under way are answered after `stop`. One
    /// that breaks is its client's affair.
    pub(super) async fn serve<S: Stream>(
        self: Arc<Self>,
        stream: S,
        service: impl Service,
        requests: Requests,
    ) {
        let mut stopped = pin!(self.stop.clone().cancelled_owned());
        let opened = tokio::select! {
            biased;
            opened = Opened::read(stream) => opened,
            () = &mut stopped => return,
        };
        let Ok(opened) = opened else { return };
        let service = service_fn(move |request: Request<Incoming>| {
            let running = requests.begin();
            // hyper keeps room for this future as long as the connection lasts; a block that awaited the answer
            // would hold it twice.
            let answer = service.clone().answer(request.map(Body::new));
            answer.map(|answer| Ok::<_, Infallible>(answer.map(|body| Answer::new(body, running))))
        });
        if opened.speaks_http2() {
            let mut connection = pin!(self.http2.serve_connection(TokioIo::new(opened), service));
            tokio::select! {
                biased;
                _ = connection.as_mut() => return,
                () = &mut stopped => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        } else {
            let connection = self.http1.serve_connection(TokioIo::new(opened), service);
            let mut connection = pin!(connection.with_upgrades());
            tokio::select! {
                biased;
                _ = connection.as_mut() => return,
                () = &mut stopped => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        }
    }
}

/// A byte stream, whichever socket it came by.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A byte stream of which the beginning has been read already.
struct Opened<S> {
    beginning: BytesMut,
    stream: S,
}

impl<S: Stream> Opened<S> {
    /// Reads until it is plain whether this is HTTP/2.
    async fn read(mut stream: S) -> io::Result<Self> {
        let mut beginning = BytesMut::with_capacity(PREFACE.len());
        while beginning.len() < PREFACE.len() && PREFACE.starts_with(&beginning) {
            let missing = PREFACE.len() - beginning.len();
            if stream.read_buf(&mut (&mut beginning).limit(missing)).await? == 0 {
                break;
            }
        }
        Ok(Self { beginning, stream })
    }

    fn speaks_http2(&self) -> bool {
        self.beginning == PREFACE
    }
}

impl<S: Stream> AsyncRead for Opened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.beginning.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let fits = self.beginning.len().min(buffer.remaining());
        buffer.put_slice(&self.beginning.split_to(fits));
        if self.beginning.is_empty() {
            self.beginning = BytesMut::new();
            // What follows comes along, so that it needs no buffer of its own; a failure is met again.
            let _ = Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Opened<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// What a client of HTTP/2 begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    async fn opened(parts: &[&[u8]]) -> (bool, Vec<u8>) {
        let (mut client, server) = duplex(4);
        let send = async {
            for part in parts {
                client.write_all(part).await.unwrap();
            }
            drop(client);
        };
        let read = async {
            let mut opened = Opened::read(server).await.unwrap();
            let (speaks_http2, mut all) = (opened.speaks_http2(), Vec::new());
            opened.read_to_end(&mut all).await.unwrap();
            (speaks_http2, all)
        };
        tokio::join!(send, read).1
    }

    #[tokio::test]
    async fn nothing_of_what_tells_the_protocol_is_lost() {
        for begun in
            ["", "P", "PRI", "PRI * HTTP/2.0\r\n\r\n", "POST / HTTP/1.1\r\n\r\nbody", "GET / HTTP/1.1\r\n"]
        {
            assert_eq!(opened(&[begun.as_bytes()]).await, (false, begun.into()), "{begun}");
        }
        let preface = [PREFACE, b"frames"].concat();
        assert_eq!(opened(&[PREFACE, b"frames"]).await, (true, preface));
    }

    #[tokio::test]
    async fn what_comes_with_the_beginning_is_read_with_it() {
        let (mut client, server) = duplex(64);
        client.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut opened = Opened::read(server).await.unwrap();
        let mut first = [0; 64];
        assert_eq!(opened.read(&mut first).await.unwrap(), 36);
    }
}
