//! What a webhook's script may answer.

use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use hyper::body::Frame;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How a request is answered.
#[derive(Debug)]
pub struct Answer {
    delay: Duration,
    gate: Option<CancellationToken>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Cut,
    Hang,
    Respond { response: Response<Bytes>, end: End },
}

/// What follows after the body's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Cut,
    CutNow,
    Hang,
    Proper,
}

impl Answer {
    /// Answers 200 with an empty body.
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// Answers with a status and an empty body.
    pub fn status(status: u16) -> Self {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status between 100 and 999");
        Self::new(Kind::Respond { response, end: End::Proper })
    }

    /// Never answers, and keeps the connection.
    pub fn hang() -> Self {
        Self::new(Kind::Hang)
    }

    /// Closes the connection without an answer.
    pub fn cut() -> Self {
        Self::new(Kind::Cut)
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = value.parse().expect("a value that a header may have");
        self.response().0.headers_mut().append(name, value);
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.response().0.body_mut() = body.into();
        self
    }

    /// Sends headers and body, but never ends the body.
    pub fn then_hang(mut self) -> Self {
        *self.response().1 = End::Hang;
        self
    }

    /// Sends headers and body, and closes the connection before the body's end.
    pub fn then_cut(mut self) -> Self {
        *self.response().1 = End::Cut;
        self
    }

    /// Does so after a while.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Does so once the test cancels the token.
    pub fn once(mut self, gate: &CancellationToken) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    fn new(kind: Kind) -> Self {
        Self { delay: Duration::ZERO, gate: None, kind }
    }

    fn response(&mut self) -> (&mut Response<Bytes>, &mut End) {
        match &mut self.kind {
            Kind::Respond { response, end } => (response, end),
            Kind::Cut | Kind::Hang => panic!("an answer that is not given has no headers and no body"),
        }
    }

    pub(super) async fn give(self) -> Result<Response<Body>, CutError> {
        if let Some(gate) = self.gate {
            gate.cancelled().await;
        }
        if !self.delay.is_zero() {
            sleep(self.delay).await;
        }
        match self.kind {
            Kind::Cut => Err(CutError),
            Kind::Hang => pending().await,
            Kind::Respond { response, end } => {
                Ok(response.map(|bytes| Body { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()), end }))
            }
        }
    }
}

/// The body of an answer.
pub(super) struct Body {
    bytes: Option<Bytes>,
    end: End,
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = CutError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutError>>> {
        match (self.bytes.take(), self.end) {
            (Some(bytes), _) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            (None, End::Proper) => Poll::Ready(None),
            // Nobody wakes this up: the connection's end drops it.
            (None, End::Hang) => Poll::Pending,
            // First what stands before the cut goes out.
            (None, End::Cut) => {
                self.end = End::CutNow;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            (None, End::CutNow) => Poll::Ready(Some(Err(CutError))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && self.end == End::Proper
    }
}

/// Makes hyper close the connection.
#[derive(Debug)]
pub(super) struct CutError;

impl std::fmt::Display for CutError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the webhook's script cuts the connection")
    }
}

impl std::error::Error for CutError {}
