//! Ack ids: they name a lease and the process that gave it, for one subscription, and cannot be made up.
//!
//! An id is a version, the process, the lease's number, and a code over these and the subscription's name,
//! in base64 for URLs. Where there are replicas, it says before the code where they reach the process, and
//! what the broker takes a verdict by when the process is gone, if it does. Replicas share the secret of
//! the code: each can tell whether an id is genuine, and calls no address that a replica did not write.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::Error;
use crate::security::seal::Seal;

/// Writes and reads the ack ids of one process.
pub struct AckIds {
    process: Process,
    /// Where replicas reach this process.
    address: Option<SocketAddr>,
    seal: Seal,
}

/// Names a process, drawn when it starts.
pub(super) type Process = [u8; 8];

/// Whose lease an id names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leased {
    /// One of this process, by its number.
    Here(u64),
    /// One of another.
    There(There),
}

/// A lease of another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct There {
    /// Where the process is reached, or was.
    pub address: SocketAddr,
    /// What the broker takes a verdict by once it is gone.
    pub receipt: Option<Box<str>>,
}

impl AckIds {
    /// Draws a name for the process, and a key that nobody else has.
    ///
    /// # Errors
    ///
    /// The system has no randomness to give.
    pub fn alone() -> Result<Self, getrandom::Error> {
        Ok(Self { process: process()?, address: None, seal: Seal::random()? })
    }

    /// Draws a name for the process, which other replicas reach at `address`. All of them have the seal.
    ///
    /// # Errors
    ///
    /// The system has no randomness to give.
    pub fn shared(seal: Seal, address: SocketAddr) -> Result<Self, getrandom::Error> {
        Ok(Self { process: process()?, address: Some(address), seal })
    }

    /// Returns the name of the process.
    pub(super) fn process(&self) -> Process {
        self.process
    }

    /// Writes the id of a lease. A `receipt` stands in it where others can read it.
    pub fn write(&self, subscription: &str, number: u64, receipt: Option<&str>) -> String {
        let receipt = receipt.filter(|receipt| self.address.is_some() && receipt.len() <= MOST_RECEIPT);
        let mut id = Vec::with_capacity(LEAST + 18 + receipt.map_or(0, str::len));
        id.push(match self.address {
            None => ALONE,
            Some(SocketAddr::V4(_)) => V4,
            Some(SocketAddr::V6(_)) => V6,
        });
        id.extend(self.process);
        id.extend(number.to_be_bytes());
        if let Some(address) = self.address {
            match address.ip() {
                IpAddr::V4(ip) => id.extend(ip.octets()),
                IpAddr::V6(ip) => id.extend(ip.octets()),
            }
            id.extend(address.port().to_be_bytes());
        }
        id.extend(receipt.unwrap_or_default().as_bytes());
        id.extend(self.seal.code(&[&id, subscription.as_bytes()]));
        URL_SAFE_NO_PAD.encode(id)
    }

    /// Reads whose lease an id names.
    ///
    /// # Errors
    ///
    /// `LeaseEnded` where a process gave the id that cannot be asked any more; `Invalid` where it is none
    /// of this subscription's.
    pub fn read(&self, subscription: &str, text: &str) -> Result<Leased, Error> {
        self.parse(subscription, text).unwrap_or_else(|| {
            let reason = "this is no ack id of this subscription";
            Err(Error::Invalid(reason.into()))
        })
    }

    fn parse(&self, subscription: &str, text: &str) -> Option<Result<Leased, Error>> {
        if text.len() > Self::LONGEST {
            return None;
        }
        let id = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (named, code) = id.split_at_checked(id.len().checked_sub(Seal::LENGTH)?)?;
        let (kind, rest) = named.split_first()?;
        let (process, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let there = there(*kind, rest)?;
        let is_own = *process == self.process;
        // The key of another process is not known, unless they share it.
        if !is_own && (self.address.is_none() || there.is_none()) {
            return Some(Err(Error::LeaseEnded));
        }
        if !self.seal.is_code(&[named, subscription.as_bytes()], code) {
            return None;
        }
        Some(match there {
            _ if is_own => Ok(Leased::Here(u64::from_be_bytes(*number))),
            Some(there) => Ok(Leased::There(there)),
            None => Err(Error::LeaseEnded),
        })
    }

    /// How many letters an id has at most.
    pub const LONGEST: usize = (LEAST + 18 + MOST_RECEIPT).div_ceil(3) * 4;
}

impl fmt::Debug for AckIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AckIds")
    }
}

fn process() -> Result<Process, getrandom::Error> {
    let mut process = [0; 8];
    getrandom::fill(&mut process)?;
    Ok(process)
}

