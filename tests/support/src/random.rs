//! Chance that can be repeated.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A generator of pseudorandom numbers (SplitMix64): the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Returns a generator for one test. The seed comes from `SIDESPAN_SEED`, else it is a new one;
    /// either way it is printed, so that a failed run can be repeated.
    pub fn from_env() -> Self {
        let seed = match std::env::var("SIDESPAN_SEED") {
            Ok(seed) => seed.parse().expect("SIDESPAN_SEED is a number"),
            Err(_) => Self::unseeded().next(),
        };
        eprintln!("seed: SIDESPAN_SEED={seed}");
        Self::seeded(seed)
    }

    /// Returns a generator that starts from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a generator that nobody can repeat, for names and ports.
    pub fn unseeded() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// Returns a generator whose numbers don't depend on how many this one is asked for later.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// Returns a number below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "there is no number below 0");
        self.next() % end
    }

    /// Returns true in `percent` of 100 calls.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns a duration between the two, in milliseconds.
    pub fn duration(&mut self, from: Duration, to: Duration) -> Duration {
        let span = to.saturating_sub(from).as_millis() as u64;
        from + Duration::from_millis(self.below(span + 1))
    }

    /// Returns `length` bytes of all values.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// Returns `<prefix>-<something that no other call returns>`, for topics and groups on a broker
/// that tests share.
pub fn unique_name(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{:08x}-{count}", Random::unseeded().next() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut one, mut other) = (Random::seeded(7), Random::seeded(7));
        assert_eq!(one.bytes(100), other.bytes(100));
        assert_eq!(
            one.duration(Duration::ZERO, Duration::from_secs(9)),
            other.duration(Duration::ZERO, Duration::from_secs(9))
        );
        assert_ne!(Random::seeded(8).bytes(100), Random::seeded(7).bytes(100));
    }

    #[test]
    fn numbers_stay_below_their_end_and_reach_all_of_it() {
        let mut random = Random::seeded(1);
        let seen: std::collections::BTreeSet<u64> = (0..1_000).map(|_| random.below(10)).collect();
        assert_eq!(seen, (0..10).collect());
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<String> = (0..1_000).map(|_| unique_name("t")).collect();
        assert_eq!(names.len(), 1_000);
    }
}
