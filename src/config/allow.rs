//! Where messages may be pushed by subscriptions that are made at run time.
//!
//! Whoever may manage a server need not be trusted with its network. So the file lists where such
//! subscriptions may lead; by default to this machine alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// The targets that are listed under `push.allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow(Vec<Entry>);

/// Which addresses a target may have when it is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Any: whoever wrote the file said so, or trusts the name.
    #[default]
    Any,
    /// Those of these networks.
    Within(Arc<[IpNet]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Host { name: String, port: Option<u16> },
    Loopback,
    Net { net: IpNet, port: Option<u16> },
    Prefix(Url),
}

impl Default for Allow {
    fn default() -> Self {
        Self(vec![Entry::Loopback])
    }
}

impl Allow {
    /// Reads a list.
    ///
    /// # Errors
    ///
    /// The index of an entry, and why it cannot be read.
    pub fn parse(texts: &[String]) -> Result<Self, (usize, String)> {
        let entries = texts.iter().enumerate();
        let entries = entries.map(|(index, text)| Entry::parse(text).map_err(|reason| (index, reason)));
        Ok(Self(entries.collect::<Result<_, _>>()?))
    }

    /// Tells which addresses a target may have, if it is listed.
    pub fn reach(&self, url: &Url) -> Option<Reach> {
        self.0.iter().find_map(|entry| entry.reach(url))
    }
}

impl Reach {
    /// Tells whether an address is within reach.
    pub fn has(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Within(nets) => nets.iter().any(|net| net.contains(&address.to_canonical())),
        }
    }
}

impl Entry {
    fn parse(text: &str) -> Result<Self, String> {
        let advice = || {
            format!(
                "{text:?} is no target: write a host (billing, billing:8080), a network (10.0.0.0/8), the beginning \
                 of a URL (http://billing:8080/hooks/), or `loopback`"
            )
        };
        if text == "loopback" {
            return Ok(Self::Loopback);
        }
        if text.contains("://") {
            let url = Url::parse(text).map_err(|_| advice())?;
            let plain = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
            let known = matches!(url.scheme(), "http" | "https") && url.host().is_some();
            return if plain && known { Ok(Self::Prefix(url)) } else { Err(advice()) };
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Self::Net { net: net.trunc(), port: None });
        }
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self::Net { net: ip.into(), port: None });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Net { net: address.ip().into(), port: Some(address.port()) });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().map_err(|_| advice())?)),
            None => (text, None),
        };
        // As a URL has it: in lower case, and in letters of ASCII.
        match Host::parse(name) {
            Ok(Host::Domain(name)) if !name.contains('*') => Ok(Self::Host { name, port }),
            Ok(_) | Err(_) => Err(advice()),
        }
    }

    fn reach(&self, url: &Url) -> Option<Reach> {
        let host = url.host()?;
        let is_port = |port: &Option<u16>| port.is_none() || *port == url.port_or_known_default();
        match self {
            Self::Host { name, port } => {
                (matches!(host, Host::Domain(host) if host == name) && is_port(port)).then_some(Reach::Any)
            }
            Self::Loopback => {
                let is_loopback = match host {
                    Host::Domain(name) => name == "localhost",
                    Host::Ipv4(ip) => ip.is_loopback(),
                    Host::Ipv6(ip) => IpAddr::from(ip).to_canonical().is_loopback(),
                };
                is_loopback.then(|| Reach::Within(Arc::from(LOOPBACK)))
            }
            Self::Net { net, port } => {
                let ip = match host {
                    Host::Domain(_) => return None,
                    Host::Ipv4(ip) => IpAddr::from(ip),
                    Host::Ipv6(ip) => IpAddr::from(ip).to_canonical(),
                };
                (net.contains(&ip) && is_port(port)).then(|| Reach::Within(Arc::from([*net])))
            }
            Self::Prefix(prefix) => {
                let same = prefix.scheme() == url.scheme()
                    && prefix.host() == url.host()
                    && prefix.port_or_known_default() == url.port_or_known_default();
                let below = url.path().strip_prefix(prefix.path());
                let below = below.is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with('/') || prefix.path().ends_with('/')
                });
                (same && below).then_some(Reach::Any)
            }
        }
    }
}

const LOOPBACK: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(list: &[&str], url: &str) -> bool {
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        Allow::parse(&list).unwrap().reach(&Url::parse(url).unwrap()).is_some()
    }

    #[test]
    fn by_default_only_this_machine_is_a_target() {
        let allow = Allow::default();
        let reach = |url: &str| allow.reach(&Url::parse(url).unwrap());
        for url in ["http://127.0.0.1:8080/", "http://[::1]/", "http://localhost/", "http://2130706433/"] {
            assert!(reach(url).is_some_and(|reach| !reach.has([10, 0, 0, 1].into())), "{url}");
        }
        for url in
            ["http://10.0.0.1/", "http://localhost.example/", "http://127.0.0.1.example/", "http://0.0.0.0/"]
        {
            assert_eq!(reach(url), None, "{url}");
        }
    }

    #[test]
    fn a_host_a_network_or_the_beginning_of_a_url_is_listed() {
        assert!(admits(&["billing"], "http://billing:8080/x"));
        assert!(admits(&["Billing:8080"], "http://billing:8080/x"));
        assert!(!admits(&["billing:8080"], "http://billing/x"));
        assert!(!admits(&["billing"], "http://billing.example/"));
        assert!(admits(&["10.0.0.0/8"], "http://10.1.2.3/"));
        assert!(admits(&["10.0.0.0/8"], "http://[::ffff:10.1.2.3]/"));
        assert!(!admits(&["10.0.0.0/8"], "http://11.1.2.3/"));
        assert!(!admits(&["10.0.0.0/8"], "http://billing/"), "what a name leads to is not known yet");
        assert!(admits(&["10.0.0.1:80"], "http://10.0.0.1/"));
        assert!(admits(&["http://billing:8080/hooks/"], "http://billing:8080/hooks/a"));
        assert!(admits(&["http://billing:8080/hooks"], "http://billing:8080/hooks/a"));
        for url in
            ["http://billing:8080/hooksmith", "http://billing:8080/hooks/../x", "https://billing:8080/hooks/"]
        {
            assert!(!admits(&["http://billing:8080/hooks"], url), "{url}");
        }
        assert!(!admits(&[], "http://127.0.0.1/"));
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in ["", "*", "http://", "ftp://billing/", "billing:port", "http://a@billing/", "10.0.0.0/33"]
        {
            assert!(Allow::parse(&[text.to_owned()]).is_err(), "{text}");
        }
    }
}
