//! Writes and reads the messages of calls.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf;
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::message::crowd::CROWDED;
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
            return Err(status(&Error::Invalid(CROWDED.into()), None));
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

/// Most messages are small, and each call has two buffers.
fn buffers() -> BufferSettings {
    BufferSettings::new(1 << 10, 32 << 10)
}
