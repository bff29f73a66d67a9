//! All cases, by theme.

use std::fmt;

use futures_util::future::BoxFuture;

use super::{Ability, Harness};

/// One sentence of the specification.
#[derive(Clone, Copy)]
pub struct Case {
    /// The sentence: the name of the function.
    pub name: &'static str,
    /// What the broker must be able to do for the case to mean something.
    pub needs: &'static [Ability],
    /// It disturbs the broker, or measures time, and runs while no other case does.
    pub alone: bool,
    /// Runs it; panics where the bridge does otherwise.
    pub run: for<'a> fn(&'a dyn Harness) -> BoxFuture<'a, ()>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The specification of a bridge.
pub const CASES: &[Case] = &[];
