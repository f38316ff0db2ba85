//! The launcher's side: prepare, clone, tell.

mod begun;
mod exec;
mod explain;
mod scratch;
mod stack;
mod streams;

use std::fmt::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use self::begun::{last_capability, Begun};
use self::stack::{with_stack, Stack};
use self::streams::Streams;
use crate::cgroup::Prepared;
use crate::child::{self, Start};
use crate::error::{LaunchError, Step};
use crate::home::Home;
use crate::plan::{descriptor, Plan};
use crate::process::ProcessPlan;
use crate::seccomp::Programs;
use crate::slot::Slot;
use crate::spec::{LaunchSpec, Scratch};
use crate::timings::Timings;

pub use self::exec::exec;

/// Who becomes the program's parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// The caller's own parent (`CLONE_PARENT`): the caller is a launcher of
    /// a keeper.
    Keeper,
    /// The calling thread.
    Caller,
}

/// A running program.
#[derive(Debug)]
pub struct Launched {
    /// Its process id, to be reaped by the parent.
    pub pid: i32,
    /// The helper that started it and has ended, to be reaped by the parent
    /// too (exec, and launches into an existing pid namespace).
    pub helper: Option<i32>,
    /// Its mount namespace, unless it has ended already. Whoever closes the
    /// last reference pays for taking it down.
    pub mount_ns: Option<OwnedFd>,
    /// The other end of its standard input, where that is a pipe.
    pub stdin: Option<OwnedFd>,
    /// The other end of its standard output, where that is a pipe.
    pub stdout: Option<OwnedFd>,
    /// The other end of its standard error, where that is a pipe.
    pub stderr: Option<OwnedFd>,
    /// The master of its terminal.
    pub terminal: Option<OwnedFd>,
    /// Where the time went.
    pub timings: Timings,
}

/// A launch that failed. What it had made (control groups, scratch folders)
/// is gone, unless a process of it is still to be reaped: then its parent
/// reaps `pid` and `helper` and calls [`clean`].
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: LaunchError,
    /// The child, dead or dying.
    pub pid: Option<i32>,
    /// The helper, dead or dying.
    pub helper: Option<i32>,
}

impl From<LaunchError> for Failure {
    fn from(error: LaunchError) -> Self {
        Self { error, pid: None, helper: None }
    }
}

/// Launches a container's first program. `fds` are the message's descriptors;
/// `slot` must lie in a shared mapping ([`crate::Slots`]).
///
/// Blocks until the program has been executed; a frozen control group or a
/// file system that does not answer holds it as long as that lasts, which is
/// the caller's to watch (through `slot`).
pub fn launch(
    home: &Home,
    programs: &Programs,
    spec: &LaunchSpec,
    fds: &[OwnedFd],
    slot: &Slot,
    parent: Parent,
) -> Result<Launched, Failure> {
    let mut begun = Begun::begin(home, programs, &spec.process, slot, parent)?;
    let prepared = match &spec.cgroup {
        None => Prepared { devices: true, ..Prepared::default() },
        Some(cgroup) => {
            let mut joined = Vec::new();
            for index in &cgroup.join {
                descriptor(Step::Cgroup, fds, *index)?;
                joined.push(&fds[*index as usize]);
            }
            home.cgroups().prepare(cgroup, spec.filesystems.writable, &joined)?
        }
    };
    begun.cgroup_done();
    let mut made = None;
    let outcome = launch_prepared(&mut begun, spec, fds, &prepared, &mut made);
    outcome.map_err(|mut failure| {
        drop(prepared);
        failure.end(parent);
        if failure.pid.is_none() && failure.helper.is_none() {
            // A scratch folder that was there before is not this launch's.
            let scratch = made.map_or(Ok(()), scratch::remove);
            if let Err(left) = remove_groups(home, spec).and(scratch) {
                let _ = write!(failure.error.hint, " (and then: {left})");
            }
        }
        failure
    })
}

/// From the streams on; `made` is the scratch folder, once it is there.
fn launch_prepared<'a>(
    begun: &mut Begun<'_>,
    spec: &'a LaunchSpec,
    fds: &[OwnedFd],
    prepared: &Prepared,
    made: &mut Option<&'a str>,
) -> Result<Launched, Failure> {
    let (home, slot) = (begun.home, begun.slot);
    let streams = Streams::open(home, &spec.stdio, &spec.process, fds)?;
    begun.enter(Step::Scratch)?;
    match &spec.root.scratch {
        Scratch::Disk { dir, keep: true, .. } => scratch::make_kept(dir)?,
        Scratch::Disk { dir, keep: false, .. } => scratch::make(dir, made)?,
        _ => {}
    }
    begun.stdio_done();

    let terminal = spec.stdio.terminal.is_some();
    let mut process = ProcessPlan::new(&spec.process, begun.seccomp, streams.own, terminal, true, last_capability())?;
    if !prepared.devices && spec.cgroup.as_ref().is_some_and(|cgroup| cgroup.resources.devices.is_some()) {
        process.without_mknod();
    }
    let pts = streams.instance.as_ref().map(AsRawFd::as_raw_fd);
    let plan = Plan::new(home, spec, fds, prepared, pts, process, begun.parent, with_stack(Stack::range)?)?;

    let mut flags = plan.clone_flags;
    // Memory is shared only with the first process of a fresh pid namespace:
    // nobody but the host can see it before its execve (DESIGN 3.3).
    if plan.clone_flags & libc::CLONE_NEWPID as u64 != 0 {
        flags |= libc::CLONE_VM as u64;
    }
    let by_helper = plan.isolated.is_some();
    let told = if by_helper { &slot.helper_pid } else { &slot.child_pid };
    let start = Start { plan: &plan, slot };
    let into = prepared.into.as_ref().map(AsRawFd::as_raw_fd);
    let argument = std::ptr::from_ref(&start).cast();
    let cloned = begun.clone(flags, told.as_ptr() as u64, into, child::entry, argument)?;
    let (pid, helper) = begun.outcome(cloned, by_helper, |step, index| plan.subject(step, index))?;
    Ok(begun.launched(pid, helper, mount_namespace(pid), streams))
}

/// Removes what a launch made that is not a process: its control groups and
/// its scratch folder. For launches that have cloned a process: of one that
/// failed earlier nothing is left, and what bears its names is another's.
pub fn clean(home: &Home, spec: &LaunchSpec) -> Result<(), LaunchError> {
    let groups = remove_groups(home, spec);
    let scratch = match &spec.root.scratch {
        Scratch::Disk { dir, keep: false, .. } => scratch::remove(dir),
        _ => Ok(()),
    };
    groups.and(scratch)
}

fn remove_groups(home: &Home, spec: &LaunchSpec) -> Result<(), LaunchError> {
    match &spec.cgroup {
        Some(cgroup) => home.cgroups().remove_container(&cgroup.parent, &cgroup.name),
        None => Ok(()),
    }
}

/// Holds the program's mount namespace, so that its end is not delayed by its
/// unmounting (DESIGN 3.10). None where the program has ended by now.
fn mount_namespace(pid: i32) -> Option<OwnedFd> {
    let path = format!("/proc/{pid}/ns/mnt");
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}
