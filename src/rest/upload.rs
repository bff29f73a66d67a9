//! A request's body that is read to its end, also where its reader gives up.
//!
//! Many clients write all of a request before they read, and get a reset connection instead of the
//! answer where the server closes before that. A batch that stops early has stored messages, and a
//! refusal says what to do: its client must get to read it. So what a reader leaves is read and
//! thrown away for a moment, beside the answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use http::header::EXPECT;
use http_body::Body as _;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// The body of a request. What is left of it when it is dropped is thrown away by a task.
pub(super) struct Upload {
    /// Gone at its end.
    body: Option<BodyDataStream>,
    /// The client sends the body once it is asked for it (`Expect: 100-continue`), and it was not.
    waits: bool,
    tasks: TaskTracker,
}

impl Upload {
    /// Takes the body of a request with these headers.
    pub(super) fn new(headers: &HeaderMap, body: Body, tasks: &TaskTracker) -> Self {
        let waits = headers.contains_key(EXPECT);
        Self { body: Some(body.into_data_stream()), waits, tasks: tasks.clone() }
    }
}

impl Stream for Upload {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.waits = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let next = ready!(body.poll_next_unpin(cx));
        if !matches!(next, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(next)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !self.waits && !body.is_end_stream());
        // There is no runtime any more where the process ends.
        if let (Some(left), Ok(runtime)) = (left, Handle::try_current()) {
            self.tasks.spawn_on(discard(left), &runtime);
        }
    }
}

/// Reads what comes within a moment.
async fn discard(mut body: BodyDataStream) {
    let all = async {
        let mut read = 0;
        while let Some(Ok(chunk)) = body.next().await
            && read < MOST_DISCARDED
        {
            read += chunk.len();
        }
    };
    // Who still sends then is cut off.
    let _ = timeout(MOMENT, all).await;
}

const MOMENT: Duration = Duration::from_secs(2);
const MOST_DISCARDED: usize = 64 << 20;