/// Reads what stands before the code: nothing, or an address and a receipt. `None`: neither.
#[expect(clippy::option_option, reason = "to be alone is not the same as to be wrong")]
fn there(kind: u8, bytes: &[u8]) -> Option<Option<There>> {
    let (ip, rest) = match kind {
        ALONE => return bytes.is_empty().then_some(None),
        V4 => bytes.split_first_chunk::<4>().map(|(ip, rest)| (IpAddr::from(*ip), rest))?,
        V6 => bytes.split_first_chunk::<16>().map(|(ip, rest)| (IpAddr::from(*ip), rest))?,
        _ => return None,
    };
    let (port, receipt) = rest.split_first_chunk()?;
    let address = SocketAddr::new(ip, u16::from_be_bytes(*port));
    let receipt = std::str::from_utf8(receipt).ok()?;
    Some(Some(There { address, receipt: (!receipt.is_empty()).then(|| receipt.into()) }))
}

/// The kinds of ids: those of a process alone, and those of replicas by how they are reached.
const ALONE: u8 = 1;
const V4: u8 = 2;
const V6: u8 = 3;
/// An id without anything more, in bytes.
const LEAST: usize = 1 + 8 + 8 + Seal::LENGTH;
/// A longer receipt is left out.
const MOST_RECEIPT: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replica(secret: &str, address: &str) -> AckIds {
        AckIds::shared(Seal::of(&[secret.to_owned()], "ids"), address.parse().unwrap()).unwrap()
    }

    #[test]
    fn an_id_is_good_for_its_subscription_and_process_alone() {
        let (ids, others) = (AckIds::alone().unwrap(), AckIds::alone().unwrap());
        let id = ids.write("billing", 7, None);
        assert_eq!(id.len(), 44);
        assert_eq!(ids.read("billing", &id).unwrap(), Leased::Here(7));
        assert!(matches!(ids.read("audit", &id), Err(Error::Invalid(_))));
        assert!(matches!(others.read("billing", &id), Err(Error::LeaseEnded)));
    }

    #[test]
    fn a_replica_learns_from_an_id_where_its_process_is() {
        for address in ["10.0.0.5:7400", "[2001:db8::1]:65535"] {
            let (ids, others) = (replica("s", address), replica("s", "127.0.0.1:1"));
            let id = ids.write("billing", 7, None);
            assert!(id.len() <= AckIds::LONGEST);
            assert_eq!(ids.read("billing", &id).unwrap(), Leased::Here(7));
            let address = address.parse().unwrap();
            assert_eq!(others.read("billing", &id).unwrap(), Leased::There(There { address, receipt: None }));
            let id = ids.write("billing", 7, Some("$JS.ACK.a.b"));
            let receipt = Some("$JS.ACK.a.b".into());
            assert_eq!(others.read("billing", &id).unwrap(), Leased::There(There { address, receipt }));
            assert!(matches!(others.read("audit", &id), Err(Error::Invalid(_))));
            let stranger = replica("another", "127.0.0.1:1");
            assert!(matches!(stranger.read("billing", &id), Err(Error::Invalid(_))), "not its secret");
        }
    }

    #[test]
    fn a_receipt_stands_only_where_others_can_use_it() {
        let ids = AckIds::alone().unwrap();
        assert_eq!(ids.write("b", 7, Some("receipt")), ids.write("b", 7, None));
        let ids = replica("s", "[2001:db8::1]:65535");
        let longest = ids.write("b", 7, Some(&"r".repeat(MOST_RECEIPT)));
        assert!(longest.len() <= AckIds::LONGEST && ids.read("b", &longest).is_ok());
        assert_eq!(ids.write("b", 7, Some(&"r".repeat(MOST_RECEIPT + 1))), ids.write("b", 7, None));
    }

    proptest! {
        #[test]
        fn a_changed_id_is_none(number: u64, shared: bool, at in 0_usize..52, letter in "[A-Za-z0-9_-]") {
            let ids = if shared { replica("s", "10.0.0.5:7400") } else { AckIds::alone().unwrap() };
            let mut id = ids.write("billing", number, None);
            prop_assume!(at < id.len() && id[at..=at] != letter);
            id.replace_range(at..=at, &letter);
            prop_assert!(ids.read("billing", &id).is_err());
        }

        #[test]
        fn garbage_is_none(text in ".{0,100}") {
            prop_assert!(AckIds::alone().unwrap().read("billing", &text).is_err());
            prop_assert!(replica("s", "10.0.0.5:7400").read("billing", &text).is_err());
        }
    }
}
