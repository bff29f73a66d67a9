//! What the store's errors mean to callers.

use std::io::ErrorKind;
use std::path::Path;

use sidespan_bridge::{Error, Fault};

/// Returns what a failure of the store means to those who wanted something of it.
pub(crate) fn fault(error: &redb::Error) -> Fault {
    if is_full(error) { Fault::StorageFull } else { Fault::Unavailable }
}

/// Tells whether there is no space left on the disk.
pub(crate) fn is_full(error: &redb::Error) -> bool {
    match error {
        redb::Error::Io(error) => is_full_io(error),
        // The enum is the library's and may grow; all that is not about space is alike to us.
        _ => false,
    }
}

/// Tells whether a page cannot be read as what it should be.
pub(crate) fn is_corrupted(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Corrupted(_))
}

/// Says that something stored is not what was written.
pub(crate) fn corrupted(what: impl Into<String>) -> redb::Error {
    redb::Error::Corrupted(what.into())
}

/// Says what is wrong with the directory of a log, and what to do.
pub(crate) fn directory(dir: &Path, error: std::io::Error) -> Error {
    let name = dir.display();
    let (fault, detail) = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => (
            Fault::Denied,
            format!(
                "cannot write in the directory {name} of the embedded log: make it writable, or set dir to another"
            ),
        ),
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists | ErrorKind::IsADirectory => (
            Fault::Invalid,
            format!("{name} is not a usable directory for the embedded log: set dir to another"),
        ),
        kind if is_full_io(&error) => (
            Fault::StorageFull,
            format!("there is no space for the embedded log in {name} ({kind}): free some"),
        ),
        kind => (Fault::Unavailable, format!("the embedded log in {name} cannot be opened: {kind}")),
    };
    Error::new(fault).detail(detail).because(error)
}

/// Says why the database of a log cannot be opened, and what to do.
pub(crate) fn opening(dir: &Path, error: redb::Error) -> Error {
    let name = dir.display();
    match error {
        redb::Error::Io(error) => directory(dir, error),
        redb::Error::Corrupted(_) => {
            let detail = format!("the embedded log in {name} is damaged: move it away, or restore a backup");
            Error::new(Fault::Unavailable).detail(detail).because(error)
        }
        redb::Error::UpgradeRequired(_) => {
            let detail = format!("the embedded log in {name} was written by another version of Sidespan");
            Error::new(Fault::Conflict).detail(detail).because(error)
        }
        error => {
            let detail = format!("the embedded log in {name} cannot be opened");
            Error::new(Fault::Unavailable).detail(detail).because(error)
        }
    }
}

/// Says that the bridge is closed.
pub(crate) fn closed() -> Error {
    Error::new(Fault::Unavailable).detail("the embedded log is closed")
}

/// Tells whether the system says that there is no space left.
pub(crate) fn is_full_io(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
