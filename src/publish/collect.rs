//! Waits for outcomes, for a caller who may leave.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::Admission;

/// Waits for `outcomes`, holding the admission until the broker has answered: if the caller drops
/// the future before, a task of its own goes on waiting. The bridge ends it by the deadline.
pub(super) fn collect<T: Send + 'static>(
    outcomes: BoxFuture<'static, T>,
    admission: Admission,
) -> impl Future<Output = T> + Send {
    Collect(Some((outcomes, admission)))
}

struct Collect<T: Send + 'static>(Option<(BoxFuture<'static, T>, Admission)>);

impl<T: Send> Future for Collect<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some((outcomes, _)) = self.0.as_mut() else { return Poll::Pending };
        let polled = outcomes.as_mut().poll(cx);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<T: Send> Drop for Collect<T> {
    fn drop(&mut self) {
        if let (Some((outcomes, admission)), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move {
                outcomes.await;
                drop(admission);
            });
        }
    }
}
