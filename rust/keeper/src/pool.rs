//! Launchers, and the launches that wait for one. What happens between them
//! is in `dispatch`.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use ardock_launch::Slots;
use rustix::io::Errno;
use rustix::process::{pidfd_open, pidfd_send_signal, waitid, Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::janitor::Remains;
use crate::slab::{Key, Slab};
use crate::zygote::Zygote;

/// Launchers from the beginning.
pub const MIN_LAUNCHERS: usize = 2;
/// Launchers at most, besides held ones. A start waits in the kernel as much
/// as it computes, and past this number they are in each other's way.
pub const MAX_LAUNCHERS: usize = 8;
/// Launchers that a hung launch holds; with so many, launches are refused.
pub const MAX_HELD: usize = 32;
/// Launchers that were not needed for so long go, down to the first ones.
const SHRINK: Duration = Duration::from_secs(20);
/// Places for the word that launchers leave.
pub const SLOTS: usize = MAX_LAUNCHERS + MAX_HELD + 24;
/// Launches and execs that an engine may have under way; with as many
/// waiting, the keeper stops reading its connections.
pub const WINDOW: usize = 256;
/// Descriptors of launches that wait.
const MAX_QUEUED_FDS: usize = 512;
/// Bytes of launches that wait.
const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;

/// A launch that waits for a launcher.
#[derive(Debug)]
pub struct Job {
    /// Whose.
    pub unit: Key,
    /// The spec as it came.
    pub spec: Vec<u8>,
    /// Its descriptors.
    pub fds: Vec<OwnedFd>,
    /// How long it may take, ms.
    pub deadline_ms: u32,
    /// The journal's ticket of its record.
    pub ticket: u64,
}

/// What a launcher is doing.
#[derive(Debug)]
pub enum State {
    /// The zygote has not answered yet.
    Starting,
    /// It waits for work.
    Idle,
    /// It launches.
    Busy {
        /// Whose.
        unit: Key,
        /// When it is given up.
        deadline: Instant,
    },
    /// Its launch was given up. What that leaves is tidied away when it
    /// answers or dies; `killed` is the child that was killed.
    Held {
        /// What is left.
        remains: Remains,
        /// The child's process id.
        killed: Option<i32>,
    },
}

/// A launcher process.
#[derive(Debug)]
pub struct Launcher {
    pub(crate) socket: OwnedFd,
    pub(crate) slot: usize,
    pub(crate) state: State,
    pub(crate) pid: i32,
    pub(crate) pidfd: Option<OwnedFd>,
    /// Seccomp programs that it has been given.
    pub(crate) programs: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Pool {
    pub(crate) zygote: Zygote,
    pub(crate) zygote_died: bool,
    pub(crate) slots: Slots,
    pub(crate) free_slots: VecDeque<usize>,
    pub(crate) launchers: Slab<Launcher>,
    /// In the order in which the zygote was asked.
    pub(crate) starting: VecDeque<Key>,
    /// The last used one is taken first: its memory is warm.
    pub(crate) idle: Vec<Key>,
    pub(crate) queue: VecDeque<Job>,
    queued_fds: usize,
    queued_bytes: usize,
    /// When all launchers were last at work.
    pub(crate) last_needed: Instant,
    /// By hash, in the order in which they came.
    pub(crate) programs: Vec<(String, Vec<u8>)>,
}

impl Pool {
    /// An empty one.
    #[must_use]
    pub fn new(zygote: Zygote, slots: Slots) -> Self {
        Self {
            zygote,
            zygote_died: false,
            slots,
            free_slots: (0..SLOTS).collect(),
            launchers: Slab::default(),
            starting: VecDeque::new(),
            idle: Vec::new(),
            queue: VecDeque::new(),
            queued_fds: 0,
            queued_bytes: 0,
            last_needed: Instant::now(),
            programs: Vec::new(),
        }
    }

    /// For epoll.
    pub fn zygote_socket(&self) -> BorrowedFd<'_> {
        self.zygote.socket.as_fd()
    }

    /// Launchers that a hung launch holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.launchers.iter().filter(|(_, launcher)| matches!(launcher.state, State::Held { .. })).count()
    }

    /// Whether no more launches are taken in.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.queue.len() >= WINDOW || self.queued_fds >= MAX_QUEUED_FDS || self.queued_bytes >= MAX_QUEUED_BYTES
    }

    /// The nearest deadline.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self.launchers.iter().filter_map(|(_, launcher)| match launcher.state {
            State::Busy { deadline, .. } => Some(deadline),
            _ => None,
        });
        deadlines.min()
    }

    /// When launchers that are not needed go.
    #[must_use]
    pub fn next_shrinking(&self) -> Option<Instant> {
        (self.idle.len() > MIN_LAUNCHERS).then(|| self.last_needed + SHRINK)
    }

    /// Whether this process is the zygote or a launcher.
    #[must_use]
    pub fn is_ours(&self, pid: i32) -> bool {
        pid == self.zygote.pid || self.launchers.iter().any(|(_, launcher)| launcher.pid == pid)
    }

    /// Adds a launch.
    pub fn enqueue(&mut self, job: Job) {
        self.queued_fds += job.fds.len();
        self.queued_bytes += job.spec.len();
        self.queue.push_back(job);
    }

    /// Puts back the launch that was taken last.
    pub(crate) fn put_back(&mut self, job: Job) {
        self.queued_fds += job.fds.len();
        self.queued_bytes += job.spec.len();
        self.queue.push_front(job);
    }

    /// The next launch.
    pub(crate) fn next(&mut self) -> Option<Job> {
        let job = self.queue.pop_front()?;
        self.queued_fds -= job.fds.len();
        self.queued_bytes -= job.spec.len();
        Some(job)
    }

    /// Ends the zygote and every launcher, and waits for that.
    pub fn end(&mut self) {
        let zygote = open_pid(self.zygote.pid);
        let launchers = self.launchers.keys().into_iter().filter_map(|key| self.launchers.remove(key)?.pidfd);
        for pidfd in launchers.chain(zygote) {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
        }
    }
}

/// A pidfd of a child that has not been reaped.
pub(crate) fn open_pid(pid: i32) -> Result<OwnedFd, Errno> {
    pidfd_open(Pid::from_raw(pid).filter(|_| pid > 1).ok_or(Errno::SRCH)?, PidfdFlags::empty())
}
