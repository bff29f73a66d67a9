//! Records of registries, compared and written.

use redb::{ReadableTable, ReadableTableMetadata};
use sidespan_bridge::{Error, Fault, MOST_RECORDS, Revision, outdated};

use super::draft::Draft;
use crate::bulletin::{Entry, Kept, Wish};
use crate::store::REGISTRIES;

impl Draft<'_> {
    /// Writes a record, or removes it, if it still has the revision that its writer expects.
    pub(super) fn keep(&mut self, wish: &Wish) -> Result<Result<Revision, Error>, redb::Error> {
        let Wish { registry, key, value, expected } = wish;
        // Nobody can know yet what this transaction writes.
        if self.change.kept.iter().any(|kept| kept.registry == *registry && kept.key == *key) {
            return Ok(Err(outdated(key)));
        }
        let mut table = self.txn.open_table(REGISTRIES)?;
        let name = (&**registry, &**key);
        let found = table.get(name)?.and_then(|row| Entry::from_row(name, row.value()));
        let is_new = found.is_none();
        if found.map_or(Revision::NONE, |entry| entry.revision) != *expected {
            return Ok(Err(outdated(key)));
        }
        let revision = Revision(self.change.meta.commits);
        match value {
            Some(value) => {
                if is_new && table.len()? >= MOST_RECORDS as u64 {
                    let detail =
                        format!("the embedded log keeps at most {MOST_RECORDS} records: remove some");
                    return Ok(Err(Error::new(Fault::StorageFull).detail(detail)));
                }
                let entry = Entry { revision, value: value.clone() };
                table.insert(name, entry.to_row(name)?.as_slice())?;
            }
            None => drop(table.remove(name)?),
        }
        let value = value.clone();
        self.change.kept.push(Kept { registry: registry.clone(), key: key.clone(), value, revision });
        Ok(Ok(revision))
    }
}
