//! From where on durable groups need their messages.

use sidespan_bridge::{Pattern, Topic};

use crate::groups::Groups;
use crate::saved::Saved;

/// What each durable group has not settled, as far as retention must know.
#[derive(Debug)]
pub(super) struct Floors(Vec<Floor>);

#[derive(Debug)]
struct Floor {
    group: Box<str>,
    pattern: Pattern,
    /// The first sequence that is not settled.
    floor: u64,
}

impl Floors {
    /// Looks at the groups that live, and at cursors that are not taken over yet.
    pub(super) fn look<'a>(groups: &Groups, begun: impl Iterator<Item = &'a Saved>) -> Self {
        let begun = begun.map(|saved| Floor {
            group: saved.name.clone(),
            pattern: saved.pattern.clone(),
            floor: saved.floor(),
        });
        let living = groups.all().into_iter().map(|group| {
            let (pattern, floor) = group.floor();
            Floor { group: group.name().into(), pattern, floor }
        });
        Self(living.chain(begun).collect())
    }

    /// Returns the first sequence of a topic that some group has not settled.
    pub(super) fn of(&self, topic: &Topic) -> u64 {
        let readers = self.0.iter().filter(|floor| floor.pattern.matches(topic));
        readers.map(|floor| floor.floor).min().unwrap_or(u64::MAX)
    }

    /// Returns the group that is furthest behind.
    pub(super) fn slowest(&self) -> Option<&str> {
        self.0.iter().min_by_key(|floor| floor.floor).map(|floor| &*floor.group)
    }
}
