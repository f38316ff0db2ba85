//! The keeper's state and its loop.
//!
//! A wake-up has four parts, in this order: what is ready is taken in; what
//! has to be recorded is recorded, in one write; launches that are recorded go
//! to launchers; what is to be told is told, in as few packets as it takes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ardock_launch::Home;
use rustix::event::epoll::EventFlags;

use crate::config::Config;
use crate::janitor::{Janitor, Remains};
use crate::oom::Look;
use crate::orphans::Orphan;
use crate::poll::{Poll, Ready, NO_KEY};
use crate::pool::Pool;
use crate::pump::{Tap, CHUNK};
use crate::roots::Roots;
use crate::run_folder::RunFolder;
use crate::server::Connection;
use crate::slab::{Key, Slab};
use crate::store::Journal;
use crate::unit::{Phase, Unit, MAX_DESCRIPTORS};
use crate::wake::Wake;
use crate::writers::Writers;

pub use crate::poll::Kind;

/// How long the keeper waits for its first engine.
pub const GRACE: Duration = Duration::from_secs(3);
/// How long it stays without a container and a connection afterwards: for an
/// engine whose connection broke off. One that comes later starts another.
const LINGER: Duration = Duration::from_millis(200);
/// How often the run folder is looked for.
const LOOK: Duration = Duration::from_secs(10);
/// Descriptors that are not for containers: launchers, connections, threads,
/// and those of launches on their way.
const OTHER_DESCRIPTORS: u32 = 1024;
/// Captured output in all units together.
const MAX_CAPTURES: usize = 256 * 1024 * 1024;

/// Descriptors counted for containers.
#[derive(Debug)]
pub struct Descriptors {
    limit: u32,
    used: u32,
}

impl Descriptors {
    /// Under a limit of the process.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX).min(1 << 22);
        // A small limit (tests) still leaves most of itself.
        Self { limit: limit.saturating_sub(OTHER_DESCRIPTORS.min(limit / 4)), used: 0 }
    }

    /// How many more containers there is room for.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.limit.saturating_sub(self.used) / MAX_DESCRIPTORS
    }

    /// Sets what a unit has.
    pub fn set(&mut self, reserved: &mut u32, now: u32) {
        self.used = self.used + now - *reserved;
        *reserved = now;
    }

    /// A unit has fewer.
    pub fn free(&mut self, reserved: &mut u32, count: u32) {
        let now = reserved.saturating_sub(count);
        self.set(reserved, now);
    }
}

/// Bytes of captured output in memory.
#[derive(Debug, Default)]
pub struct Captures {
    /// So many now.
    pub used: usize,
}

impl Captures {
    /// How many more there may be.
    #[must_use]
    pub fn left(&self) -> usize {
        MAX_CAPTURES.saturating_sub(self.used)
    }
}

/// Numbers for `info`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Programs that ran.
    pub started: u64,
    /// Launches that failed.
    pub failed: u64,
    /// Launches given up at their deadline.
    pub late: u64,
    /// Exits recorded.
    pub exits: u64,
    /// Connections that ended by a fault of theirs.
    pub faults: u64,
    /// Wake-ups of the loop.
    pub wakeups: u64,
    /// Packets sent to engines.
    pub packets: u64,
}

/// Everything.
#[derive(Debug)]
pub struct Keeper {
    pub(crate) config: Config,
    pub(crate) run_folder: RunFolder,
    pub(crate) home: Arc<Home>,
    pub(crate) poll: Poll,
    pub(crate) listener: OwnedFd,
    pub(crate) wake: Arc<Wake>,
    pub(crate) connections: Slab<Connection>,
    pub(crate) units: Slab<Unit>,
    /// Containers by id.
    pub(crate) ids: HashMap<String, Key>,
    pub(crate) taps: Slab<Tap>,
    pub(crate) orphans: Slab<Orphan>,
    /// When to look for children that nobody knows, if there may be some.
    pub(crate) search: Option<Instant>,
    pub(crate) searches_left: u32,
    pub(crate) pool: Pool,
    pub(crate) writers: Writers,
    pub(crate) janitor: Janitor,
    pub(crate) remains: Vec<Remains>,
    pub(crate) roots: Roots,
    pub(crate) journal: Journal,
    /// Exits whose records are on their way, with the journal's ticket.
    pub(crate) recording: VecDeque<(u64, Vec<Key>)>,
    /// Exits of this wake-up.
    pub(crate) fresh: Vec<Key>,
    /// Starts that are held back, by when they are to be told.
    pub(crate) held_back: BinaryHeap<Reverse<(Instant, Key)>>,
    /// Counts of kills that are to be looked at again.
    pub(crate) looks: Vec<Look>,
    pub(crate) descriptors: Descriptors,
    pub(crate) captures: Captures,
    pub(crate) counters: Counters,
    pub(crate) last_seq: u64,
    /// Units that are kept for their pipes alone.
    pub(crate) lingering: usize,
    /// An engine has been here.
    pub(crate) served: bool,
    /// Since when there is nothing to live for.
    pub(crate) alone: Option<Instant>,
    /// When to look whether the run folder is still there, if that matters.
    pub(crate) next_look: Option<Instant>,
    /// For reading pipes and packets.
    pub(crate) buffer: Vec<u8>,
}

