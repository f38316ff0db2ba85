//! Launchers, the launches that wait for one, and what comes of them.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Instant;

use ardock_launch::{LaunchError, Slots, Step};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal};

use crate::core::{Keeper, Kind};
use crate::handoff::{self, Answer, Head};
use crate::janitor::{Remains, MAX_DYING};
use crate::packet::{self, Received};
use crate::slab::{Key, Slab};
use crate::unit::Phase;
use crate::zygote::{self, Zygote};

/// Launchers from the beginning.
pub const MIN_LAUNCHERS: usize = 2;
/// Launchers at most, besides held ones. A start waits in the kernel as much
/// as it computes, and past this number they are in each other's way.
pub const MAX_LAUNCHERS: usize = 8;
/// Launchers that a hung launch holds; with so many, launches are refused.
pub const MAX_HELD: usize = 32;
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
    programs: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Pool {
    zygote: Zygote,
    zygote_died: bool,
    pub(crate) slots: Slots,
    free_slots: VecDeque<usize>,
    pub(crate) launchers: Slab<Launcher>,
    /// In the order in which the zygote was asked.
    starting: VecDeque<Key>,
    /// The last used one is taken first: its memory is warm.
    pub(crate) idle: Vec<Key>,
    pub(crate) queue: VecDeque<Job>,
    queued_fds: usize,
    queued_bytes: usize,
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

    fn put_back(&mut self, job: Job) {
        self.queued_fds += job.fds.len();
        self.queued_bytes += job.spec.len();
        self.queue.push_front(job);
    }

    fn next(&mut self) -> Option<Job> {
        let job = self.queue.pop_front()?;
        self.queued_fds -= job.fds.len();
        self.queued_bytes -= job.spec.len();
        Some(job)
    }
}

impl Keeper {
    /// Sees to it that there are launchers enough for what waits.
    pub(crate) fn grow_pool(&mut self) {
        let held = self.pool.held();
        let active = self.pool.launchers.len() - held;
        let busy = active - self.pool.idle.len() - self.pool.starting.len();
        let wanted = (busy + self.pool.queue.len()).clamp(MIN_LAUNCHERS, MAX_LAUNCHERS);
        for _ in active..wanted {
            if self.pool.zygote_died || self.pool.free_slots.is_empty() || self.start_launcher().is_err() {
                break;
            }
        }
        if self.pool.launchers.is_empty() {
            while let Some(job) = self.pool.next() {
                let error = LaunchError::because(Step::Clone, "", "the keeper can not make launchers any more");
                self.program_failed(job.unit, error, None);
            }
        }
    }

    fn start_launcher(&mut self) -> Result<(), Errno> {
        let (ours, its) = zygote::pair().map_err(|_| Errno::MFILE)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let Some(slot) = self.pool.free_slots.pop_front() else { return Err(Errno::NOSPC) };
        if let Err(error) = self.pool.zygote.ask(slot, its.as_fd()) {
            self.pool.free_slots.push_back(slot);
            return Err(error);
        }
        let launcher = Launcher { socket: ours, slot, state: State::Starting, pid: 0, pidfd: None, programs: 0 };
        let key = self.pool.launchers.insert(launcher);
        self.pool.starting.push_back(key);
        Ok(())
    }

    /// The zygote tells of new launchers.
    pub(crate) fn zygote_answered(&mut self) {
        loop {
            let pid = match self.pool.zygote.answer() {
                Ok(pid) => pid,
                Err(Errno::AGAIN) => return,
                Err(Errno::PIPE) => {
                    // Its launchers go on; there will be no new ones.
                    self.pool.zygote_died = true;
                    let _ = self.poll.remove(self.pool.zygote.socket.as_fd());
                    for key in std::mem::take(&mut self.pool.starting) {
                        self.remove_launcher(key);
                    }
                    return;
                }
                Err(_) => 0,
            };
            let Some(key) = self.pool.starting.pop_front() else { continue };
            let Some(launcher) = self.pool.launchers.get_mut(key) else { continue };
            let watched = open_pid(pid).and_then(|pidfd| {
                self.poll.add(pidfd.as_fd(), Kind::LauncherDeath, key, 0, EventFlags::IN)?;
                self.poll.add(launcher.socket.as_fd(), Kind::Launcher, key, 0, EventFlags::IN)?;
                Ok(pidfd)
            });
            let Ok(pidfd) = watched else {
                // Its socket closes here, which ends it.
                self.remove_launcher(key);
                continue;
            };
            launcher.pid = pid;
            launcher.pidfd = Some(pidfd);
            launcher.state = State::Idle;
            self.pool.idle.push(key);
        }
    }

