#![allow(unsafe_code)]
//! Children that are to be collected and no more: those of failed and given
//! up launches, helpers, retired launchers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::process::{pidfd_send_signal, waitid, Pid, Signal, WaitId, WaitIdOptions};

use crate::core::{Keeper, Kind};
use crate::janitor::Remains;
use crate::pool::open_pid;
use crate::slab::Key;

/// How often children that nobody knows are looked for, once a launcher has
/// died in the middle of its work.
const SEARCH: Duration = Duration::from_secs(1);
/// Searches after such a death.
pub const SEARCHES: u32 = 10;
/// Children looked at in a search.
const MAX_FOUND: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Orphan {
    pidfd: OwnedFd,
    pid: i32,
    /// What is to be tidied away once it is gone.
    remains: Option<Remains>,
}

/// Reaps a child if it has ended; true also where there is none to reap.
pub fn reap(pidfd: BorrowedFd<'_>) -> bool {
    !matches!(waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED | WaitIdOptions::NOHANG), Ok(None))
}

impl Keeper {
    /// Sees to it that a child of ours is killed and reaped, and that what it
    /// leaves is then tidied away.
    pub(crate) fn collect(&mut self, pid: i32, remains: Option<Remains>) {
        match open_pid(pid) {
            Ok(pidfd) => self.collect_pidfd(pid, pidfd, remains),
            // It is gone, so nothing hinders the tidying.
            Err(_) => self.remains.extend(remains),
        }
    }

    /// The same, by a pidfd.
    pub(crate) fn collect_pidfd(&mut self, pid: i32, pidfd: OwnedFd, remains: Option<Remains>) {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        if reap(pidfd.as_fd()) {
            self.remains.extend(remains);
            return;
        }
        let key = self.orphans.insert(Orphan { pidfd, pid, remains });
        if let Some(orphan) = self.orphans.get(key) {
            let _ = self.poll.add(orphan.pidfd.as_fd(), Kind::Orphan, key, 0, EventFlags::IN);
        }
    }

    /// One of them has ended.
    pub(crate) fn orphan_ended(&mut self, key: Key) {
        let Some(orphan) = self.orphans.get(key) else { return };
        if !reap(orphan.pidfd.as_fd()) {
            return;
        }
        if let Some(orphan) = self.orphans.remove(key) {
            let _ = self.poll.remove(orphan.pidfd.as_fd());
            self.remains.extend(orphan.remains);
        }
    }

    /// Whether a process id is one that the loop waits for.
    pub(crate) fn is_known(&self, pid: i32) -> bool {
        self.pool.is_ours(pid)
            || self.orphans.iter().any(|(_, orphan)| orphan.pid == pid)
            || self.units.iter().any(|(_, unit)| unit.pidfd.is_some() && unit.pid == pid)
    }

    /// A launcher has died in the middle of its work.
    pub(crate) fn search_orphans_soon(&mut self) {
        self.search = Some(Instant::now());
        self.searches_left = SEARCHES;
    }

    /// Reaps dead children that nobody knows: a launcher that was killed may
    /// have left one. It goes on while launches are held, since it is then
    /// that such a child comes free.
    pub(crate) fn search_orphans(&mut self, now: Instant) {
        for _ in 0..MAX_FOUND {
            let Some(pid) = dead_child() else { break };
            // A known one is reaped through its pidfd, in its own good time,
            // and hides the others until then.
            if self.is_known(pid) {
                break;
            }
            let Some(pid) = Pid::from_raw(pid) else { break };
            if matches!(waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG), Err(Errno::CHILD)) {
                break;
            }
        }
        let again = self.pool.held() > 0 || self.searches_left > 0;
        self.searches_left = self.searches_left.saturating_sub(1);
        self.search = again.then(|| now + SEARCH);
    }
}

/// The process id of a child that has ended and is not reaped.
fn dead_child() -> Option<i32> {
    // SAFETY: a siginfo_t is plain integers, for which zero is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is there to be written to for the length of the call.
    let result = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) };
    // SAFETY: waitid fills in the fields of SIGCHLD, or leaves zeroes.
    let pid = unsafe { info.si_pid() };
    (result == 0 && pid > 0).then_some(pid)
}
