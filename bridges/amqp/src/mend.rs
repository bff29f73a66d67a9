//! Makes readable what the client library cannot read.
//!
//! AMQP says that names are UTF-8, and RabbitMQ does not check it. The library ends the connection over one that is
//! not, and so would end each connection by which the message comes again. Where one has come, what
//! the broker sends goes through here: in the names of a delivery, each byte that is not text becomes `?`.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, copy, duplex, split};

/// Returns the other end of a connection that mends what comes. It ends with either side.
pub(crate) fn mended(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> DuplexStream {
    let (near, far) = duplex(BUFFER);
    tokio::spawn(async move {
        let (mut from_broker, mut to_broker) = split(stream);
        let (mut from_client, mut to_client) = split(far);
        tokio::select! {
            _ = forward(&mut from_broker, &mut to_client) => {}
            _ = copy(&mut from_client, &mut to_broker) => {}
        }
    });
    near
}

/// Passes frames on, one at a time.
async fn forward(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut frame = Vec::new();
    loop {
        let mut head = [0; HEAD];
        from.read_exact(&mut head).await?;
        let [_kind, _channel, _of_two, size @ ..] = head;
        let size = u32::from_be_bytes(size);
        if size > LARGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        frame.clear();
        frame.extend_from_slice(&head);
        // Behind what it holds comes one more byte, its end.
        (&mut *from).take(u64::from(size) + 1).read_to_end(&mut frame).await?;
        // What cannot be taken apart is passed on as it is.
        let _ = mend(&mut frame);
        to.write_all(&frame).await?;
    }
}

/// Mends the names in a frame; `None` where it ends too early.
fn mend(frame: &mut [u8]) -> Option<()> {
    let kind = *frame.first()?;
    let mut rest = Rest(frame.get_mut(HEAD..)?);
    match kind {
        METHOD if rest.number(4)? == DELIVER => {
            rest.name()?;
            rest.take(TAG_AND_FLAG)?;
            rest.name()?;
            rest.name()
        }
        HEADER => {
            rest.take(CLASS_AND_SIZE)?;
            let flags = rest.number(2)?;
            for (bit, property) in PROPERTIES.iter().enumerate() {
                if flags & (0x8000 >> bit) != 0 {
                    match property {
                        Property::Fixed(size) => rest.take(*size).map(drop)?,
                        Property::Name => rest.name()?,
                        Property::Table => rest.table(0)?,
                    }
                }
            }
            Some(())
        }
        _ => Some(()),
    }
}

enum Property {
    Fixed(usize),
    Name,
    Table,
}

/// What is yet to be looked at.
struct Rest<'a>(&'a mut [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, size: usize) -> Option<&'a mut [u8]> {
        let (taken, rest) = std::mem::take(&mut self.0).split_at_mut_checked(size)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, size: usize) -> Option<usize> {
        Some(self.take(size)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// A text with a length of one byte.
    fn name(&mut self) -> Option<()> {
        let size = self.number(1)?;
        let mut name = self.take(size)?;
        while let Err(error) = std::str::from_utf8(name) {
            let (_, odd) = std::mem::take(&mut name).split_at_mut_checked(error.valid_up_to())?;
            let size = error.error_len().unwrap_or(odd.len());
            let (odd, rest) = odd.split_at_mut_checked(size)?;
            odd.fill(b'?');
            name = rest;
        }
        Some(())
    }

    fn table(&mut self, depth: usize) -> Option<()> {
        let size = self.number(4)?;
        let mut inner = Rest(self.take(size)?);
        while !inner.0.is_empty() {
            inner.name()?;
            inner.value(depth)?;
        }
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        let size = match self.number(1).and_then(|kind| u8::try_from(kind).ok())? {
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'u' | b'U' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'L' | b'l' | b'd' | b'T' => 8,
            b'S' | b'x' => self.number(4)?,
            b'F' if depth < DEEPEST => return self.table(depth + 1),
            b'A' if depth < DEEPEST => {
                let size = self.number(4)?;
                let mut inner = Rest(self.take(size)?);
                while !inner.0.is_empty() {
                    inner.value(depth + 1)?;
                }
                return Some(());
            }
            _ => return None,
        };
        self.take(size).map(drop)
    }
}

/// Type, channel and size.
const HEAD: usize = 7;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
/// `basic.deliver`: class and method.
const DELIVER: usize = 60 << 16 | 60;
const TAG_AND_FLAG: usize = 9;
/// Class, weight, and the size of the body.
const CLASS_AND_SIZE: usize = 12;
/// Content type, content encoding, headers, delivery mode, priority, correlation, reply address, expiration,
/// message id, timestamp, type, user, application, cluster.
const PROPERTIES: [Property; 14] = [
    Property::Name,
    Property::Name,
    Property::Table,
    Property::Fixed(1),
    Property::Fixed(1),
    Property::Name,
    Property::Name,
    Property::Name,
    Property::Name,
    Property::Fixed(8),
    Property::Name,
    Property::Name,
    Property::Name,
    Property::Name,
];
/// How deep tables may lie in one another.
const DEEPEST: usize = 64;
/// What is larger is no frame.
const LARGEST: u32 = 1 << 20;
const BUFFER: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(frame: &[u8]) -> Vec<u8> {
        let mut frame = frame.to_vec();
        let _ = mend(&mut frame);
        frame
    }

    #[test]
    fn names_in_the_tables_of_a_header_are_mended_and_values_are_not() {
        // Class 60, a body of 3 bytes, a content type and headers.
        let start = *b"\x02\0\x01\0\0\0\x2d\0\x3c\0\0\0\0\0\0\0\0\0\x03\xa0\0";
        let frame = |name: &[u8], odd: &[u8]| {
            [&start, &b"\x03a/"[..], name, b"\0\0\0\x13", b"\x02a", odd, b"S\0\0\0\x01\xff", b"\x01F", b"F"]
                .into_iter()
                .chain([&b"\0\0\0\x03\x01"[..], name, b"V\xce"])
                .collect::<Vec<_>>()
                .concat()
        };
        assert_eq!(mended(&frame(b"\xe9", b"\xe9")), frame(b"?", b"?"));
        assert_eq!(mended(&frame(b"b", b"c")), frame(b"b", b"c"));
    }

    #[test]
    fn names_of_a_delivery_are_mended_as_far_as_they_are_odd() {
        let frame = |key: &[u8]| {
            let start = &b"\x01\0\x01\0\0\0\x1f\0\x3c\0\x3c\x01c\0\0\0\0\0\0\0\x01\0\x03top"[..];
            let length = u8::try_from(key.len()).unwrap();
            [start, &[length], key, b"\xce"].concat()
        };
        assert_eq!(mended(&frame(b"caf\xe9.\xc3\xa9\xff")), frame(b"caf?.\xc3\xa9?"));
    }

    #[test]
    fn what_cannot_be_taken_apart_is_left_alone() {
        let deep =
            [&b"\x02\0\x01\0\0\0\0\0\x3c\0\0\0\0\0\0\0\0\0\0\x20\0"[..], &b"\0\0\0\xff\0F".repeat(500)]
                .concat();
        for frame in [&b""[..], b"\x01\0\x01\0\0\0\x02\0\x3c\xce", b"\x02\0\x01\0\0\0\x01\xff\xce", &deep] {
            assert_eq!(mended(frame), frame);
        }
    }
}
