//! Waits for outcomes, for a caller who may leave.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::Admission;

/// Waits for `outcomes`, holding the admission until the broker has answered: if the caller drops
/// the future before, a task of its own goes on waiting. The bridge ends it by the deadline. `seen` is told either
/// way.
pub(super) fn collect<T: Send + 'static>(
    outcomes: BoxFuture<'static, T>,
    admission: Admission,
    seen: impl FnOnce(&T) + Send + Unpin + 'static,
) -> impl Future<Output = T> + Send {
    Collect(Some((outcomes, admission, seen)))
}

struct Collect<T: Send + 'static, F: FnOnce(&T) + Send + Unpin + 'static>(
    Option<(BoxFuture<'static, T>, Admission, F)>,
);

impl<T: Send, F: FnOnce(&T) + Send + Unpin> Future for Collect<T, F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some((outcomes, ..)) = self.0.as_mut() else { return Poll::Pending };
        let polled = outcomes.as_mut().poll(cx);
        if let (Poll::Ready(outcomes), Some((.., seen))) = (&polled, self.0.take_if(|_| polled.is_ready())) {
            seen(outcomes);
        }
        polled
    }
}

impl<T: Send, F: FnOnce(&T) + Send + Unpin + 'static> Drop for Collect<T, F> {
    fn drop(&mut self) {
        if let (Some((outcomes, admission, seen)), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move {
                seen(&outcomes.await);
                drop(admission);
            });
        }
    }
}
