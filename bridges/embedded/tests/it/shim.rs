//! What stands between a process and its files: see `shim.c`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A library that a process loads before all others.
pub(crate) struct Shim {
    dir: tempfile::TempDir,
}

impl Shim {
    /// Compiles it; `None`, and said, where that cannot be done.
    pub(crate) fn compile() -> Option<Self> {
        let shim = Self { dir: tempfile::TempDir::new().unwrap() };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/shim.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(shim.path("shim.so")).arg(source).arg("-ldl");
        let compiled = compiler.status();
        if !compiled.is_ok_and(|status| status.success()) {
            println!("skipped: there is no C compiler (cc) that can make a shared library");
            return None;
        }
        Some(shim)
    }

    /// Puts it between a process and a directory.
    pub(crate) fn stand_between(&self, process: &mut Command, dir: &Path) {
        process.env("LD_PRELOAD", self.path("shim.so"));
        process.env("SHIM_DIR", dir);
    }

    /// Returns a place beside it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
