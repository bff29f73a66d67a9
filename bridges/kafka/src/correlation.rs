//! Which request a reply belongs to, as text.
//!
//! To Kafka it is bytes: Spring makes sixteen at random. To Sidespan it is text. So bytes that are not UTF-8 are
//! written as `base64:` and what they are in base64; and so that each text stands for one sequence of bytes
//! and each sequence has one text, the same is done with text that would be read as such.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Returns the text that stands for what a record has.
pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if escaped(text).is_none() => Cow::Borrowed(text),
        Ok(_) | Err(_) => Cow::Owned(format!("{MARK}{}", URL_SAFE_NO_PAD.encode(bytes))),
    }
}

/// Returns what a record has for a text.
pub(crate) fn bytes(text: &str) -> Cow<'_, [u8]> {
    match escaped(text) {
        Some(bytes) => Cow::Owned(bytes),
        None => Cow::Borrowed(text.as_bytes()),
    }
}

/// Returns the bytes that a text stands for, if it is not these bytes itself.
fn escaped(text: &str) -> Option<Vec<u8>> {
    // Decoding refuses all but the one way in which encoding writes.
    let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(MARK)?).ok()?;
    let needed = match std::str::from_utf8(&bytes) {
        Ok(text) => escaped(text).is_some(),
        Err(_) => true,
    };
    needed.then_some(bytes)
}

const MARK: &str = "base64:";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_itself_and_other_bytes_are_marked() {
        assert_eq!(text("request 7".as_bytes()), "request 7");
        assert_eq!(text(&[0xff, 0x00]), "base64:_wA");
        assert_eq!(&*bytes("base64:_wA"), [0xff, 0x00]);
        // What stands for nothing else is taken as it is written.
        for plain in ["base64:", "base64:aGVsbG8", "base64:%", "base64:_wB"] {
            assert_eq!(&*bytes(plain), plain.as_bytes());
            assert_eq!(text(plain.as_bytes()), plain);
        }
        assert_eq!(text(b"base64:_wA"), "base64:YmFzZTY0Ol93QQ");
    }

    proptest! {
        #[test]
        fn bytes_come_back_as_they_were(
            inner in proptest::collection::vec(any::<u8>(), 0..40),
            marks in 0..3,
        ) {
            let mut given = inner;
            for _ in 0..marks {
                given = format!("{MARK}{}", URL_SAFE_NO_PAD.encode(&given)).into_bytes();
            }
            let text = text(&given);
            prop_assert_eq!(&*bytes(&text), &*given);
        }

        #[test]
        fn text_comes_back_as_it_was(given in "(base64:)?[A-Za-z0-9_ é-]{0,12}") {
            let bytes = bytes(&given);
            prop_assert_eq!(text(&bytes), given.as_str());
        }
    }
}
