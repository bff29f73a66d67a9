//! What a command beside a running server reads of its configuration: where it listens for operators, and what
//! one of them shows.
//!
//! # Why the rest is not looked at
//!
//! A ConfigMap may hold by now what the server could not use and ignores; its pod still has to end properly.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde::Deserialize;
use sidespan_bridge::Secret;

use super::load::some_keys;
use super::resolve::{DEFAULT_ADMIN, socket};
use super::{ConfigError, ConfigErrors};

/// How to speak to a server as one of its operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operators {
    /// Where it listens for them, seen from its own machine.
    pub admin: SocketAddr,
    /// What the first caller shows who may change the server, where callers are asked.
    pub secret: Option<Secret>,
}

impl Operators {
    /// Reads it from a file, and the environment over that.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or these keys of it.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let Keys { admin, auth } = some_keys(path)?;
        let admin = admin.as_deref().map_or(Ok(DEFAULT_ADMIN), socket);
        let admin = admin.map_err(|reason| {
            let (origin, key) = (path.display().to_string(), "admin".to_owned());
            ConfigErrors(vec![ConfigError { origin, key, reason }])
        })?;
        let mut tokens = auth.into_iter().flat_map(|auth| auth.tokens);
        let secret = tokens.find(|token| token.manage).map(|token| token.secret);
        Ok(Self { admin: from_here(admin), secret })
    }
}

impl Default for Operators {
    /// A server whose configuration says nothing of it.
    fn default() -> Self {
        Self { admin: DEFAULT_ADMIN, secret: None }
    }
}

/// Who listens on every address is reached on loopback.
fn from_here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[derive(Deserialize)]
struct Keys {
    admin: Option<String>,
    auth: Option<Auth>,
}

#[derive(Deserialize)]
struct Auth {
    tokens: Vec<Token>,
}

#[derive(Deserialize)]
struct Token {
    secret: Secret,
    #[serde(default)]
    manage: bool,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(yaml: &str) -> Result<Operators, ConfigErrors> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sidespan.yaml");
        fs::write(&path, yaml).unwrap();
        Operators::load(&path)
    }

    #[test]
    fn what_the_server_cannot_use_hides_neither_its_address_nor_the_token() {
        let text = "admin: '0.0.0.0:7409'\nsubscriptions: 7\nfuture: {}\nauth:\n  tokens:\n  \
                    - {name: till, secret: of the till, publish: ['>']}\n  \
                    - {name: operator, secret: of the operator, manage: true}\n";
        let Operators { admin, secret } = read(text).unwrap();
        assert_eq!(admin, SocketAddr::from(([127, 0, 0, 1], 7409)));
        assert_eq!(secret.unwrap().reveal().unwrap(), "of the operator");
    }

    #[test]
    fn without_the_keys_it_is_where_servers_are_by_default() {
        assert_eq!(read("version: 1\n").unwrap(), Operators::default());
        assert!(read("admin: nowhere\n").is_err());
    }
}
