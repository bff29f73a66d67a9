//! Rows as they are stored: each with a checksum of its own.
//!
//! The store's checksums are looked at when it repairs itself, not when it reads. So each row
//! begins with eight bytes of SHA-256 over its key and its body, and a row that was changed, or
//! found under another key, is never taken for what was written.

use std::io::{self, Write};

use bytes::{Buf, Bytes};
use sha2::{Digest, Sha256};
use sidespan_bridge::{Header, Message};

/// A message as it is found in the log.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) stamp: Stamp,
    pub(crate) message: Message,
}

/// What the log adds to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Counts the messages of a topic without gaps, so that distances are known without counting.
    pub(crate) ordinal: u64,
    /// Nanoseconds since 1970; never less than that of an earlier message.
    pub(crate) time: u64,
}

impl Record {
    /// Returns how many bytes [`Record::write`] needs.
    pub(crate) fn length(message: &Message) -> usize {
        let texts: usize = texts(message).into_iter().flatten().map(field_length).sum();
        let headers: usize = message
            .headers
            .iter()
            .map(|header| field_length(header.name.as_bytes()) + field_length(&header.value))
            .sum();
        CHECKSUM
            + STAMP
            + 1
            + texts
            + varint_length(message.headers.len() as u64)
            + headers
            + message.payload.as_ref().map_or(0, Bytes::len)
    }

    /// Writes a message into exactly as many bytes as it needs.
    pub(crate) fn write(
        out: &mut [u8],
        topic: u32,
        sequence: u64,
        stamp: Stamp,
        message: &Message,
    ) -> io::Result<()> {
        let (checksum, body) = out.split_at_mut_checked(CHECKSUM).ok_or(io::ErrorKind::WriteZero)?;
        let mut rest = &mut *body;
        rest.write_all(&stamp.ordinal.to_le_bytes())?;
        rest.write_all(&stamp.time.to_le_bytes())?;
        let texts = texts(message);
        let present = texts.iter().enumerate().map(|(bit, text)| u8::from(text.is_some()) << bit);
        let flags = present.fold(u8::from(message.payload.is_some()) << PAYLOAD_BIT, |a, b| a | b);
        rest.write_all(&[flags])?;
        for text in texts.into_iter().flatten() {
            write_field(&mut rest, text)?;
        }
        write_varint(&mut rest, message.headers.len() as u64)?;
        for header in &message.headers {
            write_field(&mut rest, header.name.as_bytes())?;
            write_field(&mut rest, &header.value)?;
        }
        if let Some(payload) = &message.payload {
            rest.write_all(payload)?;
        }
        checksum.copy_from_slice(&digest(&key(topic, sequence), body));
        Ok(())
    }

    /// Reads a message; `None` if it is not what was written.
    pub(crate) fn read(topic: u32, sequence: u64, row: &Bytes) -> Option<Self> {
        let body = unseal(&key(topic, sequence), row)?;
        let mut rest = row.slice_ref(body);
        let stamp = Stamp { ordinal: rest.try_get_u64_le().ok()?, time: rest.try_get_u64_le().ok()? };
        let flags = rest.try_get_u8().ok()?;
        let mut text = |bit: u8| -> Option<Option<Bytes>> {
            if flags & (1 << bit) == 0 { Some(None) } else { read_field(&mut rest).map(Some) }
        };
        let (key, id, content_type, reply_to, correlation) =
            (text(0)?, text(1)?, text(2)?, text(3)?, text(4)?);
        let count = read_varint(&mut rest)?;
        let mut headers = Vec::with_capacity(usize::try_from(count).ok()?.min(rest.len()));
        for _ in 0..count {
            let name = as_text(&read_field(&mut rest)?)?;
            headers.push(Header::new(name, read_field(&mut rest)?));
        }
        let message = Message {
            payload: (flags & (1 << PAYLOAD_BIT) != 0).then_some(rest),
            headers,
            key,
            partition: Some(0),
            id: as_optional_text(id)?,
            content_type: as_optional_text(content_type)?,
            reply_to: as_optional_text(reply_to)?,
            correlation: as_optional_text(correlation)?,
            time: Some(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(stamp.time)),
            deduplication: None,
        };
        Some(Self { stamp, message })
    }
}

impl Stamp {
    /// Reads only what the log added; `None` if the row is not what was written.
    pub(crate) fn read(topic: u32, sequence: u64, row: &[u8]) -> Option<Self> {
        let mut body = unseal(&key(topic, sequence), row)?;
        Some(Self { ordinal: body.try_get_u64_le().ok()?, time: body.try_get_u64_le().ok()? })
    }
}

/// Puts a checksum over key and body before a row that is no message.
pub(crate) fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    [&digest(key, body), body].concat()
}

/// Returns the body of a row; `None` if it is not what was written under this key.
pub(crate) fn unseal<'a>(key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let (checksum, body) = row.split_at_checked(CHECKSUM)?;
    (checksum == digest(key, body)).then_some(body)
}

