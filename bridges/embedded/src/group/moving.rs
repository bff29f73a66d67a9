//! A group that is moved: lifted while nobody is a member, and put down elsewhere.

use std::sync::Arc;

use super::Group;
use crate::index::Matching;
use crate::saved::Saved;

/// A group that nobody can join: it is put down where it was when this is dropped.
#[derive(Debug)]
pub(crate) struct Lifted(Arc<Group>);

impl Group {
    /// Waits until nobody is a member, and keeps it so.
    pub(crate) async fn lift(self: &Arc<Self>) -> Lifted {
        loop {
            if let Some(lifted) = self.try_lift() {
                return lifted;
            }
            self.vacated.notified().await;
        }
    }

    fn try_lift(self: &Arc<Self>) -> Option<Lifted> {
        let mut state = self.lock();
        let is_free = !state.lifted && state.board.is_deserted();
        is_free.then(|| {
            state.lifted = true;
            Lifted(Arc::clone(self))
        })
    }
}

impl Lifted {
    /// Returns the group.
    pub(crate) fn group(&self) -> &Arc<Group> {
        &self.0
    }
}

impl Group {
    /// Takes over a cursor that is stored by now; what was unsettled is forgotten.
    pub(crate) fn put_down(&self, saved: Saved) {
        let mut state = self.lock();
        state.retire();
        state.backlog = saved.open;
        state.next = saved.next;
        state.matching = Matching::new(saved.pattern);
        let version = state.version;
        drop(state);
        self.saved(version);
    }
}

impl Drop for Lifted {
    fn drop(&mut self) {
        self.0.lock().lifted = false;
        self.0.vacated.notify_one();
        // What changed before it was lifted is yet to be stored.
        self.0.log.queue.stir();
    }
}
