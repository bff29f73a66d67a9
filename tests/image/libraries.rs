//! What the program asks of the system that it runs on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::{PATIENCE, SIDESPAN, done};

/// Returns where the libraries are that the program is linked to, the loader among them.
pub(crate) async fn linked(program: &str) -> Vec<PathBuf> {
    let said = done("ldd", &[program], &[], PATIENCE).await.output;
    said.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

/// Fails if the program needs a library that the base does not hold, beside those of `more`.
pub(crate) async fn needs_only_the_base(program: &str, more: &[&str]) {
    let said = done("readelf", &["-d", program], &[], PATIENCE).await.output;
    let needed =
        |line: &str| Some(line.split_once("(NEEDED)")?.1.split_once('[')?.1.trim_end_matches(']').to_owned());
    let needed: BTreeSet<String> = said.lines().filter_map(needed).collect();
    let strangers: Vec<_> = needed
        .iter()
        .filter(|name| !BASE.contains(&name.as_str()) && !more.contains(&name.as_str()))
        .collect();
    assert!(strangers.is_empty(), "the base has no {strangers:?}");
    assert!(needed.contains("libc.so.6"), "readelf told nothing:\n{said}");
}

/// Fails if the program needs a newer glibc than the base holds.
pub(crate) async fn knows_the_glibc_of_the_base(program: &str) {
    let said = done("readelf", &["-V", program], &[], PATIENCE).await.output;
    let version = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        let minor: String = minor.chars().take_while(char::is_ascii_digit).collect();
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    let newest = said.split("GLIBC_").filter_map(version).max().expect("glibc");
    assert!(newest <= GLIBC, "it needs glibc {newest:?}, and the base has {GLIBC:?}");
}

#[tokio::test]
async fn the_program_needs_only_what_the_base_holds() {
    // To build the machine's own OpenSSL in takes minutes: that of a release is always built in.
    let system = std::env::var_os("OPENSSL_NO_VENDOR").is_some();
    let more: &[&str] = if system { &["libssl.so.3", "libcrypto.so.3"] } else { &[] };
    needs_only_the_base(SIDESPAN, more).await;
}

/// What gcr.io/distroless/cc-debian12 holds of what a program in Rust may want.
const BASE: &[&str] =
    &["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];
/// Debian 12's.
const GLIBC: (u32, u32) = (2, 36);
