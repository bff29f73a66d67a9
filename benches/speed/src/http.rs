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
use crate::load::{self, Message, Publish, Target};

/// A connection.
pub(crate) struct Wire {
    stream: TcpStream,
    read: BytesMut,
}

/// One message, head and body.
pub(crate) struct Piece {
    pub(crate) all: Bytes,
    head: usize,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: BytesMut::with_capacity(16 << 10) })
    }

    pub(crate) async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(message).await
    }

    /// Reads a request or an answer; `None` when the other side has closed.
    pub(crate) async fn read(&mut self) -> io::Result<Option<Piece>> {
        loop {
            if let Some((head, body)) = lengths(&self.read)?
                && head + body <= self.read.len()
            {
                return Ok(Some(Piece { all: self.read.split_to(head + body).freeze(), head }));
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        }
    }
}

impl Piece {
    pub(crate) fn body(&self) -> &[u8] {
        self.all.get(self.head..).unwrap_or_default()
    }
}

/// Returns how long head and body are that begin here, once the head is there.
fn lengths(read: &[u8]) -> io::Result<Option<(usize, usize)>> {
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
    Ok(Some((head + END.len(), body)))
}

/// Is a load over HTTP, one connection for each publisher.
pub(crate) async fn publish(target: Target) -> Result<(), Failed> {
    let mut publishers = Vec::new();
    for _ in 0..target.publishers {
        publishers.push(Http {
            wire: Wire::new(TcpStream::connect(&target.at).await?)?,
            target: target.clone(),
            request: Vec::new(),
        });
    }
    load::serve(publishers, &target).await
}

/// Publishes over one connection.
struct Http {
    wire: Wire,
    target: Target,
    request: Vec<u8>,
}

impl Http {
    fn single(&mut self, message: &Message) {
        let Target { at, topic, ask, .. } = &self.target;
        let kind = if *ask { "requests" } else { "messages" };
        let head = format!(
            "POST /v1/topics/{topic}/{kind} HTTP/1.1\r\nHost: {at}\r\nSidespan-Key: {}\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            message.key,
            message.body.len()
        );
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(&message.body);
    }

    fn batch(&mut self, message: &Message) {
        let Target { at, topic, batch, .. } = &self.target;
        let text = String::from_utf8_lossy(&message.body);
        let line = format!("{{\"key\":\"{}\",\"text\":\"{text}\"}}\n", message.key);
        let head = format!(
            "POST /v1/topics/{topic}/batches HTTP/1.1\r\nHost: {at}\r\n\
             Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
            line.len() * batch
        );
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(line.repeat(*batch).as_bytes());
    }
}

impl Publish for Http {
    async fn publish(&mut self, message: &Message) -> Result<(), Failed> {
        self.request.clear();
        if self.target.batch > 1 {
            self.batch(message)
        } else {
            self.single(message)
        }
        self.wire.write(&self.request).await?;
        let answer = self.wire.read().await?.ok_or("the connection was closed")?.all;
        if answer.starts_with(b"HTTP/1.1 200") {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&answer).into_owned().into())
    }
}
