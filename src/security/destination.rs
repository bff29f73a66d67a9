//! Where we may call.
//!
//! A cloud's metadata service hands out the machine's credentials to whoever asks from there, by addresses
//! that lead nowhere else. They are never called, configured or not. What counts is the address that a
//! connection goes to, at each attempt anew: a name may lead anywhere, and elsewhere the next time; and
//! one address can be written in many ways.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

use crate::config::Reach;

/// An address that is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// By nobody.
    #[error("{address} is {kind}, which is never called: let the webhook's URL lead elsewhere")]
    Never {
        /// The address.
        address: IpAddr,
        /// What is there.
        kind: &'static str,
    },
    /// By none that was made at run time.
    #[error("{0} is not among the addresses that `push.allow` lists for this target")]
    Unlisted(IpAddr),
}

/// Checks an address.
///
/// # Errors
///
/// It is a link-local address, or one of a cloud's metadata service.
pub fn check(address: IpAddr) -> Result<(), Forbidden> {
    let kind = match address {
        IpAddr::V4(v4) => kind_of_v4(v4),
        IpAddr::V6(v6) => kind_of_v6(v6).or_else(|| embedded(v6).and_then(kind_of_v4)),
    };
    kind.map_or(Ok(()), |kind| Err(Forbidden::Never { address, kind }))
}

/// Checks an address that is to be called.
///
/// # Errors
///
/// As [`check()`]; it is not within reach.
pub fn check_within(address: IpAddr, reach: &Reach) -> Result<(), Forbidden> {
    check(address)?;
    if reach.has(address) { Ok(()) } else { Err(Forbidden::Unlisted(address)) }
}

/// Checks a URL whose host is an address; what a name leads to is seen when it is called.
///
/// # Errors
///
/// As [`check()`].
pub fn check_literal(url: &Url) -> Result<(), Forbidden> {
    match url.host() {
        Some(Host::Ipv4(address)) => check(address.into()),
        Some(Host::Ipv6(address)) => check(address.into()),
        Some(Host::Domain(_)) | None => Ok(()),
    }
}

/// Keeps those of a name's addresses that may be called.
///
/// # Errors
///
/// There were some, and none may be.
pub fn permitted(addresses: impl Iterator<Item = SocketAddr>, reach: &Reach) -> io::Result<Vec<SocketAddr>> {
    let mut refused = None;
    let permitted: Vec<SocketAddr> = addresses
        .filter(|address| {
            check_within(address.ip(), reach).inspect_err(|forbidden| refused = Some(*forbidden)).is_ok()
        })
        .collect();
    match refused {
        Some(forbidden) if permitted.is_empty() => Err(io::Error::other(forbidden)),
        Some(_) | None => Ok(permitted),
    }
}

fn kind_of_v4(address: Ipv4Addr) -> Option<&'static str> {
    if METADATA_V4.contains(&address) {
        return Some(METADATA);
    }
    address.is_link_local().then_some(LINK_LOCAL)
}

fn kind_of_v6(address: Ipv6Addr) -> Option<&'static str> {
    // All of what Amazon reserves: its metadata service, and the one that hands out roles of pods.
    let amazon = address.segments().starts_with(&[0xfd00, 0xec2]);
    if amazon || METADATA_V6.contains(&address) {
        return Some(METADATA);
    }
    address.is_unicast_link_local().then_some(LINK_LOCAL)
}

/// Returns the IPv4 address that an IPv6 address leads to: mapped (RFC 4291), compatible, translated
/// (RFC 2765), behind NAT64 (RFC 6052, RFC 8215) or by 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => (high, low),
        [0, 0, 0, 0, 0xffff, 0, high, low] => (high, low),
        [0x64, 0xff9b, 0 | 1, _, _, _, high, low] => (high, low),
        [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}

const LINK_LOCAL: &str = "a link-local address";
const METADATA: &str = "the address of a cloud's metadata service";
/// Those that are not link-local: Alibaba, Azure, Oracle; and the one that nearly all share.
const METADATA_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// Google, Scaleway.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Allow;

    #[test]
    fn link_local_and_metadata_addresses_are_forbidden_in_every_form() {
        for address in [
            "169.254.0.0",
            "169.254.169.254",
            "169.254.170.2",
            "169.254.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fe80::1",
            "febf::1",
            "fe80::a9fe:a9fe",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:42::42",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "::ffff:100.100.100.200",
        ] {
            let address: IpAddr = address.parse().unwrap();
            let forbidden = check(address).unwrap_err().to_string();
            assert!(forbidden.starts_with(&format!("{address} is ")), "{forbidden}");
        }
    }

    #[test]
    fn other_addresses_are_allowed() {
        for address in [
            "127.0.0.1",
            "0.0.0.0",
            "10.0.0.1",
            "192.168.0.1",
            "172.16.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "100.100.100.201",
            "192.0.0.191",
            "203.0.113.7",
            "::",
            "::1",
            "fec0::1",
            "fd00::1",
            "fd00:ec3::254",
            "2001:db8::a9fe:a9fe",
            "::ffff:127.0.0.1",
            "64:ff9b::203.0.113.7",
            "2002:cb00:7107::1",
        ] {
            assert_eq!(check(address.parse().unwrap()), Ok(()), "{address}");
        }
    }

    #[test]
    fn an_address_in_a_url_is_known_however_it_is_written() {
        for host in [
            "169.254.169.254",
            "2852039166",
            "0xA9FEA9FE",
            "0xa9.0xfe.0xa9.0xfe",
            "0251.0376.0251.0376",
            "0251.0376.43518",
            "169.254.43518",
            "169.254.169.254.",
            "%31%36%39.254.169.254",
            "１６９.254.169.254",
            "[::ffff:169.254.169.254]",
            "[::FFFF:A9FE:A9FE]",
            "[fe80::1]",
        ] {
            let url = Url::parse(&format!("http://{host}/latest/meta-data")).unwrap();
            assert!(check_literal(&url).is_err(), "{host} is {:?}", url.host());
        }
        assert_eq!(check_literal(&Url::parse("http://consumer.example:8080/").unwrap()), Ok(()));
    }

    #[test]
    fn of_a_names_addresses_those_are_called_that_may_be() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 80)).collect()
        };
        let permitted = |texts: &[&str]| permitted(addresses(texts).into_iter(), &Reach::Any);
        assert_eq!(permitted(&["10.0.0.1", "fe80::1"]).unwrap(), addresses(&["10.0.0.1"]));
        assert_eq!(permitted(&[]).unwrap(), []);
        let error = permitted(&["169.254.169.254", "fe80::1"]).unwrap_err().to_string();
        assert!(error.contains("never called"), "{error}");
    }

    #[test]
    fn what_was_made_at_run_time_calls_only_addresses_that_are_listed() {
        let reach = Allow::default().reach(&Url::parse("http://localhost/").unwrap()).unwrap();
        assert_eq!(check_within("127.0.0.1".parse().unwrap(), &reach), Ok(()));
        assert_eq!(check_within("::ffff:127.0.0.1".parse().unwrap(), &reach), Ok(()));
        let elsewhere: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(check_within(elsewhere, &reach), Err(Forbidden::Unlisted(elsewhere)));
        let rebound = [SocketAddr::new(elsewhere, 80)];
        assert!(permitted(rebound.into_iter(), &reach).unwrap_err().to_string().contains("push.allow"));
    }
}