/// Writes a number in as few bytes as it needs, seven bits each.
pub(crate) fn write_varint(out: &mut impl Write, mut number: u64) -> io::Result<()> {
    while number >= 0x80 {
        out.write_all(&[number as u8 | 0x80])?;
        number >>= 7;
    }
    out.write_all(&[number as u8])
}

/// Reads what [`write_varint`] wrote.
pub(crate) fn read_varint(from: &mut impl Buf) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = from.try_get_u8().ok()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Writes bytes and how many they are.
pub(crate) fn write_field(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write_varint(out, bytes.len() as u64)?;
    out.write_all(bytes)
}

/// Reads what [`write_field`] wrote.
pub(crate) fn read_field(from: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(read_varint(from)?).ok()?;
    (length <= from.len()).then(|| from.split_to(length))
}

/// Returns bytes as text, if they are.
pub(crate) fn as_text(bytes: &Bytes) -> Option<Box<str>> {
    std::str::from_utf8(bytes).ok().map(Box::from)
}

fn as_optional_text(bytes: Option<Bytes>) -> Option<Option<Box<str>>> {
    bytes.map_or(Some(None), |bytes| as_text(&bytes).map(Some))
}

/// The optional parts of a message besides its payload; their places are bits of the flags.
fn texts(message: &Message) -> [Option<&[u8]>; 5] {
    [
        message.key.as_deref(),
        message.id.as_deref().map(str::as_bytes),
        message.content_type.as_deref().map(str::as_bytes),
        message.reply_to.as_deref().map(str::as_bytes),
        message.correlation.as_deref().map(str::as_bytes),
    ]
}

fn key(topic: u32, sequence: u64) -> [u8; 12] {
    let mut key = [0; 12];
    let (first, second) = key.split_at_mut(4);
    first.copy_from_slice(&topic.to_le_bytes());
    second.copy_from_slice(&sequence.to_le_bytes());
    key
}

fn digest(key: &[u8], body: &[u8]) -> [u8; CHECKSUM] {
    let mut hash = Sha256::new();
    hash.update((key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(body);
    let mut short = [0; CHECKSUM];
    short.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    short
}

fn field_length(bytes: &[u8]) -> usize {
    varint_length(bytes.len() as u64) + bytes.len()
}

fn varint_length(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

const CHECKSUM: usize = 8;
const STAMP: usize = 16;
const PAYLOAD_BIT: u8 = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn messages() -> impl Strategy<Value = Message> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        let text = || prop::option::of(".{0,20}".prop_map(String::into_boxed_str));
        let headers = prop::collection::vec((".{0,12}", bytes()), 0..5);
        let parts = (prop::option::of(bytes()), headers, prop::option::of(bytes()));
        (parts, text(), text(), text(), text()).prop_map(|((payload, headers, key), id, ct, reply, cor)| {
            Message {
                payload,
                headers: headers.into_iter().map(|(name, value)| Header::new(name, value)).collect(),
                key,
                partition: Some(0),
                id,
                content_type: ct,
                reply_to: reply,
                correlation: cor,
                time: Some(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(7)),
                deduplication: None,
            }
        })
    }

    fn written(message: &Message) -> Vec<u8> {
        let mut row = vec![0; Record::length(message)];
        Record::write(&mut row, 3, 9, Stamp { ordinal: 5, time: 7 }, message).unwrap();
        row
    }

    proptest! {
        #[test]
        fn a_message_comes_back_as_it_was(message in messages()) {
            let row = written(&message);
            let record = Record::read(3, 9, &Bytes::from(row.clone())).unwrap();
            prop_assert_eq!(record.message, message);
            prop_assert_eq!(record.stamp, Stamp { ordinal: 5, time: 7 });
            prop_assert_eq!(Stamp::read(3, 9, &row), Some(record.stamp));
        }

        #[test]
        fn a_row_that_was_changed_is_never_served(message in messages(), at: prop::sample::Index, bit in 0..8) {
            let mut row = written(&message);
            let at = at.index(row.len());
            row[at] ^= 1_u8 << bit;
            prop_assert!(Record::read(3, 9, &Bytes::from(row.clone())).is_none());
        }

        #[test]
        fn numbers_come_back(number: u64) {
            let mut out = Vec::new();
            write_varint(&mut out, number).unwrap();
            prop_assert_eq!(out.len(), varint_length(number));
            prop_assert_eq!(read_varint(&mut out.as_slice()), Some(number));
        }
    }

    #[test]
    fn a_row_found_under_another_key_is_not_served() {
        let row = written(&Message::default());
        assert!(Record::read(3, 9, &Bytes::from(row.clone())).is_some());
        assert!(Record::read(3, 10, &Bytes::from(row.clone())).is_none());
        assert!(Record::read(4, 9, &Bytes::from(row)).is_none());
    }
}
