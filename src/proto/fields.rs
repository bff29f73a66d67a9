//! The fields of a message that is not decoded yet.

use prost::encoding::{WireType, decode_key, decode_varint};

/// The fields of an encoded message that have a length, by their numbers. What is broken ends it: decoding says so.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

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
