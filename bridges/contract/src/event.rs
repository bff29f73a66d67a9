//! Attributes of CloudEvents in headers that are percent-encoded: those of HTTP and of NATS.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// Takes the percent-encoding off the value of an attribute, which goes by its bare name.
///
/// Some SDKs write values as they are. Of a URI's own percent-encoding nothing must be taken off: what is no URI
/// without it, and is one with it, was written by one of them.
pub fn decode_attribute<'a>(name: &str, value: &'a [u8]) -> Cow<'a, [u8]> {
    let decoded: Cow<'_, [u8]> = percent_decode(value).into();
    let is_uri = ["source", "dataschema"].iter().any(|other| name.eq_ignore_ascii_case(other));
    if is_uri && !could_be_uri(&decoded) && could_be_uri(value) { Cow::Borrowed(value) } else { decoded }
}

/// Tells whether there are only characters that a URI may have (RFC 3986, 2).
fn could_be_uri(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_keeps_the_encoding_that_it_needs_whoever_wrote_it() {
        for (name, written, read) in [
            ("source", "/a%2520b", "/a%20b"),
            ("source", "/a%20b", "/a%20b"),
            ("Source", "/Zo%C3%AB", "/Zo%C3%AB"),
            ("dataschema", "https%3A%2F%2Fexample.com", "https://example.com"),
            ("subject", "Zo%C3%AB", "Zoë"),
            ("subject", "100% raw ü", "100% raw ü"),
            ("source", "/Zoë", "/Zoë"),
        ] {
            assert_eq!(decode_attribute(name, written.as_bytes()), read.as_bytes(), "{name}: {written}");
        }
    }
}
