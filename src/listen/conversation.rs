//! One connection: when it is idle, and when it has been so for too long.
//!
//! The bytes that tell HTTP/2 from HTTP/1 are waited for without a deadline, and nothing in hyper
//! knows that somebody else waits for a place. Both are answered here, without waking a task for
//! more than its own connection wakes it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::sleep;

/// The requests of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// There was one.
    begun: AtomicBool,
    /// Those whose answer is not wholly written.
    running: AtomicUsize,
}

impl Requests {
    /// Counts a request that begins, until what is returned is dropped.
    pub(super) fn begin(&self) -> Running {
        self.0.begun.store(true, Ordering::Relaxed);
        self.0.running.fetch_add(1, Ordering::Relaxed);
        Running(self.0.clone())
    }

    fn have_begun(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed)
    }

    fn are_done(&self) -> bool {
        self.0.running.load(Ordering::Relaxed) == 0
    }
}

/// Serves a connection until its end. It ends early when no request begins within `patience`, or when
/// a place is `wanted` and it is the one that was idle longest.
pub(super) async fn converse(
    mut connection: Pin<Box<impl Future<Output = ()>>>,
    requests: Requests,
    wanted: &Notify,
    patience: Duration,
) {
    let mut first = pin!(sleep(patience));
    // Whoever waits is told in the order in which they began to.
    let mut idle = pin!(None);
    poll_fn(|context| {
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        if !requests.have_begun() && first.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        if !requests.are_done() {
            idle.set(None);
            return Poll::Pending;
        }
        if idle.is_none() {
            idle.set(Some(wanted.notified()));
        }
        idle.as_mut().as_pin_mut().map_or(Poll::Pending, |told| told.poll(context))
    })
    .await;
}

/// A request that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Running(Arc<Counts>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer; its request runs until it is dropped.
#[derive(Debug)]
pub(super) struct Answer<B> {
    body: B,
    _running: Running,
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, running: Running) -> Self {
        Self { body, _running: running }
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
