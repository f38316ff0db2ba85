//! From a launcher's answer to the exit record.

use std::cmp::Reverse;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ardock_launch::{LaunchError, Step, Timings};
use rustix::event::epoll::EventFlags;
use rustix::process::{waitid, WaitId, WaitIdOptions, WaitIdStatus};

use crate::clock;
use crate::core::{Keeper, Kind};
use crate::handoff;
use crate::janitor::Remains;
use crate::journal::Record;
use crate::message::{Exit, Started};
use crate::pool::open_pid;
use crate::pump::Stream;
use crate::requests::send;
use crate::signals;
use crate::slab::Key;
use crate::unit::{Phase, Unit, MAX_CAPTURE};

/// Longest time that a start is held back.
const MAX_HOLD: u32 = 1000;

impl Keeper {
    /// A launcher has started the unit's program.
    pub(crate) fn program_started(&mut self, key: Key, pid: i32, mut timings: Timings, parts: u8, fds: Vec<OwnedFd>) {
        let Some(unit) = self.units.get_mut(key) else {
            // It was given up; nobody waits for it.
            self.collect(pid, None);
            return;
        };
        let watched = open_pid(pid)
            .and_then(|pidfd| self.poll.add(pidfd.as_fd(), Kind::Exit, key, 0, EventFlags::IN).map(|()| pidfd));
        let pidfd = match watched {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let error = LaunchError::os(Step::Clone, "a pidfd", error.raw_os_error());
                self.program_failed(key, error, Some(pid));
                return;
            }
        };
        let limit = unit.output.capture.unwrap_or(0).min(MAX_CAPTURE);
        let mut fds = fds.into_iter();
        for part in [handoff::MOUNT_NS, handoff::STDIN, handoff::STDOUT, handoff::STDERR, handoff::TERMINAL] {
            let Some(fd) = (parts & part != 0).then(|| fds.next()).flatten() else { continue };
            match part {
                handoff::MOUNT_NS => unit.mount_ns = Some(fd),
                handoff::STDIN => unit.stdin = Some(fd),
                handoff::STDERR => unit.streams[1] = Some(Stream::new(fd, limit)),
                _ => {
                    unit.terminal |= part == handoff::TERMINAL;
                    unit.streams[0] = Some(Stream::new(fd, limit));
                }
            }
        }
        timings.queue = unit.waited;
        let (started_at, started_boot) = (clock::now(), clock::boot());
        unit.started = Some(Started { pid, start_ticks: 0, started_at, timings, started_boot });
        unit.pid = pid;
        unit.phase = Phase::Running;
        unit.handed = unit.output.direct && unit.owner.is_some();
        if let Some(signal) = unit.signal.take().and_then(signals::from_number) {
            let _ = send(self.home.cgroups(), &pidfd, signal, unit.cgroup.as_ref());
        }
        unit.pidfd = Some(pidfd);
        // Whoever has taken it over from a lost engine asks for it by `attach`.
        let attach = unit.output.attach && !unit.output.direct && unit.owner == Some(unit.asked_by);
        if attach {
            // Before anything is read, so from the first byte on.
            match self.readers(key) {
                Ok((_, fds)) => {
                    if let Some(unit) = self.units.get_mut(key) {
                        unit.attached = fds;
                    }
                }
                Err(error) => {
                    // Its end is no exit to be told of.
                    let pidfd = self.units.get_mut(key).and_then(|unit| unit.pidfd.take());
                    let _ = pidfd.map(|pidfd| self.poll.remove(pidfd.as_fd()));
                    let error = LaunchError::os(Step::Stdio, "the pipes to who is attached", error.raw_os_error());
                    self.program_failed(key, error, Some(pid));
                    return;
                }
            }
        }
        if self.units.get(key).is_some_and(|unit| unit.watch_oom) {
            self.watch_oom(key);
        }
        let Some(unit) = self.units.get_mut(key) else { return };
        let descriptors = unit.descriptors();
        self.descriptors.set(&mut unit.reserved, descriptors);
        let hold = if unit.output.direct { 0 } else { unit.hold_ms.min(MAX_HOLD) };
        self.counters.started += 1;
        self.watch_stream(key, 0);
        self.watch_stream(key, 1);
        if hold == 0 {
            self.tell_start(key);
        } else {
            let until = Instant::now() + Duration::from_millis(u64::from(hold));
            self.held_back.push(Reverse((until, key)));
        }
    }

    /// The start is told by itself, unless the end has come by now.
    pub(crate) fn tell_start(&mut self, key: Key) {
        let untold = |unit: &&mut Unit| unit.is_running() && !unit.told_start;
        let Some(unit) = self.units.get_mut(key).filter(untold) else { return };
        let Some(started) = &mut unit.started else { return };
        started.start_ticks = start_ticks(started.pid).unwrap_or(0);
        let record = Record::Started {
            id: unit.id.clone(),
            exec: unit.exec.clone(),
            pid: started.pid,
            start_ticks: started.start_ticks,
            started_at: started.started_at,
            started_boot: started.started_boot,
        };
        self.journal.push(&record);
        self.tell(key);
    }

    /// The unit's program never ran. `pid`: a child to be collected first.
    pub(crate) fn program_failed(&mut self, key: Key, mut error: LaunchError, pid: Option<i32>) {
        if let Some(pid) = pid {
            let remains = self.remains_of(key);
            self.collect(pid, Some(remains));
        }
        let Some(unit) = self.units.get_mut(key) else { return };
        self.counters.failed += 1;
        // clone(2) has ENOMEM for a pid namespace whose first process has
        // ended, and a control group that is removed ENODEV.
        let refused = matches!(error.step, Step::Clone | Step::JoinCgroup | Step::JoinNamespace);
        if let Some(container) = unit.container.filter(|_| refused) {
            if !self.units.get(container).is_some_and(still_runs) {
                ENDED.clone_into(&mut error.hint);
            }
        }
        let Some(unit) = self.units.get_mut(key) else { return };
        unit.phase = Phase::Failed(Box::new(error));
        unit.log = None;
        self.journal.push(&Record::Failed { id: unit.id.clone(), exec: unit.exec.clone() });
        if unit.owner.is_some() {
            self.tell(key);
        } else {
            self.drop_unit(key);
        }
    }

    /// What a unit leaves, taken from it.
    pub(crate) fn remains_of(&mut self, key: Key) -> Remains {
        let Some(unit) = self.units.get_mut(key) else { return Remains::default() };
        Remains {
            mount_ns: unit.mount_ns.take(),
            cgroup: unit.cgroup.take(),
            kill: unit.shared_pids,
            scratch: unit.scratch.take(),
            root: None,
        }
    }

    /// A program's pidfd is readable.
    pub(crate) fn program_ended(&mut self, key: Key) {
        let Some(unit) = self.units.get_mut(key) else { return };
        let Some(pidfd) = &unit.pidfd else { return };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let Ok(Some(status)) = waitid(WaitId::PidFd(pidfd.as_fd()), options) else { return };
        let (finished_at, finished_boot) = (clock::now(), clock::boot());
        let _ = self.poll.remove(pidfd.as_fd());
        unit.pidfd = None;
        unit.stdin = None;
        unit.phase = Phase::Ended;
        self.drain_at_exit(key);
        self.end_oom_watch(key);
        let oom = self.oom_killed(key, &status);
        let Some(unit) = self.units.get_mut(key) else { return };
        let total = |unit: &Unit, stream: usize| unit.streams[stream].as_ref().map_or(0, |stream| stream.total);
        let signal = status.terminating_signal();
        let started_boot = unit.started.as_ref().map_or(finished_boot, |started| started.started_boot);
        unit.exit = Some(Exit {
            code: status.exit_status().or_else(|| signal.map(|signal| 128 + signal)).unwrap_or(255),
            signal,
            oom,
            finished_at,
            stdout_total: total(unit, 0),
            stderr_total: total(unit, 1),
            stdout: unit.inline(0),
            stderr: unit.inline(1),
            seq: 0,
            duration_ns: u64::try_from(finished_boot - started_boot).unwrap_or_default(),
        });
        let descriptors = unit.descriptors();
        self.descriptors.set(&mut unit.reserved, descriptors);
        self.counters.exits += 1;
        let remains = self.remains_of(key);
        if !remains.is_empty() {
            self.remains.push(remains);
        }
        // Last output byte, record, message: a log that is behind goes first.
        let Some(unit) = self.units.get_mut(key) else { return };
        if unit.log.as_ref().is_some_and(|log| !log.is_written()) {
            unit.awaits_log = true;
        } else {
            self.record_exit(key);
        }
    }

    /// Writes the exit's record; it is told when that is done.
    pub(crate) fn record_exit(&mut self, key: Key) {
        let Some(unit) = self.units.get_mut(key) else { return };
        unit.awaits_log = false;
        let Some(exit) = &mut unit.exit else { return };
        self.last_seq += 1;
        exit.seq = self.last_seq;
        let record = Record::Exited { id: unit.id.clone(), exec: unit.exec.clone(), exit: exit.clone() };
        self.journal.push(&record);
        self.fresh.push(key);
    }

    fn oom_killed(&self, key: Key, status: &WaitIdStatus) -> bool {
        let Some(unit) = self.units.get(key) else { return false };
        match unit.container {
            // The container may go on; only a kill of this program counts.
            Some(container) => {
                let killed = status.terminating_signal() == Some(libc::SIGKILL);
                let cgroup = self.units.get(container).and_then(|container| container.cgroup.as_ref());
                killed && cgroup.is_some_and(|(parent, name)| self.home.cgroups().oom_kills(parent, name) > 0)
            }
            None => unit.cgroup.as_ref().is_some_and(|(parent, name)| self.home.cgroups().oom_kills(parent, name) > 0),
        }
    }

    /// The engine has an exit safe.
    pub(crate) fn acknowledge(&mut self, id: &str, exec: Option<&str>) -> bool {
        let Some(key) = self.find(id, exec) else { return false };
        let Some(unit) = self.units.get_mut(key).filter(|unit| unit.recorded) else { return false };
        unit.acked = true;
        for exec in unit.execs.clone() {
            // What has ended with the container needs no word of its own.
            if self.units.get(exec).is_some_and(|exec| exec.recorded) {
                self.forget(exec);
            }
        }
        self.forget(key);
        true
    }

    /// Forgets an acknowledged unit, but for what others still write.
    fn forget(&mut self, key: Key) {
        let Some(unit) = self.units.get_mut(key) else { return };
        if !unit.execs.is_empty() {
            return;
        }
        let container = unit.container.take();
        let engine_has_it = unit.handed && unit.owner.is_some();
        let open = unit.streams.iter().flatten().any(|stream| stream.fd.is_some());
        if open && !engine_has_it && self.lingering < MAX_LINGERING {
            // Its descendants are not to be killed by SIGPIPE.
            unit.phase = Phase::Lingering;
            self.lingering += 1;
            for stream in unit.streams.iter_mut().flatten() {
                self.captures.used = self.captures.used.saturating_sub(stream.captured.len());
                stream.captured = Vec::new();
            }
            if self.ids.get(&unit.id) == Some(&key) {
                self.ids.remove(&unit.id);
            }
        } else {
            self.drop_unit(key);
        }
        if let Some(container) = container {
            self.exec_is_gone(container, key);
        }
    }

    /// A container has one exec less: one that was acknowledged before that
    /// and waited for the last of them, is forgotten.
    pub(crate) fn exec_is_gone(&mut self, container: Key, exec: Key) {
        let Some(unit) = self.units.get_mut(container) else { return };
        unit.execs.retain(|key| *key != exec);
        if unit.acked && unit.execs.is_empty() {
            self.forget(container);
        }
    }
}

