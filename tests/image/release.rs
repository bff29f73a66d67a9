//! What a release consists of: the tarball, and the program as it is compiled for it.

use std::collections::BTreeSet;
use std::env::consts::ARCH;
use std::fs;
use std::path::Path;

use crate::libraries::{knows_the_glibc_of_the_base, needs_only_the_base};
use crate::running::serves;
use crate::{BUILD, PATIENCE, ROOT, SIDESPAN, done};

#[tokio::test]
async fn the_tarball_holds_what_is_documented_and_is_the_same_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("sidespan");
    // What helps to debug makes a tarball slow, and no different.
    done("strip", &["-o", program.to_str().unwrap(), SIDESPAN], &[], PATIENCE).await;
    let mut tarballs = Vec::new();
    for dist in ["one", "two"] {
        let dist = directory.path().join(dist);
        let environment = [("SIDESPAN_PROGRAM", program.as_path()), ("SIDESPAN_DIST", &dist)];
        let said = done(".ci/release", &[], &environment, PATIENCE).await;
        check_sums(&dist).await;
        tarballs.push(said.output.trim().to_owned());
    }
    assert!(fs::read(&tarballs[0]).unwrap() == fs::read(&tarballs[1]).unwrap(), "two tarballs differ");

    let folder = format!("sidespan-{}-{ARCH}-unknown-linux-gnu", env!("CARGO_PKG_VERSION"));
    assert!(tarballs[0].ends_with(&format!("/{folder}.tar.gz")), "{}", tarballs[0]);
    let list = done("tar", &["-tzf", &tarballs[0]], &[], PATIENCE).await.output;
    let files: BTreeSet<&str> = list
        .lines()
        .filter_map(|path| path.strip_prefix(&folder)?.strip_prefix('/'))
        .filter(|path| !path.is_empty() && !path.ends_with('/'))
        .filter(|path| !path.starts_with("man/man1/sidespan-"))
        .collect();
    let documented = fs::read_to_string(format!("{ROOT}/.ci/release")).unwrap();
    let (_, documented) = documented.split_once("A tarball holds").unwrap();
    let (documented, _) = documented.split_once("\n# The same").unwrap();
    let documented: BTreeSet<&str> =
        documented.lines().filter_map(|line| line.strip_prefix("#   ")?.split(' ').next()).collect();
    assert_eq!(files, documented);

    let open = directory.path().to_str().unwrap();
    done("tar", &["-xzf", &tarballs[0], "-C", open], &[], PATIENCE).await;
    let open = directory.path().join(folder);
    let read = |file: &str| fs::read_to_string(open.join(file)).unwrap();
    check_sums(&open).await;
    for text in [read("sidespan.cdx.json"), read("LICENCES.txt")] {
        assert!(text.contains("librdkafka") || text.contains("rdkafka-sys"));
        assert!(text.contains("openssl-src"), "OpenSSL is linked by it");
        assert!(!text.contains(ROOT), "where it was made is nobody's business");
    }
}

#[tokio::test]
#[ignore = "compiles a release"]
async fn a_release_runs_in_the_image_and_is_small_enough() {
    let directory = tempfile::tempdir().unwrap();
    let architecture = if ARCH == "aarch64" { "arm64" } else { "amd64" };
    let out = directory.path().join("out");
    done(".ci/stage", &[architecture, out.to_str().unwrap()], &[], BUILD).await;
    let program = out.join("sidespan");
    let name = program.to_str().unwrap();
    needs_only_the_base(name, &[]).await;
    knows_the_glibc_of_the_base(name).await;
    assert!(holds_no_path_of(&program, ROOT), "the program tells where it was compiled");
    let sections = done("readelf", &["-S", "--wide", name], &[], PATIENCE).await.output;
    assert!(sections.contains(".dep-v0"), "the list of dependencies is not in the program");
    serves(name).await;
    done("gzip", &["-9", name], &[], PATIENCE).await;
    let size = fs::metadata(program.with_extension("gz")).unwrap().len();
    assert!(size <= PROGRAM, "{size} bytes, compressed");
}

async fn check_sums(folder: &Path) {
    let check = format!("cd '{}' && sha256sum --quiet --check SHA256SUMS", folder.display());
    done("sh", &["-c", &check], &[], PATIENCE).await;
}

fn holds_no_path_of(program: &Path, path: &str) -> bool {
    !fs::read(program).unwrap().windows(path.len()).any(|window| window == path.as_bytes())
}

/// How many bytes the program may take of the image, compressed: 45 MB, less what the base may.
const PROGRAM: u64 = 30_000_000;
