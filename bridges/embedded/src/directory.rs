//! The directory of a log: its format, and who owns it.
//!
//! Three files: `format` holds the version of everything else and is read before anything is
//! touched; `lock` is locked by the owner for as long as it lives and names it; `log.redb` is the
//! store. For a moment there is a fourth, `space`, when a disk that was full is tried. The operating
//! system lets go of the lock when the owner dies, so that a lock that is free but still names
//! somebody tells of an unclean stop.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sidespan_bridge::{Error, Fault};
use tracing::warn;

use crate::fault;

/// A directory that this process owns.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    lock: File,
    /// The last owner went away without saying so.
    pub(crate) unclean: bool,
}

impl Directory {
    /// Takes possession of a directory, making it if need be.
    pub(crate) fn claim(path: &Path) -> Result<Self, Error> {
        check_format(path)?;
        let wrong = |error| fault::directory(path, error);
        make(path).map_err(wrong)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(wrong)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(path, &mut lock)),
            Err(TryLockError::Error(error)) => return Err(wrong(error)),
        }
        let unclean = !owner(&mut lock).is_empty();
        let since = humantime::format_rfc3339_seconds(SystemTime::now());
        note(&mut lock, &format!("process {} since {since}", std::process::id()));
        let directory = Self { path: path.to_owned(), lock, unclean };
        clear(path).map_err(wrong)?;
        directory.write_format().map_err(wrong)?;
        Ok(directory)
    }

    /// Returns where the directory is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where the store is.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Makes what was created in the directory survive a power cut.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Gives the directory up after everything is stored.
    pub(crate) fn release(mut self) {
        note(&mut self.lock, "");
    }

    fn write_format(&self) -> io::Result<()> {
        let file = self.path.join(FORMAT);
        if file.exists() {
            return Ok(());
        }
        let fresh = self.path.join(FORMAT_FRESH);
        let mut out = File::create(&fresh)?;
        out.write_all(format!("{VERSION}\n").as_bytes())?;
        out.sync_all()?;
        fs::rename(&fresh, &file)?;
        self.sync()
    }
}

/// Tells whether there is space for so many bytes more, by taking it for a moment: what the system
/// says of free space tells of no quota. Blocks.
pub(crate) fn has_space(path: &Path, bytes: u64) -> io::Result<bool> {
    let taken = take(&path.join(SPACE), bytes);
    clear(path)?;
    match taken {
        Err(error) if fault::is_full_io(&error) => Ok(false),
        taken => taken.map(|()| true),
    }
}

fn take(file: &Path, bytes: u64) -> io::Result<()> {
    let mut out = File::create(file)?;
    io::copy(&mut io::repeat(1).take(bytes), &mut out)?;
    out.sync_all()
}

/// Removes what [`has_space`] has left if it was killed.
fn clear(path: &Path) -> io::Result<()> {
    match fs::remove_file(path.join(SPACE)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes a directory that only its owner can look into: messages are nobody else's business.
fn make(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Refuses a directory that another version wrote, before anything in it is touched.
fn check_format(path: &Path) -> Result<(), Error> {
    let name = path.display();
    let refuse = |detail: String| Err(Error::new(Fault::Conflict).detail(detail));
    match fs::read_to_string(path.join(FORMAT)) {
        Ok(text) if text.trim() == VERSION => Ok(()),
        Ok(text) => {
            let found: String = text.trim().chars().take(20).collect();
            refuse(format!(
                "the embedded log in {name} has format {found:?} and this Sidespan reads format {VERSION:?}: \
                 use the version that wrote it, or another dir"
            ))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if path.join(DATABASE).exists() {
                return refuse(format!(
                    "the embedded log in {name} lacks its file \"{FORMAT}\", which tells who can read it: \
                     restore that file from the backup too, or use another dir"
                ));
            }
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            refuse(format!("the file \"{FORMAT}\" in {name} is no text: this is no log of Sidespan's"))
        }
        Err(error) => Err(fault::directory(path, error)),
    }
}

fn in_use(path: &Path, lock: &mut File) -> Error {
    let owner = Some(owner(lock)).filter(|owner| !owner.is_empty());
    let owner = owner.unwrap_or_else(|| "another process".to_owned());
    let name = path.display();
    Error::new(Fault::Unavailable).detail(format!(
        "the embedded log in {name} is in use by {owner}: stop that one, or set dir to a directory of its own"
    ))
}

fn owner(lock: &mut File) -> String {
    let mut text = [0; NOTE];
    let read = lock.rewind().and_then(|()| lock.read(&mut text));
    let text = text.get(..read.unwrap_or_default()).unwrap_or_default();
    String::from_utf8_lossy(text).trim().to_owned()
}

/// Overwrites the whole note in place, which needs no space on a disk that is full by now.
fn note(lock: &mut File, text: &str) {
    let written = lock.rewind().and_then(|()| lock.write_all(format!("{text:<NOTE$}").as_bytes()));
    if let Err(error) = written {
        warn!(%error, "cannot note the owner in the lock of the embedded log");
    }
}

const DATABASE: &str = "log.redb";
const FORMAT: &str = "format";
const FORMAT_FRESH: &str = "format.new";
const LOCK: &str = "lock";
const SPACE: &str = "space";
const VERSION: &str = "1";
/// Bytes of the note about the owner.
const NOTE: usize = 64;