/// What an exec is told that came too late.
pub(crate) const ENDED: &str = "the container has ended";

/// Whether the program has not begun to end, by the kernel's word. It is not
/// to be collected before all others of its pid namespace have ended, and they
/// refuse company before that.
fn still_runs(unit: &Unit) -> bool {
    unit.is_running() && unit.started.as_ref().is_some_and(|started| !is_exiting(started.pid))
}

/// Acknowledged programs whose pipes are still held by a descendant.
const MAX_LINGERING: usize = 1024;

/// When a process was started: field 22 of /proc/PID/stat.
fn start_ticks(pid: i32) -> Option<u64> {
    stat_field(pid, 22)
}

/// Whether a process is on its way out, or gone: `PF_EXITING`, of field 9.
fn is_exiting(pid: i32) -> bool {
    stat_field(pid, 9).is_none_or(|flags| flags & 0x4 != 0)
}

/// A number of /proc/PID/stat, counted from 1. The name in field 2 may hold
/// anything but ends at the last parenthesis.
fn stat_field(pid: i32, field: usize) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(field - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn start_ticks_are_those_of_the_process() {
        let own = super::start_ticks(std::process::id() as i32).unwrap();
        let first = super::start_ticks(1).unwrap();
        assert!(own > first, "{own} {first}");
        assert_eq!(super::start_ticks(i32::MAX), None);
    }

    #[test]
    fn a_process_that_has_ended_and_was_not_collected_is_exiting() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        while !super::is_exiting(pid) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(super::is_exiting(pid) && !super::is_exiting(std::process::id() as i32));
    }
}
