//! Reads a webhook's answer to a request as the reply: all of its body, and its headers.

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use sidespan_bridge::Message;

use super::retry_after;
use crate::delivery::replies;
use crate::delivery::target::Answer;
use crate::headers;

/// Reads an answer whose body has at most so many bytes; of a larger one the reply says that.
pub(super) async fn read(response: Response<Incoming>, most: usize) -> Result<Answer, hyper::Error> {
    let (head, body) = response.into_parts();
    let status = head.status.as_u16();
    let fits = weight(&head.headers) <= MOST_HEADERS;
    let reply = match whole(body, most).await?.filter(|_| fits) {
        Some(payload) => {
            let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let message = Message {
                payload: Some(payload),
                headers: headers::of_answer(&head.headers),
                content_type: content_type.map(Into::into),
                ..Message::default()
            };
            replies::of(status, message)
        }
        None => replies::told(502, "the service's answer is larger than a message may be"),
    };
    let excerpt = reply.payload.as_ref().map(|payload| payload.slice(..payload.len().min(super::KEPT)));
    Ok(Answer {
        status,
        retry_after: retry_after(&head.headers),
        excerpt: excerpt.unwrap_or_default(),
        reply: Some(Box::new(reply)),
    })
}

/// Reads a body to its end; `None` where it is larger.
async fn whole(mut body: Incoming, most: usize) -> Result<Option<Bytes>, hyper::Error> {
    let mut all = BytesMut::with_capacity(usize::try_from(body.size_hint().lower()).unwrap_or(0).min(most));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if all.len() + data.len() > most {
            return Ok(None);
        }
        all.extend_from_slice(&data);
    }
    Ok(Some(all.freeze()))
}

fn weight(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// What brokers and clients take beside a body, in bytes.
const MOST_HEADERS: usize = 16 << 10;
