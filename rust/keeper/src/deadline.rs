//! Launches that are not done in time.
//!
//! A frozen control group holds clone(), a file system that does not answer
//! holds execve, and SIGKILL does not end a task that waits there. So a late
//! launch is told as failed at once, its child is killed and collected
//! whenever it goes, and its launcher is *held*: it takes no work until it
//! answers.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Instant;

use ardock_launch::{LaunchError, Step};
use rustix::process::{pidfd_send_signal, waitid, Signal, WaitId, WaitIdOptions};

use crate::core::Keeper;
use crate::pool::{open_pid, State};
use crate::slab::Key;

impl Keeper {
    /// Gives up every launch that is past its deadline.
    pub(crate) fn give_up_late_launches(&mut self, now: Instant) {
        for key in self.pool.launchers.keys() {
            let launcher = self.pool.launchers.get(key);
            if let Some(State::Busy { unit, deadline }) = launcher.map(|launcher| &launcher.state) {
                if *deadline <= now {
                    let unit = *unit;
                    self.give_up(key, unit);
                }
            }
        }
    }

    fn give_up(&mut self, key: Key, unit: Key) {
        let Some(launcher) = self.pool.launchers.get(key) else { return };
        let slot = &self.pool.slots[launcher.slot];
        let step = slot.current_step();
        let word = [slot.child_pid.load(Ordering::Relaxed), slot.helper_pid.load(Ordering::Relaxed)];
        let mut killed = None;
        for pid in word {
            if let Some(pidfd) = self.unknown_child(pid) {
                killed = Some(pid);
                self.collect_pidfd(pid, pidfd, None);
            }
        }
        if killed.is_none() {
            // No child yet, or the launcher's word is not to be believed.
            if let Some(pidfd) = self.pool.launchers.get(key).and_then(|launcher| launcher.pidfd.as_ref()) {
                let _ = pidfd_send_signal(pidfd, Signal::KILL);
            }
        }
        let remains = self.remains_of(unit);
        if let Some(launcher) = self.pool.launchers.get_mut(key) {
            launcher.state = State::Held { remains, killed };
        }
        self.counters.late += 1;
        let during = format!("it was stopped while trying to {}", step.phrase());
        self.program_failed(unit, LaunchError::because(Step::Deadline, "", during), None);
    }

    /// A pidfd of a process that is a child of the keeper and none of those
    /// that it knows. The number comes from memory that a container's process
    /// may have written, so nothing is believed of it.
    fn unknown_child(&self, pid: i32) -> Option<OwnedFd> {
        if pid <= 1 || self.is_known(pid) {
            return None;
        }
        let pidfd = open_pid(pid).ok()?;
        // waitid says ECHILD of a process that is not our child.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::PidFd(pidfd.as_fd()), options).is_ok().then_some(pidfd)
    }
}
