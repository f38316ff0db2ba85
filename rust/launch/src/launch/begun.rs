//! What `launch` and `exec` have in common: how one begins, the clone, and what
//! came of it.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use super::explain::{explain, killed};
use super::stack::{with_stack, Stack};
use super::streams::Streams;
use super::{Failure, Launched, Parent};
use crate::error::{LaunchError, Step};
use crate::home::Home;
use crate::seccomp::Programs;
use crate::slot::{Slot, MARKS};
use crate::spec::Process;
use crate::sys::{self, clone::CloneArgs};
use crate::timings::Timings;

/// `CLONE_CLEAR_SIGHAND` (Linux 5.5).
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// `CLONE_INTO_CGROUP` (Linux 5.7).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A launch or exec under way, with the times at which it came how far (ns).
pub(super) struct Begun<'a> {
    pub(super) home: &'a Home,
    pub(super) slot: &'a Slot,
    pub(super) parent: Parent,
    /// The program's system call filter.
    pub(super) seccomp: Option<&'a [libc::sock_filter]>,
    began: u64,
    cgroup_done: u64,
    stdio_done: u64,
    ready: u64,
    done: u64,
}

impl<'a> Begun<'a> {
    /// The first step of each; the next is the control groups.
    pub(super) fn begin(
        home: &'a Home,
        programs: &'a Programs,
        process: &Process,
        slot: &'a Slot,
        parent: Parent,
    ) -> Result<Self, LaunchError> {
        slot.reset();
        let began = sys::now_ns();
        let seccomp = program(programs, process)?;
        home.fail_here(Step::Spec)?;
        let begun = Self { home, slot, parent, seccomp, began, cgroup_done: 0, stdio_done: 0, ready: 0, done: 0 };
        begun.enter(Step::Cgroup)?;
        Ok(begun)
    }

    /// Goes on to a step before the clone.
    pub(super) fn enter(&self, step: Step) -> Result<(), LaunchError> {
        self.slot.enter(step, 0);
        self.home.fail_here(step)
    }

    /// The control groups are there; the streams are next.
    pub(super) fn cgroup_done(&mut self) {
        self.cgroup_done = sys::now_ns();
        self.slot.enter(Step::Stdio, 0);
    }

    /// All is there that the child needs from outside.
    pub(super) fn stdio_done(&mut self) {
        self.stdio_done = sys::now_ns();
    }

    /// Clones the first child. `told` is where the kernel writes its number.
    pub(super) fn clone(
        &mut self,
        flags: u64,
        told: u64,
        into: Option<i32>,
        entry: sys::clone::Entry,
        argument: *const core::ffi::c_void,
    ) -> Result<i32, LaunchError> {
        self.ready = sys::now_ns();
        self.enter(Step::Clone)?;
        let flags = flags | CLONE_CLEAR_SIGHAND | (libc::CLONE_VFORK | libc::CLONE_PARENT_SETTID) as u64;
        let cloned = clone(flags, self.parent, told, into, entry, argument);
        self.done = sys::now_ns();
        cloned.map_err(|errno| explain(LaunchError::os(Step::Clone, "", errno)))
    }

    /// What came of it: the program's process id, and that of the helper that
    /// started it, where the child that was cloned is one.
    pub(super) fn outcome(
        &self,
        cloned: i32,
        is_helper: bool,
        subject: impl FnOnce(Step, usize) -> String,
    ) -> Result<(i32, Option<i32>), Failure> {
        let slot = self.slot;
        let (pid, helper) = if is_helper {
            let child = slot.child_pid.load(Ordering::Relaxed);
            ((child > 0).then_some(child), Some(cloned))
        } else {
            (Some(cloned), None)
        };
        let step = slot.current_step();
        let errno = slot.errno.load(Ordering::Relaxed);
        if errno != 0 {
            let subject = subject(step, slot.index.load(Ordering::Relaxed) as usize);
            return Err(Failure { error: explain(LaunchError::os(step, subject, errno)), pid, helper });
        }
        match (pid, step) {
            (Some(pid), Step::Exec) => Ok((pid, helper)),
            _ => Err(Failure { error: killed(step), pid, helper }),
        }
    }

