//! The database under the log: its tables, and a handle that survives I/O errors.
//!
//! The library refuses everything after an I/O error until the database is opened anew. So the
//! handle can be dropped and opened again while the bridge lives; whoever reads meanwhile is told
//! that the store is not there at the moment.

use std::io::{Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    WriteTransaction,
};

use tracing::{info, warn};

use crate::fault;
use crate::index::{Index, Meta, Row};
use crate::saved::Saved;

/// The end of the log.
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Topics by id.
pub(crate) const TOPICS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("topics");
/// Messages by topic and sequence, so that reading one topic among many does not touch the others.
pub(crate) const RECORDS: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("records");
/// Durable cursors by the name of the group.
pub(crate) const GROUPS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("groups");
/// Which message had a deduplication id, by topic and id.
pub(crate) const SEEN: TableDefinition<'_, (u32, &str), &[u8]> = TableDefinition::new("seen");
/// The same by sequence, so that the oldest are found first.
pub(crate) const SEEN_ORDER: TableDefinition<'_, u64, (u32, &str)> = TableDefinition::new("seen_order");
/// Records of registries, by registry and name. Made by the first record: a log without any can be opened on a disk
/// without space, whichever version wrote it.
pub(crate) const REGISTRIES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("registries");

/// A handle to the database.
#[derive(Debug)]
pub(crate) struct Store {
    file: PathBuf,
    database: RwLock<Option<Database>>,
}

/// What is known once a database is open.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) index: Index,
    pub(crate) groups: Vec<Saved>,
    /// Groups whose cursor is damaged; they begin again.
    pub(crate) damaged: Vec<Box<str>>,
    /// The library had to rebuild its own bookkeeping.
    pub(crate) repaired: bool,
}

impl Store {
    /// Opens a database, making it if need be, and reads all but the messages.
    pub(crate) fn open(file: &Path) -> Result<Opened, redb::Error> {
        let (mut database, repaired) = open(file)?;
        if lacks_tables(&database)? {
            let txn = database.begin_write()?;
            make_tables(&txn)?;
            txn.commit()?;
        }
        let txn = database.begin_read()?;
        let index = read_index(&txn)?;
        let (groups, damaged) = read_groups(&txn)?;
        drop(txn);
        let length = std::fs::metadata(file).map_or(0, |meta| meta.len());
        if length > COMPACT_FROM && length / COMPACT_RATIO > index.bytes() {
            if let Err(error) = database.compact() {
                warn!(%error, "the embedded log could not be compacted and goes on as it is");
                drop(database);
                (database, _) = open(file)?;
            }
            let now = std::fs::metadata(file).map_or(0, |meta| meta.len());
            info!(before = length, now, "compacted the embedded log");
        }
        let store = Self { file: file.to_owned(), database: RwLock::new(Some(database)) };
        Ok(Opened { store, index, groups, damaged, repaired })
    }

    /// Reads. Blocks, so call it where that is allowed, and keep it short.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        self.with(|database| read(&database.begin_read()?))
    }

    /// Writes; what `write` returns has been committed unless there is an error.
    ///
    /// An error within `write` leaves the log as it was. An error of `commit` does not tell: look.
    pub(crate) fn write<T>(
        &self,
        write: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
        committing: &mut bool,
    ) -> Result<T, redb::Error> {
        self.with(|database| {
            let mut txn = database.begin_write()?;
            txn.set_quick_repair(true);
            let value = write(&txn)?;
            *committing = true;
            txn.commit()?;
            Ok(value)
        })
    }

    /// Drops the database and opens it anew, which is the only way on after an I/O error.
    pub(crate) fn reopen(&self) -> Result<bool, redb::Error> {
        self.shut();
        let (database, repaired) = open(&self.file)?;
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
        Ok(repaired)
    }

    /// Closes the database, has the disk take all of the file once more, and opens it again.
    pub(crate) fn renew(&self) -> Result<(), redb::Error> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        drop(database.take());
        rewrite(&self.file)?;
        *database = Some(open(&self.file)?.0);
        Ok(())
    }

    /// Reads anew all but the messages.
    pub(crate) fn reload(&self) -> Result<(Index, Vec<Saved>), redb::Error> {
        self.read(|txn| Ok((read_index(txn)?, read_groups(txn)?.0)))
    }

    /// Tells whether the database is open.
    pub(crate) fn is_open(&self) -> bool {
        self.database.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Closes the database.
    pub(crate) fn shut(&self) {
        drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        // A page that makes no sense may trip an assertion in the library: that is damage as well,
        // and no reason to take the process down.
        catch_unwind(AssertUnwindSafe(|| work(database)))
            .unwrap_or_else(|_| Err(fault::corrupted("the library gave up on a page")))
    }
}

/// Reads the end of the log.
pub(crate) fn read_meta(txn: &ReadTransaction) -> Result<Meta, redb::Error> {
    let table = txn.open_table(META)?;
    let Some(row) = table.get(Meta::KEY)? else { return Ok(Meta::default()) };
    Meta::from_row(row.value()).ok_or_else(|| fault::corrupted("the end of the log"))
}

