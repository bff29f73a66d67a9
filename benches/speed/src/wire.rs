//! HTTP/1.1 with as little as it takes, for both ends.
//!
//! # Why not an HTTP library
//!
//! The load runs on the same processors as what it measures. Here a request costs hardly more than
//! its system calls. It understands what Sidespan writes: heads, and bodies with a `Content-Length`.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Failed;
use crate::load::Publish;

/// A connection.
pub(crate) struct Wire {
    stream: TcpStream,
    read: BytesMut,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: BytesMut::with_capacity(16 << 10) })
    }

    pub(crate) async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(message).await
    }

    /// Reads a request or an answer, head and body; `None` when the other side has closed.
    pub(crate) async fn read(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(length) = length(&self.read)?
                && length <= self.read.len()
            {
                return Ok(Some(self.read.split_to(length).freeze()));
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Returns how long the message is that begins here, once its head is there.
fn length(read: &[u8]) -> io::Result<Option<usize>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(head) = read.windows(END.len()).position(|end| end == END) else { return Ok(None) };
    let mut body = 0;
    for line in read[..head].split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = String::from_utf8_lossy(&value[1..]);
            body = value.trim().parse().map_err(io::Error::other)?;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Err(io::Error::other("a body without a length"));
        }
    }
    Ok(Some(head + END.len() + body))
}

/// Publishes over one connection to Sidespan.
pub(crate) struct Http {
    wire: Wire,
    request: Bytes,
}

impl Http {
    /// Connects; `host` is `address:port`.
    pub(crate) async fn connect(host: &str, topic: &str, body: &[u8]) -> io::Result<Self> {
        let head = format!(
            "POST /v1/topics/{topic}/messages HTTP/1.1\r\nHost: {host}\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body].concat().into();
        Ok(Self { wire: Wire::new(TcpStream::connect(host).await?)?, request })
    }
}

impl Publish for Http {
    async fn publish(&mut self) -> Result<(), Failed> {
        self.wire.write(&self.request).await?;
        let answer = self.wire.read().await?.ok_or("Sidespan closed a connection")?;
        if answer.starts_with(b"HTTP/1.1 2") {
            return Ok(());
        }
        Err(format!("a publish was refused: {}", String::from_utf8_lossy(&answer)).into())
    }
}
