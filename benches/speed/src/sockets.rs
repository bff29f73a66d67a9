//! Many WebSockets that take what comes, in as little time as can be: frames are counted, not understood.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::Failed;
use crate::part::{Orders, say};
use crate::sink::{Accepted, Order};

/// Which sockets.
#[derive(Args, Clone, Debug)]
pub(crate) struct Which {
    /// `address:port` of Sidespan
    #[arg(long)]
    at: String,
    /// What to open
    #[arg(long)]
    path: String,
    /// How many
    #[arg(long)]
    count: usize,
    /// Give credit, and acknowledge what comes
    #[arg(long)]
    acks: bool,
}

/// What came, and what is waited for.
#[derive(Default)]
pub(crate) struct Book {
    taken: AtomicUsize,
    wanted: AtomicUsize,
    all: Notify,
}

impl Book {
    /// Notes messages that came.
    pub(crate) fn take(&self, messages: usize) {
        let taken = self.taken.fetch_add(messages, Ordering::SeqCst) + messages;
        if messages > 0 && taken >= self.wanted.load(Ordering::SeqCst) {
            self.all.notify_one();
        }
    }

    /// Says that all is open, and then how fast messages come, until nobody asks any more.
    pub(crate) async fn serve(&self) -> Result<(), Failed> {
        say(&"ready")?;
        let mut orders = Orders::new();
        while let Some(order) = orders.next().await? {
            let mut answer = Accepted::default();
            if let Order::Accept(messages) = order {
                let began = Instant::now();
                let wanted = self.wanted.fetch_add(messages, Ordering::SeqCst) + messages;
                while self.taken.load(Ordering::SeqCst) < wanted {
                    self.all.notified().await;
                }
                answer.rate = messages as f64 / began.elapsed().as_secs_f64();
            }
            say(&answer)?;
        }
        Ok(())
    }
}

/// Opens them, and takes what comes until nobody asks any more.
pub(crate) async fn take(which: Which) -> Result<(), Failed> {
    let book = Arc::<Book>::default();
    for _ in 0..which.count {
        let mut socket = Socket::open(&which.at, &which.path).await?;
        if which.acks {
            socket.say(br#"{"type":"credit","messages":1000000000}"#).await?;
        }
        let (book, acks) = (book.clone(), which.acks);
        tokio::spawn(async move {
            if let Err(error) = socket.count(&book, acks).await {
                eprintln!("benches/run: a socket ended: {error}");
            }
        });
    }
    book.serve().await
}

/// An open socket.
pub(crate) struct Socket {
    stream: TcpStream,
    read: BytesMut,
}

impl Socket {
    /// Opens one.
    pub(crate) async fn open(at: &str, path: &str) -> Result<Self, Failed> {
        let asked = format!(
            "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2lkZXNwYW4tc3BlZWQtMQ==\r\n\r\n"
        );
        Self::ask(at, &asked, "HTTP/1.1 101 ").await
    }

    /// Sends a request, and reads the head of the answer.
    pub(crate) async fn ask(at: &str, request: &str, expected: &str) -> Result<Self, Failed> {
        let mut stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        stream.write_all(request.as_bytes()).await?;
        let mut read = BytesMut::new();
        let end = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Err("a stream is not open".into());
            }
        };
        if !read.starts_with(expected.as_bytes()) {
            return Err(String::from_utf8_lossy(&read).into_owned().into());
        }
        read.advance(end);
        Ok(Self { stream, read })
    }

    async fn count(&mut self, book: &Book, acks: bool) -> io::Result<()> {
        let mut ids = Vec::new();
        loop {
            let (mut messages, mut pinged) = (0, false);
            while let Some((kind, payload)) = frame(&mut self.read) {
                match kind {
                    0x81 if payload.starts_with(br#"{"type":"message""#) => {
                        messages += 1;
                        if acks {
                            ids.extend(ack_id(&payload));
                        }
                    }
                    0x81 if payload.starts_with(br#"{"type":"settled""#) => {
                        return Err(io::Error::other(String::from_utf8_lossy(&payload).into_owned()));
                    }
                    0x88 => return Err(io::Error::other("closed")),
                    0x89 => pinged = true,
                    _ => {}
                }
            }
            if !ids.is_empty() {
                let list = ids.join("\",\"");
                self.say(format!(r#"{{"type":"ack","ack_ids":["{list}"]}}"#).as_bytes()).await?;
                ids.clear();
            }
            if pinged {
                self.write(0x8a, b"").await?;
            }
            book.take(messages);
            self.read.reserve(READ);
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn say(&mut self, text: &[u8]) -> io::Result<()> {
        self.write(0x81, text).await
    }

    /// Writes a frame. Its mask is nothing, which is a mask too.
    async fn write(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![kind];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length @ 126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await
    }
}

/// Cuts off the first frame, if it is there whole; servers mask nothing.
fn frame(read: &mut BytesMut) -> Option<(u8, BytesMut)> {
    let (kind, length) = (*read.first()?, *read.get(1)?);
    let (head, length) = match length {
        126 => (4, usize::from(u16::from_be_bytes([*read.get(2)?, *read.get(3)?]))),
        127 => {
            let length: [u8; 8] = read.get(2..10)?.try_into().ok()?;
            (10, usize::try_from(u64::from_be_bytes(length)).ok()?)
        }
        length => (2, usize::from(length)),
    };
    if read.len() < head + length {
        return None;
    }
    read.advance(head);
    Some((kind, read.split_to(length)))
}

fn ack_id(message: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(message).ok()?;
    let (_, rest) = text.split_once(r#""ack_id":""#)?;
    Some(rest.split_once('"')?.0.to_owned())
}

const READ: usize = 64 << 10;
