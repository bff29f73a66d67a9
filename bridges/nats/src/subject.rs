//! Subjects, and the names that the broker's own objects get.

use sha2::{Digest, Sha256};
use sidespan_bridge::{Error, Fault};

/// Checks an address to publish to.
pub(crate) fn check_address(subject: &str) -> Result<(), Error> {
    if subject.split('.').any(|token| token == "*" || token == ">") {
        return Err(invalid("a message goes to one subject: `*` and `>` only stand in subscriptions"));
    }
    check(subject)
}

/// Checks what a subscription reads: an address, or a pattern over addresses.
pub(crate) fn check_pattern(subject: &str) -> Result<(), Error> {
    if subject.split('.').any(|token| token.len() > 1 && token.contains(['*', '>'])) {
        return Err(invalid("a wildcard stands for a whole token between dots"));
    }
    check(subject)
}

fn check(subject: &str) -> Result<(), Error> {
    if subject.split('.').any(str::is_empty) {
        return Err(invalid("a subject is made of tokens with a dot between each two of them"));
    }
    if subject.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(invalid("a subject holds neither blanks nor control characters"));
    }
    if subject.len() > LONGEST {
        return Err(invalid("a subject has at most 1,024 bytes"));
    }
    // These steer the broker, or are somebody's mailbox.
    if subject.starts_with('$') || subject.starts_with("_INBOX.") {
        return Err(invalid("subjects that begin with `$` or `_INBOX.` are the broker's own"));
    }
    Ok(())
}

/// Checks where a reply is awaited: an address, or a mailbox.
pub(crate) fn check_reply(subject: &str) -> Result<(), Error> {
    check_address(subject.strip_prefix("_INBOX.").unwrap_or(subject))
}

/// Returns the name of a stream or a durable consumer for a text that may hold what such names don't.
///
/// What names may hold stays; a dot becomes `_`. Where that could be another text's name too, a short
/// hash of the text stands behind it.
pub(crate) fn plain_name(text: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let plain: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    if text.chars().all(legal) && plain.len() <= LONGEST_NAME {
        return plain;
    }
    let short: String = plain.chars().take(LONGEST_NAME - 13).collect();
    format!("{short}_{}", hash(&[text], 6))
}

/// Hashes texts, each by itself, to so many bytes in hexadecimal.
pub(crate) fn hash(texts: &[&str], bytes: usize) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    hash.finalize().iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

fn invalid(detail: &str) -> Error {
    Error::new(Fault::Invalid).detail(detail)
}

const LONGEST: usize = 1024;
/// The broker allows 255.
const LONGEST_NAME: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_groups_are_recognised_in_their_durables() {
        assert_eq!(plain_name("orders-api.billing"), "orders-api_billing");
        assert_eq!(plain_name("orders"), "orders");
    }

    #[test]
    fn names_that_would_collide_get_a_hash() {
        let names = ["a_b", "a b", "a/b", "ä", "a.b"].map(plain_name);
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{names:?}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'), "{name}");
        }
        assert!(plain_name(&"x".repeat(300)).len() <= 200);
    }

    #[test]
    fn the_brokers_own_subjects_are_refused() {
        for subject in ["$JS.API.STREAM.DELETE.ORDERS", "_INBOX.1", "a..b", "", "a b", "orders.*", ">"] {
            assert!(check_address(subject).is_err(), "{subject}");
        }
        assert!(check_address("orders.eu").is_ok());
        assert!(check_pattern("orders.*").is_ok());
        // The broker would take it for an address.
        assert!(check_pattern("shop/>").is_err());
    }
}
