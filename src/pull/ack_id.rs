//! Ack ids: they name a lease, to the process that gave it and for one subscription, and cannot be
//! made up.
//!
//! An id is a version, the process, the lease's number, and a code over these and the subscription's
//! name (HMAC-SHA256, cut to 16 bytes), in base64 for URLs.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::Error;

/// Writes and reads the ack ids of one process.
pub struct AckIds {
    process: [u8; 8],
    code: Hmac<Sha256>,
}

impl AckIds {
    /// Draws a name for the process, and a key that nobody else has.
    ///
    /// # Errors
    ///
    /// The system has no randomness to give.
    pub fn new() -> Result<Self, getrandom::Error> {
        // As long as a block of the hash.
        let (mut process, mut key) = ([0; 8], [0; 64]);
        getrandom::fill(&mut process)?;
        getrandom::fill(&mut key)?;
        Ok(Self { process, code: Hmac::new(&key.into()) })
    }

    /// Writes the id of a lease.
    pub fn write(&self, subscription: &str, number: u64) -> String {
        let mut id = [0; LENGTH];
        let (named, code) = id.split_at_mut(NAMED);
        named[0] = VERSION;
        named[1..9].copy_from_slice(&self.process);
        named[9..].copy_from_slice(&number.to_be_bytes());
        let whole = self.mac(named, subscription).finalize().into_bytes();
        code.copy_from_slice(&whole[..CODE]);
        URL_SAFE_NO_PAD.encode(id)
    }

    /// Reads the number of a lease.
    ///
    /// # Errors
    ///
    /// `LeaseEnded` where another process gave the id, an earlier one most likely; `Invalid` where it is
    /// none of this subscription's.
    pub fn read(&self, subscription: &str, text: &str) -> Result<u64, Error> {
        let invalid = || Error::Invalid("this is no ack id of this subscription".into());
        let mut id = [0; LENGTH];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut id).map_err(|_| invalid())?;
        let (named, code) = id.split_at(NAMED);
        if length != LENGTH || named[0] != VERSION {
            return Err(invalid());
        }
        if named[1..9] != self.process {
            return Err(Error::LeaseEnded);
        }
        self.mac(named, subscription).verify_truncated_left(code).map_err(|_| invalid())?;
        let mut number = [0; 8];
        number.copy_from_slice(&named[9..]);
        Ok(u64::from_be_bytes(number))
    }

    fn mac(&self, named: &[u8], subscription: &str) -> Hmac<Sha256> {
        self.code.clone().chain_update(named).chain_update(subscription)
    }
}

impl fmt::Debug for AckIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AckIds")
    }
}

const VERSION: u8 = 1;
const NAMED: usize = 1 + 8 + 8;
const CODE: usize = 16;
const LENGTH: usize = NAMED + CODE;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_good_for_its_subscription_and_process_alone() {
        let (ids, others) = (AckIds::new().unwrap(), AckIds::new().unwrap());
        let id = ids.write("billing", 7);
        assert_eq!(ids.read("billing", &id).unwrap(), 7);
        assert!(matches!(ids.read("audit", &id), Err(Error::Invalid(_))));
        assert!(matches!(others.read("billing", &id), Err(Error::LeaseEnded)));
    }

    proptest! {
        #[test]
        fn a_changed_id_is_none(number: u64, at in 0_usize..44, letter in "[A-Za-z0-9_-]") {
            let ids = AckIds::new().unwrap();
            let mut id = ids.write("billing", number);
            prop_assume!(id[at..=at] != letter);
            id.replace_range(at..=at, &letter);
            prop_assert!(ids.read("billing", &id).is_err());
        }

        #[test]
        fn garbage_is_none(text in ".{0,100}") {
            prop_assert!(AckIds::new().unwrap().read("billing", &text).is_err());
        }
    }
}
