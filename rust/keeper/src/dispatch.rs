//! Between the pool's queue and its launchers: handing launches over, and what
//! comes of them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ardock_launch::{LaunchError, Step};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::process::{pidfd_send_signal, Signal};

use crate::core::{Keeper, Kind};
use crate::exits::ENDED;
use crate::handoff::{self, Answer, Head};
use crate::janitor::MAX_DYING;
use crate::packet::{self, Received};
use crate::pool::{open_pid, Job, Launcher, State, MAX_LAUNCHERS, MIN_LAUNCHERS};
use crate::slab::Key;
use crate::unit::Phase;
use crate::zygote;

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

    /// Lets launchers go that are not needed any more.
    pub(crate) fn shrink_pool(&mut self, now: Instant) {
        if self.pool.next_shrinking().is_some_and(|time| time <= now) {
            // The one that was used longest ago is the first.
            while self.pool.idle.len() > MIN_LAUNCHERS {
                self.retire(self.pool.idle[0]);
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
            if self.pool.idle.is_empty() {
                self.pool.last_needed = Instant::now();
            }
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
                    let error = LaunchError::because(Step::JoinNamespace, "", ENDED);
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
                let deadline = now + Duration::from_millis(u64::from(job.deadline_ms));
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
