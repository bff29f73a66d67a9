//! The body of a stream that has nothing to finish: it ends when the door closes or its caller's token is taken away,
//! and counts as open until then.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tonic::Status;

use super::status::status;
use crate::error::Error;
use crate::rest::OpenStream;

/// A stream of answers.
pub(super) struct Held {
    body: tonic::body::Body,
    over: Pin<Box<dyn Future<Output = Error> + Send>>,
    ended: bool,
    _permit: OpenStream,
}

impl Held {
    /// Sends a body until it is `over`, and then why.
    pub(super) fn new(
        body: tonic::body::Body,
        over: impl Future<Output = Error> + Send + 'static,
        permit: OpenStream,
    ) -> Self {
        Self { body, over: Box::pin(over), ended: false, _permit: permit }
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(error) = self.over.as_mut().poll(context) {
            self.ended = true;
            let trailers = status(&error, None).into_http::<()>().into_parts().0.headers;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}
