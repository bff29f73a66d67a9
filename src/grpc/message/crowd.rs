//! Looks at what is to be decoded before that takes memory.
//!
//! # Why
//!
//! Two bytes can stand for a message of a batch, or for a header, that takes a hundred times as much
//! once it is decoded. Whoever sends as many elements as their bytes allow would have us take that for
//! a moment; so elements are counted first.

use crate::proto::fields::Fields;

/// Takes a request that holds messages in this field, if it has no more elements than belong to its
/// size.
pub(crate) fn messages<const FIELD: u32>(request: &[u8]) -> bool {
    let mut elements = 0;
    for message in Fields(request).filter_map(|(tag, body)| (tag == FIELD).then_some(body)) {
        elements += 1 + Fields(message).filter(|(tag, _)| *tag == HEADERS).count();
    }
    elements <= FREE + request.len() / BYTES
}

/// Takes a request that holds a reply at the end of this path of fields, if that has no more headers than belong to
/// its size.
pub(crate) fn reply(request: &[u8], path: &[u32]) -> bool {
    headers(request, path) <= FREE + request.len() / BYTES
}

fn headers(message: &[u8], path: &[u32]) -> usize {
    match path {
        [] => Fields(message).filter(|(tag, _)| *tag == REPLY_HEADERS).count(),
        [field, path @ ..] => {
            let inner = Fields(message).filter(|(tag, _)| tag == field);
            inner.map(|(_, body)| headers(body, path)).sum()
        }
    }
}

/// `Reply.headers`.
const REPLY_HEADERS: u32 = 3;
/// `Message.headers`.
const HEADERS: u32 = 6;
/// Elements that any request may have.
const FREE: usize = 1000;
/// Bytes for each further one.
const BYTES: usize = 16;

/// What is said of what is refused.
pub(crate) const CROWDED: &str = "the message has too many elements for its size: send fewer at a time";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::proto;

    fn request(messages: usize, headers: usize, payload: usize) -> Vec<u8> {
        let message = proto::Message {
            headers: vec![proto::Header::default(); headers],
            payload: vec![b'x'; payload].into(),
            ..proto::Message::default()
        };
        proto::PublishRequest { messages: vec![message; messages] }.encode_to_vec()
    }

    #[test]
    fn what_is_mostly_elements_is_refused() {
        assert!(messages::<1>(&request(1000, 0, 0)));
        assert!(!messages::<1>(&request(1200, 0, 0)));
        assert!(!messages::<1>(&request(1, 1200, 0)));
        assert!(messages::<1>(&request(1, 900, 0)));
        assert!(messages::<1>(&request(100_000, 0, 20)));
        assert!(messages::<1>(&request(10_000, 2, 100)));
    }

    #[test]
    fn a_reply_of_mostly_headers_is_refused() {
        let answer = |headers, payload| {
            let reply = proto::Reply {
                headers: vec![proto::Header::default(); headers],
                payload: vec![b'x'; payload].into(),
                ..proto::Reply::default()
            };
            let answer = proto::Answer { reply: Some(reply), ..proto::Answer::default() };
            proto::subscribe_request::Request::Reply(answer)
        };
        let said = |request| proto::SubscribeRequest { request: Some(request) }.encode_to_vec();
        assert!(reply(&said(answer(1000, 0)), &[6, 2]));
        assert!(!reply(&said(answer(1200, 0)), &[6, 2]));
        assert!(reply(&said(answer(1200, 10_000)), &[6, 2]));
    }

    proptest! {
        #[test]
        fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (messages::<1>(&bytes), reply(&bytes, &[6, 2]));
        }
    }
}