impl Keeper {
    /// Runs until there is nothing to live for.
    pub fn run(&mut self) {
        self.buffer = vec![0; CHUNK + 1];
        self.alone = Some(Instant::now());
        let listening = self.poll.add(self.listener.as_fd(), Kind::Listener, NO_KEY, 0, EventFlags::IN);
        let waking = self.poll.add(self.wake.fd(), Kind::Wake, NO_KEY, 0, EventFlags::IN);
        let making = self.poll.add(self.pool.zygote_socket(), Kind::Zygote, NO_KEY, 0, EventFlags::IN);
        if listening.and(waking).and(making).is_err() {
            return;
        }
        self.grow_pool();
        while !self.is_over() {
            self.note_idleness();
            let until = self.next_time();
            for ready in self.poll.wait(until) {
                self.take_in(ready);
            }
            self.counters.wakeups += 1;
            self.look_at_the_time();
            self.commit();
            self.dispatch();
            self.let_go_of_roots();
            self.janitor.take(std::mem::take(&mut self.remains));
            self.tell_all();
        }
    }

    fn take_in(&mut self, ready: Ready) {
        let Ready { kind, key, part, flags } = ready;
        match kind {
            Kind::Listener => self.accept(),
            Kind::Wake => {
                self.wake.clear();
                for unit in self.writers.relieved() {
                    self.log_relieved(unit);
                }
            }
            Kind::Zygote => self.zygote_answered(),
            Kind::Connection => self.connection_ready(key, flags),
            Kind::Launcher => self.launcher_ready(key, flags),
            Kind::LauncherDeath => self.launcher_died(key),
            Kind::Stream => self.stream_ready(key, usize::from(part)),
            Kind::Tap => self.tap_ready(key, flags),
            Kind::Exit => self.program_ended(key),
            Kind::Orphan => self.orphan_ended(key),
            Kind::Oom => self.oom_ready(key),
        }
    }

    /// When the loop has to wake by itself.
    fn next_time(&mut self) -> Option<Instant> {
        // Most starts that were held back are told by now, with their ends.
        while let Some(Reverse((_, key))) = self.held_back.peek() {
            if self.units.get(*key).is_some_and(|unit| unit.is_running() && !unit.told_start) {
                break;
            }
            self.held_back.pop();
        }
        let held_back = self.held_back.peek().map(|Reverse((time, _))| *time);
        // With remains left the janitor rings when they are gone.
        let alone = self.alone.filter(|_| !self.janitor.has_more_than(0)).map(|since| since + self.grace());
        let kills = self.next_look_for_kills();
        [held_back, alone, kills, self.pool.next_deadline(), self.pool.next_shrinking(), self.search, self.next_look]
            .into_iter()
            .flatten()
            .min()
    }

    fn look_at_the_time(&mut self) {
        let now = Instant::now();
        while self.held_back.peek().is_some_and(|Reverse((time, _))| *time <= now) {
            if let Some(Reverse((_, key))) = self.held_back.pop() {
                self.tell_start(key);
            }
        }
        self.look_for_kills(now);
        self.give_up_late_launches(now);
        self.shrink_pool(now);
        if self.search.is_some_and(|time| time <= now) {
            self.search_orphans(now);
        }
    }

    /// Notes since when there is nothing to live for. Each part of a wake-up,
    /// the last one too, may end a connection or forget a unit.
    fn note_idleness(&mut self) {
        let idle = self.units.is_empty() && self.connections.is_empty() && self.orphans.is_empty();
        self.alone = if idle { self.alone.or_else(|| Some(Instant::now())) } else { None };
        // Unacknowledged exits keep the keeper, unless nobody can ever ask for
        // them: the run folder was removed.
        let over = !idle && self.connections.is_empty() && self.units.iter().all(|(_, unit)| unit.is_over());
        self.next_look = over.then(|| Instant::now() + LOOK);
        if over && self.run_folder.is_gone() {
            self.units.keys().into_iter().for_each(|key| self.drop_unit(key));
        }
    }

    fn grace(&self) -> Duration {
        if self.served {
            LINGER
        } else {
            GRACE
        }
    }

    fn is_over(&self) -> bool {
        self.alone.is_some_and(|since| since.elapsed() >= self.grace()) && self.janitor.dying() == 0
    }

    /// Writes what has to be recorded and takes note of what that makes fit to
    /// be told.
    fn commit(&mut self) {
        if self.journal.wants_compaction(self.ids.is_empty()) {
            self.compact();
        }
        let ticket = self.journal.commit(&self.writers);
        if !self.fresh.is_empty() {
            self.recording.push_back((ticket, std::mem::take(&mut self.fresh)));
        }
        let done = self.journal.done(&self.writers);
        while self.recording.front().is_some_and(|(ticket, _)| *ticket <= done) {
            for key in self.recording.pop_front().map(|(_, keys)| keys).unwrap_or_default() {
                if let Some(unit) = self.units.get_mut(key) {
                    unit.recorded = true;
                    self.tell(key);
                }
            }
        }
    }

    /// Takes a unit out of every table; what it holds is closed.
    pub(crate) fn drop_unit(&mut self, key: Key) {
        let Some(mut unit) = self.units.remove(key) else { return };
        if matches!(unit.phase, Phase::Lingering) {
            self.lingering -= 1;
        }
        for stream in unit.streams.iter_mut().flatten() {
            if let Some(fd) = &stream.fd {
                let _ = self.poll.remove(fd.as_fd());
            }
            self.end_taps(std::mem::take(&mut stream.taps));
            self.captures.used = self.captures.used.saturating_sub(stream.captured.len());
        }
        if let Some(watch) = &unit.oom_watch {
            let _ = self.poll.remove(watch.fd());
        }
        if let (Some(pidfd), Phase::Running) = (&unit.pidfd, &unit.phase) {
            let _ = self.poll.remove(pidfd.as_fd());
        }
        self.descriptors.set(&mut unit.reserved, 0);
        if self.ids.get(&unit.id) == Some(&key) {
            self.ids.remove(&unit.id);
        }
        if let Some(container) = unit.container {
            self.exec_is_gone(container, key);
        }
    }
}