    /// Hands waiting launches to idle launchers.
    pub(crate) fn dispatch(&mut self) {
        let done = self.journal.done(&self.writers);
        while self.pool.queue.front().is_some_and(|job| job.ticket <= done) {
            if self.janitor.has_more_than(MAX_DYING) {
                break;
            }
            let Some(key) = self.pool.idle.pop() else { break };
            let Some(job) = self.pool.next() else { break };
            self.hand_over(key, job);
        }
        if !self.pool.queue.is_empty() || self.pool.launchers.len() < MIN_LAUNCHERS {
            self.grow_pool();
        }
    }

    fn hand_over(&mut self, key: Key, job: Job) {
        let Some(unit) = self.units.get(job.unit) else {
            self.pool.idle.push(key);
            return;
        };
        let target = match unit.container {
            None => None,
            Some(container) => {
                let container = self.units.get(container).filter(|container| container.is_running());
                let Some((container, pidfd)) = container.and_then(|c| Some((c, c.pidfd.as_ref()?))) else {
                    self.pool.idle.push(key);
                    let error = LaunchError::because(Step::Spec, "", "the container has ended");
                    self.program_failed(job.unit, error, None);
                    return;
                };
                Some((container.cgroup.clone(), pidfd))
            }
        };
        let Some(launcher) = self.pool.launchers.get_mut(key) else {
            self.pool.put_back(job);
            return;
        };
        let head = target.as_ref().map_or(Head::Launch, |(cgroup, _)| Head::Exec { cgroup: cgroup.clone() });
        let mut fds: Vec<BorrowedFd<'_>> = target.iter().map(|(_, pidfd)| pidfd.as_fd()).collect();
        fds.extend(job.fds.iter().map(AsFd::as_fd));
        let slot = &self.pool.slots[launcher.slot];
        slot.child_pid.store(0, Ordering::Relaxed);
        slot.helper_pid.store(0, Ordering::Relaxed);
        let mut given = Ok(());
        while let (Ok(()), Some((hash, code))) = (given, self.pool.programs.get(launcher.programs)) {
            given = handoff::give(launcher.socket.as_fd(), &Head::Program { hash: hash.clone() }, code, &[]);
            launcher.programs += usize::from(given.is_ok());
        }
        let given = given.and_then(|()| handoff::give(launcher.socket.as_fd(), &head, &job.spec, &fds));
        drop(fds);
        match given {
            Ok(()) => {
                let now = Instant::now();
                let deadline = now + std::time::Duration::from_millis(u64::from(job.deadline_ms));
                launcher.state = State::Busy { unit: job.unit, deadline };
                if let Some(unit) = self.units.get_mut(job.unit) {
                    unit.phase = Phase::Launching;
                    // Kept until the answer, as the time that it waited.
                    unit.waited = now.duration_since(unit.since).as_micros() as u32;
                }
            }
            Err(Errno::AGAIN) => {
                // It is still reading the programs it was given.
                let _ =
                    self.poll.modify(launcher.socket.as_fd(), Kind::Launcher, key, EventFlags::IN | EventFlags::OUT);
                self.pool.put_back(job);
            }
            Err(Errno::PIPE | Errno::CONNRESET) => self.pool.put_back(job),
            Err(error) => {
                self.pool.idle.push(key);
                let error = LaunchError::os(Step::Spec, "", error.raw_os_error());
                self.program_failed(job.unit, error, None);
            }
        }
    }

