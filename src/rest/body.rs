//! Reads request bodies: decompressed, up to a limit, and never waiting without end.
//!
//! # Why the decompression is ours to bound
//!
//! A few bytes of gzip or zstd can stand for gigabytes, so what comes out is counted as it comes. A
//! zstd frame may also ask for a window of 128 MiB before a byte is out: the window is held to 8 MiB,
//! as RFC 9659 asks of HTTP.

use std::future::ready;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use tokio::io::AsyncBufRead;
use tokio::time::{Instant, timeout_at};
use tokio_util::io::{ReaderStream, StreamReader};

use super::upload::Upload;
use crate::error::Error;

/// The body of one request.
pub(super) struct Incoming {
    source: Source,
    limit: Limit,
    /// As the sender announced it, before decompression.
    announced: Option<usize>,
    read: usize,
    /// How long a pause may be.
    pause: Duration,
    deadline: Instant,
}

/// The most bytes that a body may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// Its name in the configuration.
    pub(super) name: &'static str,
    /// Its value.
    pub(super) most: usize,
}

enum Source {
    Plain(Upload),
    Decoded(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
}

impl Incoming {
    /// Takes a body. Nothing is read yet, so that a refusal can come before the body.
    ///
    /// # Errors
    ///
    /// It is announced as larger than allowed, or its encoding is not understood.
    pub(super) fn new(
        headers: &HeaderMap,
        body: Upload,
        limit: Limit,
        pause: Duration,
        deadline: Instant,
    ) -> Result<Self, Error> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length| length > limit.most) {
            return Err(limit.exceeded());
        }
        let source = decoded(headers, body, limit)?;
        Ok(Self { source, limit, announced, read: 0, pause, deadline })
    }

    /// Returns how many bytes the body will have at least.
    pub(super) fn expected(&self) -> usize {
        match self.source {
            Source::Plain(_) => self.announced.unwrap_or(0),
            Source::Decoded(_) => 0,
        }
    }

    /// Returns how much of what came out is kept to decode what follows: a frame of a few hundred
    /// bytes may stand for all of it.
    pub(super) fn window(&self) -> usize {
        match self.source {
            Source::Plain(_) => 0,
            Source::Decoded(_) => self.read.min(1 << WINDOW_LOG),
        }
    }

    /// Tells whether all of it has come that was announced.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.source, Source::Plain(_)) && self.announced == Some(self.read)
    }

    /// Waits for the next piece; `None` is the end.
    ///
    /// # Errors
    ///
    /// Too large, too slow, cut off, or not what its encoding says.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let now = Instant::now();
        if now >= self.deadline {
            return Err(Error::RequestTimeout);
        }
        let wait = self.deadline.min(now + self.pause);
        let limit = self.limit;
        let next = async {
            match &mut self.source {
                Source::Plain(body) => body.next().await.map(|chunk| chunk.map_err(|_| cut())),
                Source::Decoded(body) => {
                    body.next().await.map(|chunk| chunk.map_err(|error| undecodable(&error, limit)))
                }
            }
        };
        let chunk = timeout_at(wait, next).await.map_err(|_| Error::RequestTimeout)?.transpose()?;
        if let Some(chunk) = &chunk {
            self.read += chunk.len();
            if self.read > self.limit.most {
                return Err(self.limit.exceeded());
            }
        }
        Ok(chunk)
    }
}

impl Limit {
    /// The error for what is larger.
    pub(super) fn exceeded(self) -> Error {
        Error::TooLarge { limit: self.name, most: self.most }
    }
}

fn decoded(headers: &HeaderMap, body: Upload, limit: Limit) -> Result<Source, Error> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let encoding = encodings.next().map_or("identity", |value| value.to_str().unwrap_or(""));
    if encodings.next().is_some() {
        return Err(Error::UnsupportedEncoding);
    }
    match encoding.trim().to_ascii_lowercase().as_str() {
        "identity" => Ok(Source::Plain(body)),
        "gzip" | "x-gzip" => {
            let mut decoder = GzipDecoder::new(bounded(body, limit));
            decoder.multiple_members(true);
            Ok(Source::Decoded(Box::pin(ReaderStream::with_capacity(decoder, PIECE))))
        }
        "zstd" => {
            let window = [DParameter::window_log_max(WINDOW_LOG)];
            let mut decoder = ZstdDecoder::with_params(bounded(body, limit), &window);
            decoder.multiple_members(true);
            Ok(Source::Decoded(Box::pin(ReaderStream::with_capacity(decoder, PIECE))))
        }
        _ => Err(Error::UnsupportedEncoding),
    }
}

/// Bytes that decode to nothing must end too: headers and empty frames without end.
fn bounded(body: Upload, limit: Limit) -> impl AsyncBufRead + Send {
    let most = limit.most.saturating_add(SLACK);
    let mut read = 0;
    StreamReader::new(body.map_err(io::Error::other).and_then(move |chunk: Bytes| {
        read += chunk.len();
        ready(if read > most { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(chunk) })
    }))
}

fn cut() -> Error {
    Error::Invalid("the body ended before it was complete".into())
}

fn undecodable(error: &io::Error, limit: Limit) -> Error {
    if error.kind() == io::ErrorKind::FileTooLarge {
        return limit.exceeded();
    }
    Error::Invalid(
        "the body is not what its Content-Encoding says, needs a window of more than 8 MiB, or ended before it was complete".into(),
    )
}

const PIECE: usize = 16 << 10;
const SLACK: usize = 64 << 10;
const WINDOW_LOG: u32 = 23;