    /// The running program.
    pub(super) fn launched(
        &self,
        pid: i32,
        helper: Option<i32>,
        mount_ns: Option<OwnedFd>,
        streams: Streams,
    ) -> Launched {
        let helper = match (helper, self.parent) {
            (Some(helper), Parent::Caller) => {
                reap(helper);
                None
            }
            (helper, _) => helper,
        };
        let Streams { stdin, stdout, stderr, terminal, .. } = streams;
        Launched { pid, helper, mount_ns, stdin, stdout, stderr, terminal, timings: self.timings() }
    }

    fn timings(&self) -> Timings {
        let mut marks = [0u64; MARKS];
        for (mark, value) in marks.iter_mut().zip(&self.slot.marks) {
            *mark = value.load(Ordering::Relaxed);
        }
        let root = if marks[2] == 0 { marks[3] } else { marks[2] };
        Timings {
            queue: 0,
            cgroup: micros(self.began, self.cgroup_done),
            stdio: micros(self.cgroup_done, self.stdio_done),
            prepare: micros(self.stdio_done, self.ready),
            clone: micros(self.ready, marks[0]),
            join: micros(marks[0], marks[1]),
            root: micros(marks[1], root),
            mounts: micros(root, marks[3]),
            process: micros(marks[3], marks[4]),
            exec: micros(marks[4], self.done),
            total: micros(self.began, self.done),
        }
    }
}

impl Failure {
    /// Ends what may have been left running, and reaps it where it is the
    /// caller's to reap. The child of a helper may live: what it told of its
    /// failure came through a pipe that a container could write to.
    pub(super) fn end(&mut self, parent: Parent) {
        for pid in [self.pid, self.helper].into_iter().flatten() {
            // Not reaped yet, so the number is still its own.
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if parent == Parent::Caller {
            for pid in [self.pid.take(), self.helper.take()].into_iter().flatten() {
                reap(pid);
            }
        }
    }
}

fn reap(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let options = rustix::process::WaitIdOptions::EXITED;
        let _gone = rustix::io::retry_on_intr(|| rustix::process::waitid(rustix::process::WaitId::Pid(pid), options));
    }
}

/// µs between two times in ns; 0 where either is missing.
fn micros(from: u64, to: u64) -> u32 {
    if from == 0 {
        return 0;
    }
    u32::try_from(to.saturating_sub(from) / 1000).unwrap_or(u32::MAX)
}

fn program<'a>(programs: &'a Programs, process: &Process) -> Result<Option<&'a [libc::sock_filter]>, LaunchError> {
    let Some(hash) = &process.seccomp else { return Ok(None) };
    programs.get(hash).map(Some).ok_or_else(|| {
        LaunchError::because(Step::Seccomp, hash.clone(), "the launcher was not given a program of that hash")
    })
}

/// The highest capability that the kernel knows.
pub(super) fn last_capability() -> u32 {
    static LAST: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *LAST.get_or_init(|| {
        (0..63).take_while(|number| sys::prctl(libc::PR_CAPBSET_READ, *number, 0).is_ok()).last().unwrap_or(0) as u32
    })
}

fn clone(
    mut flags: u64,
    parent: Parent,
    parent_tid: u64,
    into: Option<i32>,
    entry: sys::clone::Entry,
    argument: *const core::ffi::c_void,
) -> Result<i32, i32> {
    let mut args = CloneArgs { parent_tid, ..CloneArgs::default() };
    match parent {
        Parent::Keeper => flags |= libc::CLONE_PARENT as u64,
        Parent::Caller => args.exit_signal = libc::SIGCHLD as u64,
    }
    if let Some(cgroup) = into {
        flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup as u64;
    }
    args.flags = flags;
    // A child in this memory that changes its ids makes the memory, and with
    // it this process, undumpable. A launcher of a keeper is that anyway.
    let dumpable = match parent {
        Parent::Caller => rustix::process::dumpable_behavior().ok(),
        Parent::Keeper => None,
    };
    let cloned = with_stack(|stack| {
        args.stack = stack.range().start as u64;
        args.stack_size = Stack::SIZE as u64;
        #[allow(unsafe_code)]
        // SAFETY: the stack is this thread's own and used by one child at a
        // time: CLONE_VFORK is among the flags, so this thread goes on only
        // when the child has called execve or has ended. `argument` is what
        // `entry` expects and outlives the call; `parent_tid` is a slot's.
        unsafe {
            sys::clone::clone3(&args, entry, argument.cast_mut())
        }
    });
    if let Some(dumpable) = dumpable {
        let _root_only_is_not_to_be_set = rustix::process::set_dumpable_behavior(dumpable);
    }
    cloned.map_err(|error| error.errno)?
}