    /// A launcher has answered or takes more.
    pub(crate) fn launcher_ready(&mut self, key: Key, flags: EventFlags) {
        let Some(launcher) = self.pool.launchers.get(key) else { return };
        if flags.contains(EventFlags::OUT) {
            let _ = self.poll.modify(launcher.socket.as_fd(), Kind::Launcher, key, EventFlags::IN);
            if matches!(launcher.state, State::Idle) && !self.pool.idle.contains(&key) {
                self.pool.idle.push(key);
            }
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP) {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = packet::receive(launcher.socket.as_fd(), &mut buffer[..handoff::MAX_ANSWER], 5);
        let answer = match received {
            Err(Errno::AGAIN) => None,
            Ok(Received::Packet(length, fds)) => {
                rmp_serde::from_slice::<Answer>(&buffer[..length]).ok().map(|answer| (answer, fds))
            }
            Ok(_) | Err(_) => {
                // It has died or broken the rules; its pidfd tells the rest.
                let _ = self.poll.remove(launcher.socket.as_fd());
                if let Some(pidfd) = &launcher.pidfd {
                    let _ = pidfd_send_signal(pidfd, Signal::KILL);
                }
                None
            }
        };
        self.buffer = buffer;
        if let Some((answer, fds)) = answer {
            self.launcher_answered(key, answer, fds);
        }
    }

    fn launcher_answered(&mut self, key: Key, answer: Answer, fds: Vec<OwnedFd>) {
        let Some(launcher) = self.pool.launchers.get_mut(key) else { return };
        match (std::mem::replace(&mut launcher.state, State::Idle), answer) {
            (State::Busy { unit, .. }, Answer::Running { pid, helper, timings, parts }) => {
                self.pool.idle.push(key);
                if let Some(helper) = helper {
                    self.collect(helper, None);
                }
                self.program_started(unit, pid, timings, parts, fds);
            }
            (State::Busy { unit, .. }, Answer::Failed { error, pid, helper }) => {
                self.pool.idle.push(key);
                if let Some(helper) = helper {
                    self.collect(helper, None);
                }
                self.program_failed(unit, error, pid);
            }
            (State::Held { remains, killed }, answer) => {
                let (pid, helper) = match answer {
                    Answer::Running { pid, helper, .. } => (Some(pid), helper),
                    Answer::Failed { pid, helper, .. } => (pid, helper),
                };
                // The one that was killed is collected already, and its
                // number may be another's by now.
                let [pid, helper] = [pid, helper].map(|pid| pid.filter(|pid| Some(*pid) != killed));
                if let Some(helper) = helper {
                    self.collect(helper, None);
                }
                match pid {
                    Some(pid) => self.collect(pid, Some(remains)),
                    None => self.remains.push(remains),
                }
                let active = self.pool.launchers.len() - self.pool.held();
                if active > MAX_LAUNCHERS {
                    self.retire(key);
                } else {
                    self.pool.idle.push(key);
                }
            }
            // An answer to nothing.
            (State::Starting | State::Idle, _) => self.retire(key),
        }
    }

    /// Lets go of a launcher: it ends when its socket closes.
    fn retire(&mut self, key: Key) {
        self.pool.idle.retain(|idle| *idle != key);
        if let Some(pid) = self.pool.launchers.get(key).map(|launcher| launcher.pid) {
            self.remove_launcher(key);
            self.collect(pid, None);
        }
    }

    fn remove_launcher(&mut self, key: Key) -> Option<State> {
        let launcher = self.pool.launchers.remove(key)?;
        self.pool.idle.retain(|idle| *idle != key);
        self.pool.free_slots.push_back(launcher.slot);
        let _ = self.poll.remove(launcher.socket.as_fd());
        if let Some(pidfd) = &launcher.pidfd {
            let _ = self.poll.remove(pidfd.as_fd());
        }
        Some(launcher.state)
    }

    /// A launcher has died.
    pub(crate) fn launcher_died(&mut self, key: Key) {
        let Some(launcher) = self.pool.launchers.get(key) else { return };
        let Some(pidfd) = &launcher.pidfd else { return };
        if !crate::orphans::reap(pidfd.as_fd()) {
            return;
        }
        match self.remove_launcher(key) {
            Some(State::Busy { unit, .. }) => {
                // It may have left a child that nobody here knows.
                self.search_orphans_soon();
                if let Some(unit) = self.units.get_mut(unit) {
                    unit.shared_pids = true;
                }
                let remains = self.remains_of(unit);
                self.remains.push(remains);
                let error = LaunchError::because(Step::Clone, "", "the launcher died");
                self.program_failed(unit, error, None);
            }
            Some(State::Held { mut remains, .. }) => {
                remains.kill = true;
                self.remains.push(remains);
                self.search_orphans_soon();
            }
            _ => {}
        }
    }
}

/// A pidfd of a child that has not been reaped.
pub(crate) fn open_pid(pid: i32) -> Result<OwnedFd, Errno> {
    pidfd_open(Pid::from_raw(pid).filter(|_| pid > 1).ok_or(Errno::SRCH)?, PidfdFlags::empty())
}

impl Pool {
    /// Ends the zygote and every launcher, and waits for that.
    pub fn end(&mut self) {
        let zygote = open_pid(self.zygote.pid);
        let launchers = self.launchers.keys().into_iter().filter_map(|key| self.launchers.remove(key)?.pidfd);
        for pidfd in launchers.chain(zygote) {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            let _ = rustix::process::waitid(
                rustix::process::WaitId::PidFd(pidfd.as_fd()),
                rustix::process::WaitIdOptions::EXITED,
            );
        }
    }
}
