//! epoll with tokens that are never mistaken for an earlier owner's.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::Timespec;
use rustix::io::Errno;

use crate::slab::Key;

/// What a descriptor is to the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The listening socket.
    Listener,
    /// A thread rings.
    Wake,
    /// The zygote's socket.
    Zygote,
    /// An engine's socket.
    Connection,
    /// A launcher's socket.
    Launcher,
    /// A launcher's pidfd.
    LauncherDeath,
    /// A program's output.
    Stream,
    /// An attached reader's pipe.
    Tap,
    /// A program's pidfd.
    Exit,
    /// The pidfd of a child that is to be collected and no more.
    Orphan,
    /// The kernel's notice of a kill for want of memory.
    Oom,
}

const KINDS: [Kind; 11] = [
    Kind::Listener,
    Kind::Wake,
    Kind::Zygote,
    Kind::Connection,
    Kind::Launcher,
    Kind::LauncherDeath,
    Kind::Stream,
    Kind::Tap,
    Kind::Exit,
    Kind::Orphan,
    Kind::Oom,
];

/// A decoded event.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// What it is.
    pub kind: Kind,
    /// Whose.
    pub key: Key,
    /// Which of its streams.
    pub part: u8,
    /// What is ready.
    pub flags: EventFlags,
}

/// No entry of a table.
pub const NO_KEY: Key = Key { index: 0, generation: 0 };

/// The epoll.
pub struct Poll {
    fd: OwnedFd,
    events: Vec<Event>,
}

impl fmt::Debug for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poll").field("fd", &self.fd).finish_non_exhaustive()
    }
}

/// Events taken at once.
const EVENTS: usize = 256;

/// 4 bits of kind, 2 of part, 24 of place, 24 of generation.
fn token(kind: Kind, key: Key, part: u8) -> EventData {
    EventData::new_u64(
        (kind as u64) << 50 | u64::from(part) << 48 | u64::from(key.index) << 24 | u64::from(key.generation),
    )
}

fn ready(event: Event) -> Option<Ready> {
    let token = event.data.u64();
    let places = 0x00ff_ffff;
    let key = Key { index: (token >> 24 & places) as u32, generation: (token & places) as u32 };
    let kind = *KINDS.get((token >> 50) as usize)?;
    Some(Ready { kind, key, part: (token >> 48 & 3) as u8, flags: event.flags })
}

impl Poll {
    /// An empty one.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self { fd: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS) })
    }

    /// Begins to wait for a descriptor, level-triggered.
    pub fn add(&self, fd: BorrowedFd<'_>, kind: Kind, key: Key, part: u8, flags: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.fd, fd, token(kind, key, part), flags)
    }

    /// Waits for something else of it.
    pub fn modify(&self, fd: BorrowedFd<'_>, kind: Kind, key: Key, flags: EventFlags) -> Result<(), Errno> {
        epoll::modify(&self.fd, fd, token(kind, key, 0), flags)
    }

    /// Ends waiting for it; to be called before it is closed.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        epoll::delete(&self.fd, fd)
    }

    /// What is ready, at the latest at `until`.
    pub fn wait(&mut self, until: Option<Instant>) -> Vec<Ready> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        self.events.clear();
        // A signal that is not ignored ends the keeper, so the only failure
        // is an interruption by a debugger; the loop goes round.
        let _ = epoll::wait(&self.fd, rustix::buffer::spare_capacity(&mut self.events), left.map(timespec).as_ref());
        self.events.drain(..).filter_map(ready).collect()
    }
}

/// Rounded up to a ms: older kernels wait in ms, and rounded down they would
/// wake the loop over and over in the last one.
fn timespec(duration: Duration) -> Timespec {
    let ms = duration.as_nanos().div_ceil(1_000_000) as i64;
    Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_whole() {
        for (number, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, number, "KINDS is in the enum's order");
            let key = Key { index: 0x00ab_cdef, generation: 0x00fe_dcba };
            let event = Event { flags: EventFlags::IN, data: token(kind, key, 2) };
            let ready = ready(event).unwrap();
            assert_eq!((ready.kind, ready.key, ready.part), (kind, key, 2));
        }
    }
}
