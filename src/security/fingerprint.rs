//! Short names for what is too long, too private, or of the wrong letters to be a name itself.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Hashes parts into 32 hexadecimal digits. Parts don't run together: `["ab", "c"]` and
/// `["a", "bc"]` differ.
pub fn fingerprint<const N: usize>(parts: [&[u8]; N]) -> Box<str> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut text = String::with_capacity(2 * BYTES);
    for byte in hash.finalize().iter().take(BYTES) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

/// 128 bits: no two names collide by chance.
const BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        assert_eq!(fingerprint([b"a", b"bc"]), fingerprint([b"a", b"bc"]));
        assert_ne!(fingerprint([b"a", b"bc"]), fingerprint([b"ab", b"c"]));
        assert_eq!(fingerprint([b"a"]).len(), 32);
    }
}
