//! Writes and reads the messages of calls, and looks at what is to be read before it takes memory.
//!
//! # Why
//!
//! Two bytes can stand for a message of a batch, or for a header, that takes a hundred times as much
//! once it is decoded. Whoever sends as many elements as their bytes allow would have us take that for
//! a moment; so elements are counted first.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::status::status;
use crate::error::Error;

/// How the messages of one method are written and read.
pub(super) struct Codec<Answer, Request> {
    check: Check,
    form: PhantomData<fn(Request) -> Answer>,
}

/// Looks at an encoded message; `false` refuses it.
pub(super) type Check = fn(&[u8]) -> bool;

impl<Answer, Request> Codec<Answer, Request> {
    pub(super) fn new(check: Check) -> Self {
        Self { check, form: PhantomData }
    }
}

impl<Answer, Request> tonic::codec::Codec for Codec<Answer, Request>
where
    Answer: Message + 'static,
    Request: Message + Default + 'static,
{
    type Encode = Answer;
    type Decode = Request;
    type Encoder = Writer<Answer>;
    type Decoder = Reader<Request>;

    fn encoder(&mut self) -> Writer<Answer> {
        Writer(PhantomData)
    }

    fn decoder(&mut self) -> Reader<Request> {
        Reader { check: self.check, form: PhantomData }
    }
}

/// Writes answers.
pub(super) struct Writer<T>(PhantomData<fn(T)>);

impl<T: Message> Encoder for Writer<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|_| status(&Error::Internal, None))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

/// Reads requests.
pub(super) struct Reader<T> {
    check: Check,
    form: PhantomData<fn() -> T>,
}

impl<T: Message + Default> Decoder for Reader<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        // tonic gives a message as one piece.
        if !(self.check)(buffer.chunk()) {
            let crowded = "the message has too many elements for its size: send fewer at a time";
            return Err(status(&Error::Invalid(crowded.into()), None));
        }
        let broken = |error: prost::DecodeError| {
            status(&Error::Invalid(format!("this is not the message of this method: {error}")), None)
        };
        T::decode(buffer).map(Some).map_err(broken)
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}

/// Takes all.
pub(super) fn anything(_: &[u8]) -> bool {
    true
}

/// Takes a request that holds messages in this field, if it has no more elements than belong to its
/// size.
pub(super) fn messages<const FIELD: u32>(request: &[u8]) -> bool {
    let mut elements = 0;
    for message in Fields(request).filter_map(|(tag, body)| (tag == FIELD).then_some(body)) {
        elements += 1 + Fields(message).filter(|(tag, _)| *tag == HEADERS).count();
    }
    elements <= FREE + request.len() / BYTES
}

/// The fields of an encoded message that have a length. What is broken ends it: decoding says so.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (tag, form) = decode_key(&mut self.0).ok()?;
            let length = match form {
                WireType::LengthDelimited => usize::try_from(decode_varint(&mut self.0).ok()?).ok()?,
                WireType::Varint => {
                    decode_varint(&mut self.0).ok()?;
                    continue;
                }
                WireType::SixtyFourBit => 8,
                WireType::ThirtyTwoBit => 4,
                WireType::StartGroup | WireType::EndGroup => 0,
            };
            let (body, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            if form == WireType::LengthDelimited {
                return Some((tag, body));
            }
        }
    }
}

/// `Message.headers`.
const HEADERS: u32 = 6;
/// Elements that any request may have.
const FREE: usize = 1000;
/// Bytes for each further one.
const BYTES: usize = 16;

/// Most messages are small, and each call has two buffers.
fn buffers() -> BufferSettings {
    BufferSettings::new(1 << 10, 32 << 10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = messages::<1>(&bytes);
        }
    }
}
