//! The bodies of calls: messages with their lengths ahead, within bounds and never waited for without
//! end.
//!
//! tonic keeps what has come of a message until it is whole. So that is counted here, against a budget
//! that all calls share, and given back once the message is whole: from there on it counts at its broker.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Sleep, sleep};
use tonic::Status;

use super::status::status;
use crate::error::Error;
use crate::publish::{Admission, Budget};

/// The body of one call.
pub(super) struct Incoming {
    body: Body,
    bounds: Bounds,
    reading: Budget,
    message: Part,
    /// What is counted of the message that is not whole.
    held: Option<Admission>,
    patience: Option<Pin<Box<Sleep>>>,
}

/// What a body may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The limit of one message, by its name in the configuration.
    pub(super) limit: &'static str,
    /// Its value.
    pub(super) most: usize,
    /// How long a pause within a message may be.
    pub(super) pause: Duration,
    /// Whether messages may come for as long as the client likes.
    pub(super) stream: bool,
}

/// How much of a message has come.
#[derive(Debug, Default)]
struct Part {
    head: [u8; HEAD],
    /// Bytes of the head that are there.
    begun: usize,
    /// Bytes to come, once the head is there.
    left: usize,
    /// Bytes that have come, the head included.
    come: usize,
}

impl Incoming {
    /// Reads a body.
    pub(super) fn new(body: Body, bounds: Bounds, reading: Budget) -> Self {
        Self { body, bounds, reading, message: Part::default(), held: None, patience: None }
    }

    /// Looks at what has come, and counts what is not whole.
    fn look(&mut self, data: &[u8]) -> Result<(), Error> {
        let before = self.message.come;
        let whole = self.message.take(data, self.bounds)?;
        let come = self.message.come;
        match &mut self.held {
            Some(held) if !whole => held.grow(0, come - before)?,
            _ if come == 0 => self.held = None,
            _ => self.held = Some(self.reading.admit(0, come)?),
        }
        Ok(())
    }

    /// Waits, but not for ever.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.bounds.stream && self.message.come == 0 {
            return Poll::Pending;
        }
        let pause = self.bounds.pause;
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(pause)));
        ready!(patience.as_mut().poll(context));
        Poll::Ready(Some(Err(status(&Error::RequestTimeout, None))))
    }
}

impl Part {
    /// Goes on with what has come; tells whether a message ended in it.
    fn take(&mut self, mut data: &[u8], bounds: Bounds) -> Result<bool, Error> {
        let mut ended = false;
        while let Some((first, rest)) = data.split_first() {
            if let Some(next) = self.head.get_mut(self.begun) {
                *next = *first;
                data = rest;
                self.begun += 1;
                self.come += 1;
                if self.begun < HEAD {
                    continue;
                }
                let [_, length @ ..] = self.head;
                self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                if self.left > bounds.most {
                    return Err(Error::TooLarge { limit: bounds.limit, most: bounds.most });
                }
            } else {
                let (_, rest) = data.split_at(self.left.min(data.len()));
                let came = data.len() - rest.len();
                data = rest;
                self.left -= came;
                self.come += came;
            }
            if self.left == 0 {
                ended = true;
                *self = Self::default();
            }
        }
        Ok(ended)
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            return self.wait(context);
        };
        self.patience = None;
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(match frame.data_ref().map(|data| self.look(data)) {
                Some(Err(error)) => Err(status(&error, None)),
                Some(Ok(())) | None => Ok(frame),
            }),
            Some(Err(error)) => Some(Err(Status::from_error(error.into()))),
            None if self.message.come > 0 => {
                let cut = Error::Invalid("the body ended before its message was complete".into());
                Some(Err(status(&cut, None)))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.message.come == 0
    }
}

/// A flag and a length.
const HEAD: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { limit: "l", most: 10, pause: Duration::from_secs(1), stream: true };

    fn incoming(reading: &Budget) -> Incoming {
        Incoming::new(Body::empty(), BOUNDS, reading.clone())
    }

    #[test]
    fn only_what_is_not_whole_is_counted() {
        let reading = Budget::new(0, 9);
        let mut body = incoming(&reading);
        let free = |bytes| reading.admit(0, bytes).is_ok();
        // One whole message, an empty one, and four bytes of the next.
        body.look(b"\0\0\0\0\x02ab\0\0\0\0\0\0\0\0\0").unwrap();
        assert!(free(5) && !free(6));
        body.look(b"\x04ab").unwrap();
        assert!(free(2) && !free(3));
        body.look(b"cd").unwrap();
        assert!(free(9));
        body.look(b"\0\0\0\0\x05ab").unwrap();
        assert!(!free(3));
        drop(body);
        assert!(free(9));
    }

    #[test]
    fn what_is_too_large_or_has_no_room_is_refused() {
        let reading = Budget::new(0, 9);
        assert!(matches!(
            incoming(&reading).look(b"\0\0\0\0\x0b"),
            Err(Error::TooLarge { limit: "l", most: 10 })
        ));
        assert!(matches!(incoming(&reading).look(b"\0\0\0\0\x0aabcde"), Err(Error::Saturated { .. })));
    }
}
