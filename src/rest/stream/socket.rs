//! A stream over a WebSocket: the same messages, each in a frame.

use std::sync::Arc;

use futures_util::FutureExt;
use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;

use super::reader::Reader;
use super::shown::Shown;
use super::tail::Failure;
use crate::rest::socket::{Codec, Ending, Told, Wire};
use crate::security::caller::Caller;

/// Shows what is read until one of the two sides ends it. `earlier` is how many messages are stored that are
/// not shown.
pub(super) async fn show(
    mut reader: Reader,
    mut wire: Wire,
    earlier: Option<u64>,
    drain: CancellationToken,
    caller: Caller,
) {
    let ending = match talk(&mut reader, &mut wire, earlier, drain, caller).await {
        Err(ending) => ending,
        Ok(None) => Ending::stopping(),
        Ok(Some(Failure(error))) => {
            tracing::debug!(topic = reader.topic(), %error, "a stream ended");
            wire.say(Codec::Json.write(Told::Error(&error)));
            Ending::of(&error)
        }
    };
    drop(reader);
    wire.end(ending).await;
}

/// Shows until there is no more, and returns why.
async fn talk(
    reader: &mut Reader,
    wire: &mut Wire,
    earlier: Option<u64>,
    drain: CancellationToken,
    caller: Caller,
) -> Result<Option<Failure>, Ending> {
    let mut next = Some(opening(reader, earlier));
    loop {
        for _ in 0..BURST {
            let Some(frame) = next.take() else { break };
            if !wire.has_room()? {
                next = Some(frame);
                break;
            }
            wire.write(Frame::Text(frame))?;
            match reader.next().now_or_never() {
                None => {}
                Some(Some(Ok(shown))) => next = Some(shown.frame()),
                Some(Some(Err(failure))) => return Ok(Some(failure)),
                Some(None) => return Ok(None),
            }
        }
        let shown: Option<Result<Arc<Shown>, Failure>> = tokio::select! {
            biased;
            () = drain.cancelled() => return Ok(None),
            error = caller.revoked() => return Ok(Some(Failure(Arc::new(error)))),
            heard = wire.next(true, next.is_some()) => {
                if heard?.is_some() {
                    return Err(Ending::close(CloseCode::Policy, "this socket is for reading alone"));
                }
                reader.settle_down();
                continue;
            }
            shown = reader.next(), if next.is_none() => shown,
        };
        match shown {
            Some(Ok(shown)) => next = Some(shown.frame()),
            Some(Err(failure)) => return Ok(Some(failure)),
            None => return Ok(None),
        }
    }
}

/// Tells where to go on if the stream breaks before the first message.
fn opening(reader: &Reader, stored_earlier: Option<u64>) -> Utf8Bytes {
    #[derive(Serialize)]
    struct OpeningFrame {
        r#type: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stored_earlier: Option<u64>,
    }
    let frame = OpeningFrame { r#type: "opening", id: reader.id(), stored_earlier };
    // Text keys only: it cannot fail.
    serde_json::to_string(&frame).unwrap_or_default().into()
}

/// Messages that are written before the socket is looked at again.
const BURST: usize = 256;