/// Opens the file; tells whether it had to be repaired.
fn open(file: &Path) -> Result<(Database, bool), redb::Error> {
    let repaired = Arc::new(AtomicBool::new(mend_tail(file)?));
    let flag = Arc::clone(&repaired);
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE);
        builder.set_repair_callback(move |_| flag.store(true, Ordering::Relaxed));
        builder.create(file)
    }));
    let database = opened.map_err(|_| fault::corrupted("the library gave up on the file"))??;
    Ok((database, repaired.load(Ordering::Relaxed)))
}

/// Fills up a page that was torn at the end of the file, which the library would refuse; tells
/// whether there was one.
fn mend_tail(file: &Path) -> std::io::Result<bool> {
    let length = match std::fs::metadata(file) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let is_log = length > PAGE && {
        let mut magic = [0; MAGIC.len()];
        let mut log = std::fs::File::open(file)?;
        log.read_exact(&mut magic)?;
        magic == *MAGIC
    };
    if !is_log || length.is_multiple_of(PAGE) {
        return Ok(false);
    }
    let log = std::fs::OpenOptions::new().write(true).open(file)?;
    log.set_len(length.next_multiple_of(PAGE))?;
    Ok(true)
}

/// Writes every page of a file as it is and flushes it. Pages of zeros may be holes and stay so;
/// pages that cannot be read stay as they are.
fn rewrite(file: &Path) -> std::io::Result<()> {
    let mut log = std::fs::OpenOptions::new().read(true).write(true).open(file)?;
    let mut page = [0; PAGE as usize];
    for at in (0..log.metadata()?.len()).step_by(PAGE as usize) {
        log.seek(SeekFrom::Start(at))?;
        if log.read_exact(&mut page).is_ok() && page.iter().any(|byte| *byte != 0) {
            log.seek(SeekFrom::Start(at))?;
            log.write_all(&page)?;
        }
    }
    log.sync_all()
}

/// Tells whether the file is new. Where it is not, opening it writes nothing, so that a log can be
/// read on a disk without space.
fn lacks_tables(database: &Database) -> Result<bool, redb::Error> {
    match database.begin_read()?.open_table(SEEN_ORDER) {
        Ok(_) => Ok(false),
        Err(TableError::TableDoesNotExist(_)) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Makes tables that do not exist yet, so that readers find them.
fn make_tables(txn: &WriteTransaction) -> Result<(), TableError> {
    txn.open_table(META)?;
    txn.open_table(TOPICS)?;
    txn.open_table(RECORDS)?;
    txn.open_table(GROUPS)?;
    txn.open_table(SEEN)?;
    txn.open_table(SEEN_ORDER)?;
    Ok(())
}

fn read_index(txn: &ReadTransaction) -> Result<Index, redb::Error> {
    let meta = read_meta(txn)?;
    let mut rows = Vec::new();
    for row in txn.open_table(TOPICS)?.iter()? {
        let (id, row) = row?;
        let row = Row::from_row(id.value(), row.value()).filter(|row| row.id as usize == rows.len());
        rows.push(row.ok_or_else(|| fault::corrupted("the list of topics"))?);
    }
    Ok(Index::new(meta, rows))
}

fn read_groups(txn: &ReadTransaction) -> Result<(Vec<Saved>, Vec<Box<str>>), redb::Error> {
    let (mut groups, mut damaged) = (Vec::new(), Vec::new());
    for row in txn.open_table(GROUPS)?.iter()? {
        let (name, row) = row?;
        match Saved::from_row(name.value(), row.value()) {
            Some(saved) => groups.push(saved),
            None => damaged.push(name.value().into()),
        }
    }
    Ok((groups, damaged))
}

/// Bytes of pages kept in memory. The library's own default is 1 GiB.
const CACHE: usize = 4 << 20;
/// Size of a page of the library's files.
const PAGE: u64 = 4096;
/// What the library's files begin with.
const MAGIC: &[u8; 4] = b"redb";
/// A file smaller than this is never compacted.
const COMPACT_FROM: u64 = 64 << 20;
/// A file is compacted when it is this many times larger than what it holds.
const COMPACT_RATIO: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_written_once_more_is_what_it_was() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("log");
        let store = Store::open(&file).unwrap().store;
        let bodies: Vec<Vec<u8>> = (0..200_u32).map(|n| n.to_le_bytes().repeat(2000)).collect();
        let fill = |txn: &WriteTransaction| {
            let mut records = txn.open_table(RECORDS)?;
            for (sequence, body) in bodies.iter().enumerate() {
                records.insert((7, sequence as u64), body.as_slice())?;
            }
            Ok(())
        };
        store.write(fill, &mut false).unwrap();
        store.shut();
        let before = std::fs::read(&file).unwrap();
        rewrite(&file).unwrap();
        assert!(std::fs::read(&file).unwrap() == before);
        store.renew().unwrap();
        let found = store.read(|txn| {
            let records = txn.open_table(RECORDS)?;
            let rows = records.iter()?.map(|row| Ok(row?.1.value().to_vec()));
            rows.collect::<Result<Vec<_>, redb::Error>>()
        });
        assert_eq!(found.unwrap(), bodies);
    }
}
