//! A root directory with what the image holds, and nothing else.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use sidespan_test_support::Launch;
use tempfile::TempDir;

use crate::ROOT;
use crate::dockerfile::image;
use crate::libraries::linked;

/// The root of a container, and its volume.
pub(crate) struct Room {
    root: TempDir,
    volume: TempDir,
}

impl Room {
    /// Lays out the image: the program and its libraries, authorities, and a configuration.
    pub(crate) async fn new(program: &str, config: &str) -> Self {
        let room = Self { root: tempfile::tempdir().unwrap(), volume: tempfile::tempdir().unwrap() };
        for folder in ["proc", "dev", "tmp", "etc/sidespan", "var/lib/sidespan"] {
            fs::create_dir_all(room.path(folder)).unwrap();
        }
        fs::write(room.path("etc/passwd"), "nonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n").unwrap();
        fs::write(room.path("etc/sidespan/config.yaml"), config).unwrap();
        room.take(Path::new(program), "/usr/local/bin/sidespan");
        for library in linked(program).await {
            room.take(&library, library.to_str().unwrap());
        }
        let authorities = Path::new("/etc/ssl/certs/ca-certificates.crt");
        if authorities.exists() {
            room.take(authorities, "/etc/ssl/certs/ca-certificates.crt");
        }
        // Only root can give it away; for others it is theirs already.
        let _ = chown(room.volume.path(), Some(65532), Some(65532));
        room
    }

    /// Begins to run a program in it, as the image says.
    pub(crate) fn launch(&self, program: &[&str]) -> Launch {
        let places = [self.root.path(), self.volume.path()].map(|path| path.to_str().unwrap());
        let launch = Launch::new(&format!("{ROOT}/tests/image/enter"));
        let launch = launch.arguments(&[&places, program].concat());
        image().environment.iter().fold(launch, |launch, (name, value)| launch.env(name, value))
    }

    /// Returns what is in the volume.
    pub(crate) fn written(&self) -> Vec<PathBuf> {
        fs::read_dir(self.volume.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    fn take(&self, from: &Path, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}
