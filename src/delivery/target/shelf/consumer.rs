//! One who fetches from a shelf and stays.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Amount, Draining, Lease, Shelf};

/// One who fetches and stays. Dropped, its leases end.
pub struct Consumer {
    pub(super) shelf: Arc<Shelf>,
    pub(super) number: u64,
}

impl Consumer {
    /// Fetches as [`Shelf::fetch`] does.
    ///
    /// # Errors
    ///
    /// The server is stopping.
    pub async fn fetch(&self, most: Amount, until: Instant) -> Result<Vec<Lease>, Draining> {
        self.shelf.fetch_for(Some(self.number), most, until).await
    }

    /// Returns the shelf.
    pub fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// Returns what it is known by on its shelf.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shelf.leave(self.number);
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("number", &self.number).finish_non_exhaustive()
    }
}
