//! The root file systems that engines have handed over: whose they are, and
//! when they are let go of.

use std::collections::HashMap;

use crate::core::Keeper;
use crate::janitor::Remains;
use crate::slab::Key;
use crate::unit::Phase;

/// Roots by key, each with the connection that brought it.
#[derive(Debug, Default)]
pub struct Roots {
    brought_by: HashMap<u32, Key>,
    /// One more than the greatest key ever used: an engine that begins there
    /// meets none that is still being let go of.
    next: u32,
    /// Connections that have ended and whose roots are still here.
    ended: Vec<Key>,
}

impl Roots {
    /// A connection has brought one.
    pub fn add(&mut self, key: u32, connection: Key) {
        self.brought_by.insert(key, connection);
        self.next = self.next.max(key.saturating_add(1));
    }

    /// One was let go of by its key.
    pub fn remove(&mut self, key: u32) {
        self.brought_by.remove(&key);
    }

    /// See [`Roots::next`].
    #[must_use]
    pub fn next(&self) -> u32 {
        self.next
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.brought_by.len()
    }

    /// A connection has ended.
    pub fn end(&mut self, connection: Key) {
        if self.brought_by.values().any(|of| *of == connection) {
            self.ended.push(connection);
        }
    }

    /// Takes out the roots of ended connections that nothing waits for.
    fn take_unused(&mut self, is_awaited: impl Fn(Key) -> bool) -> Vec<u32> {
        let (ended, unused) = self.ended.drain(..).partition(|connection| is_awaited(*connection));
        self.ended = ended;
        let unused: Vec<Key> = unused;
        self.brought_by.extract_if(|_, connection| unused.contains(connection)).map(|(key, _)| key).collect()
    }
}

impl Keeper {
    /// Lets go of what ended connections have brought, once no launch that
    /// they had asked for is still to find it there.
    pub(crate) fn let_go_of_roots(&mut self) {
        if self.roots.ended.is_empty() {
            return;
        }
        let units = &self.units;
        let unused = self.roots.take_unused(|connection| {
            let waits = |unit: &crate::unit::Unit| matches!(unit.phase, Phase::Queued | Phase::Launching);
            units.iter().any(|(_, unit)| unit.asked_by == connection && waits(unit))
        });
        // Unmounting waits for RCU, so it is the janitors'.
        self.remains.extend(unused.into_iter().map(|key| Remains { root: Some(key), ..Remains::default() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(index: u32) -> Key {
        Key { index, generation: 1 }
    }

    #[test]
    fn roots_go_with_their_connection_once_nothing_waits_for_them() {
        let mut roots = Roots::default();
        assert_eq!(roots.next(), 0);
        for (key, of) in [(3, 1), (9, 1), (4, 2)] {
            roots.add(key, connection(of));
        }
        roots.remove(9);
        assert_eq!((roots.next(), roots.len()), (10, 2));
        assert!(roots.take_unused(|_| false).is_empty(), "nobody has ended");
        roots.end(connection(1));
        roots.end(connection(3));
        assert!(roots.take_unused(|_| true).is_empty(), "a launch waits");
        assert_eq!(roots.take_unused(|_| false), [3]);
        assert!(roots.take_unused(|_| false).is_empty(), "once");
        assert_eq!((roots.next(), roots.len()), (10, 1));
    }
}
