//! Where the other replicas are, looked up again now and then.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// The addresses behind the names that the configuration has.
pub(super) struct Book {
    names: Vec<String>,
    own: SocketAddr,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    addresses: Vec<SocketAddr>,
    until: Option<Instant>,
}

impl Book {
    pub(super) fn new(names: Vec<String>, own: SocketAddr) -> Self {
        Self { names, own, known: Mutex::default() }
    }

    /// Returns the addresses of all but this replica. What cannot be looked up now is as it was.
    pub(super) async fn addresses(&self) -> Vec<SocketAddr> {
        let mut known = self.known.lock().await;
        if known.until.is_none_or(|until| until <= Instant::now()) {
            let found = join_all(self.names.iter().map(|name| timeout(LOOK_UP, lookup_host(name)))).await;
            let failed = found.iter().any(|found| !matches!(found, Ok(Ok(_))));
            let found: BTreeSet<SocketAddr> = found
                .into_iter()
                .flatten()
                .flatten()
                .flatten()
                .filter(|address| *address != self.own)
                .collect();
            let mut addresses: Vec<SocketAddr> = found.into_iter().collect();
            if failed {
                let known = known.addresses.iter().filter(|address| !addresses.contains(address));
                let known: Vec<SocketAddr> = known.copied().collect();
                addresses.extend(known);
            }
            addresses.truncate(MOST);
            *known = Known { addresses, until: Some(Instant::now() + FRESH) };
        }
        known.addresses.clone()
    }
}

/// How long an address is used until it is looked up again.
const FRESH: Duration = Duration::from_secs(5);
const LOOK_UP: Duration = Duration::from_secs(2);
/// How many replicas are asked.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_address_of_a_name_is_one_but_ones_own() {
        let own = "127.0.0.1:7400".parse().unwrap();
        let names = ["127.0.0.1:7400", "127.0.0.1:7401", "[::1]:7400", "nobody.invalid:7400"];
        let book = Book::new(names.map(str::to_owned).to_vec(), own);
        let expected = ["127.0.0.1:7401", "[::1]:7400"].map(|address| address.parse().unwrap());
        assert_eq!(book.addresses().await, expected);
        assert_eq!(book.addresses().await, expected);
    }
}
