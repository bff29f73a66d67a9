//! Attribute values as HTTP headers: percent-encoding, as the HTTP binding (3.1.3.2) says.

use std::borrow::Cow;

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sidespan_bridge::decode_attribute;

/// Writes an attribute's value as a header value: everything but printable ASCII is
/// percent-encoded, and so are blanks, double quotes and the percent sign.
pub fn header_value(text: &str) -> HeaderValue {
    let encoded = utf8_percent_encode(text, ENCODED).to_string();
    #[expect(
        clippy::expect_used,
        reason = "what is percent-encoded is printable ASCII, which every header may have"
    )]
    HeaderValue::try_from(encoded).expect("printable ASCII")
}

/// Reads an attribute's value from the header of its name: quoted or not, percent-encoded or raw UTF-8 (as
/// the JS and Go SDKs write it). `None` if that is no UTF-8.
pub fn header_text(name: &str, value: &HeaderValue) -> Option<String> {
    let bytes = unquoted(value.as_bytes());
    String::from_utf8(decode_attribute(name, &bytes).into_owned()).ok()
}

fn unquoted(bytes: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return Cow::Borrowed(bytes);
    };
    let mut escaped = false;
    let plain = inner.iter().copied().filter(|byte| {
        escaped = *byte == b'\\' && !escaped;
        !escaped
    });
    Cow::Owned(plain.collect())
}

/// `CONTROLS` covers U+0000 to U+001F and U+007F; what is not ASCII is always encoded.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_binding() {
        assert_eq!(header_value("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(header_value("100% \"sure\""), "100%25%20%22sure%22");
        assert_eq!(header_value(""), "");
    }

    #[test]
    fn quoted_and_raw_values_are_read() {
        let raw = |bytes: &[u8]| header_text("subject", &HeaderValue::from_bytes(bytes).unwrap());
        assert_eq!(raw("Euro €".as_bytes()).as_deref(), Some("Euro €"));
        assert_eq!(raw(br#""a \"b\" \\ %41""#).as_deref(), Some(r#"a "b" \ A"#));
        assert_eq!(raw(b"100%").as_deref(), Some("100%"));
        assert_eq!(raw(b"%ff"), None);
        assert_eq!(raw(b"\"").as_deref(), Some("\""));
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            let read = header_text("subject", &header_value(&text));
            prop_assert_eq!(read.as_deref(), Some(text.as_str()));
        }
    }
}
