//! How many subscriptions may be made at run time.

use super::Subscriptions;
use crate::config::Name;
use crate::error::Error;

/// A place for a subscription that is being made. Once it is known, it counts by itself.
pub(super) struct Room<'a> {
    subscriptions: &'a Subscriptions,
    name: Name,
}

impl Subscriptions {
    /// Takes a place for a subscription that is about to be made: those that are made at the same time count, too.
    ///
    /// # Errors
    ///
    /// `Limited` where there is none.
    pub(super) fn make_room(&self, name: &Name) -> Result<Room<'_>, Error> {
        let mut book = self.book();
        let made = book.made();
        let most = book.config().registry.as_ref().map(|registry| registry.max_subscriptions);
        if most.is_some_and(|most| made >= most) {
            return Err(Error::Limited {
                limit: "registry.max_subscriptions",
                reason: format!("there are {made} subscriptions that were made at run time"),
            });
        }
        book.begin_to_make(name);
        Ok(Room { subscriptions: self, name: name.clone() })
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.subscriptions.book().end_to_make(&self.name);
    }
}
