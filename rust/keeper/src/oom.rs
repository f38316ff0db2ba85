//! Kills for want of memory while a container goes on running.
//!
//! The kernel's notice says that one is near; how many there were is the
//! group's own count, which is what an engine is told. Where the notice comes
//! before the count has grown, the count is looked at again a few times.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;

use crate::core::{Keeper, Kind};
use crate::slab::Key;

/// Pauses between looks at the count, doubling: 1 s in all. The kernel kills
/// within microseconds of its notice, unless memory came free meanwhile.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LOOKS: u32 = 10;

/// A count that is to be looked at again.
#[derive(Debug)]
pub struct Look {
    unit: Key,
    at: Instant,
    /// How often it was looked at in vain.
    looks: u32,
}

impl Keeper {
    /// Begins to wait for kills in a container that was just started.
    pub(crate) fn watch_oom(&mut self, key: Key) {
        let Some(unit) = self.units.get_mut(key) else { return };
        let Some((parent, name)) = &unit.cgroup else { return };
        // Without a notice the exit still tells: the launch is none the worse.
        let Ok(Some(watch)) = self.home.cgroups().watch_oom(parent, name) else { return };
        let flags = if watch.is_urgent() { EventFlags::PRI } else { EventFlags::IN };
        if self.poll.add(watch.fd(), Kind::Oom, key, 0, flags).is_ok() {
            unit.oom_watch = Some(watch);
            // What was killed before this.
            self.count_kills(key);
        }
    }

    /// The kernel's notice.
    pub(crate) fn oom_ready(&mut self, key: Key) {
        let Some(watch) = self.units.get(key).and_then(|unit| unit.oom_watch.as_ref()) else { return };
        watch.clear();
        if !self.count_kills(key) && self.looks.iter().all(|look| look.unit != key) {
            self.looks.push(Look { unit: key, at: Instant::now() + FIRST_PAUSE, looks: 0 });
        }
    }

    /// Looks at a container's count, and tells what is new; false where
    /// nothing is.
    pub(crate) fn count_kills(&mut self, key: Key) -> bool {
        let Some(unit) = self.units.get_mut(key).filter(|unit| unit.oom_watch.is_some()) else { return true };
        let Some((parent, name)) = &unit.cgroup else { return true };
        let kills = self.home.cgroups().oom_kills(parent, name);
        if kills <= unit.oom_kills {
            return false;
        }
        unit.oom_kills = kills;
        self.tell_oom(key);
        true
    }

    /// Ends the waiting at a container's end, with a last look at the count.
    pub(crate) fn end_oom_watch(&mut self, key: Key) {
        self.count_kills(key);
        let Some(watch) = self.units.get_mut(key).and_then(|unit| unit.oom_watch.take()) else { return };
        let _ = self.poll.remove(watch.fd().as_fd());
        self.looks.retain(|look| look.unit != key);
    }

    /// When to look again.
    pub(crate) fn next_look_for_kills(&self) -> Option<Instant> {
        self.looks.iter().map(|look| look.at).min()
    }

    /// Looks again where it is time to.
    pub(crate) fn look_for_kills(&mut self, now: Instant) {
        for mut look in std::mem::take(&mut self.looks) {
            if look.at > now {
                self.looks.push(look);
                continue;
            }
            look.looks += 1;
            if !self.count_kills(look.unit) && look.looks < LOOKS {
                look.at = now + FIRST_PAUSE * 2_u32.pow(look.looks);
                self.looks.push(look);
            }
        }
    }
}
