//! Ports for processes that cannot be told to take port 0, or that come back on the same one.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::random::Random;

/// Returns a loopback port that nobody listens on.
///
/// It lies below the range from which the kernel takes ports for outgoing connections, so it stays
/// free while a process is down, and one call never returns what an earlier call in this process did.
pub fn free_port() -> u16 {
    let first = FIRST.load(Ordering::Relaxed);
    if first == 0 {
        let random = FROM + (Random::unseeded().below(u64::from(COUNT)) as u16);
        let _ = FIRST.compare_exchange(0, random, Ordering::Relaxed, Ordering::Relaxed);
    }
    (0..COUNT)
        .map(|_| FROM + FIRST.fetch_add(1, Ordering::Relaxed).wrapping_sub(FROM) % COUNT)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("one of the ports is free")
}

/// The port to look at next; 0 until the first call has drawn one, so that test binaries differ.
static FIRST: AtomicU16 = AtomicU16::new(0);
const FROM: u16 = 12_000;
const COUNT: u16 = 20_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice_and_none_that_is_taken() {
        let taken: Vec<TcpListener> =
            (0..50).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).unwrap()).collect();
        let taken: BTreeSet<u16> =
            taken.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let free: BTreeSet<u16> = (0..50).map(|_| free_port()).collect();
        assert_eq!((taken.len(), free.len()), (50, 50));
        assert!(taken.is_disjoint(&free));
        assert!(free.iter().all(|port| (FROM..FROM + COUNT).contains(port)));
    }
}
