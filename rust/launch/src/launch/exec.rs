//! Joining a program to a running container.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::begun::{last_capability, Begun};
use super::explain::explain;
use super::stack::{with_stack, Stack};
use super::streams::Streams;
use super::{Failure, Launched, Parent};
use crate::error::{LaunchError, Step};
use crate::home::Home;
use crate::isolate::Isolated;
use crate::join::{self, Joining};
use crate::process::ProcessPlan;
use crate::seccomp::Programs;
use crate::slot::Slot;
use crate::spec::ExecSpec;
use crate::sys;

/// Starts a further program in a running container. `target` is a pidfd of
/// its first process, `cgroup` the parent and name of its control groups.
/// Otherwise as [`super::launch`].
#[allow(clippy::too_many_arguments)]
pub fn exec(
    home: &Home,
    programs: &Programs,
    spec: &ExecSpec,
    target: BorrowedFd<'_>,
    cgroup: Option<(&str, &str)>,
    fds: &[OwnedFd],
    slot: &Slot,
    parent: Parent,
) -> Result<Launched, Failure> {
    let mut begun = Begun::begin(home, programs, &spec.process, slot, parent)?;
    let tasks = match cgroup {
        Some((parent, name)) => {
            let groups = of_target(target, "cgroup")?;
            home.cgroups().tasks_of(parent, name, &groups)?
        }
        None => Vec::new(),
    };
    begun.cgroup_done();
    let mut streams;
    let mut socket = None;
    if spec.stdio.terminal.is_some() {
        // The terminal is opened by the helper, inside of the container.
        use rustix::net as n;
        let failed = |errno: rustix::io::Errno| LaunchError::os(Step::Stdio, "a terminal", errno.raw_os_error());
        let (ours, theirs) =
            n::socketpair(n::AddressFamily::UNIX, n::SocketType::STREAM, n::SocketFlags::CLOEXEC, None)
                .map_err(failed)?;
        streams = Streams { own: [0, 1, 2], ..Streams::default() };
        socket = Some((ours, theirs));
    } else {
        streams = Streams::open(home, &spec.stdio, &spec.process, fds)?;
    }
    begun.stdio_done();
    let terminal = spec.stdio.terminal.is_some();
    let mut process = ProcessPlan::new(&spec.process, begun.seccomp, streams.own, terminal, false, last_capability())?;
    if home.cgroups().version() == 2 && !may_make_nodes(&of_target(target, "status")?) {
        process.without_mknod();
    }
    let isolated = Isolated::new(&process.last(true), with_stack(Stack::range)?)?;
    let tasks_numbers: Vec<i32> = tasks.iter().map(AsRawFd::as_raw_fd).collect();
    let joining = Joining {
        process,
        isolated,
        slot,
        target: target.as_raw_fd(),
        tasks: &tasks_numbers,
        ignored: home.ignored(parent),
        failpoint: home.failpoint(),
        terminal: socket.as_ref().map(|(_, theirs)| theirs.as_raw_fd()),
        size: spec.stdio.terminal.unwrap_or_default(),
    };
    let told = slot.helper_pid.as_ptr() as u64;
    let helper = begun.clone(0, told, None, join::entry, std::ptr::from_ref(&joining).cast())?;
    let subject = |step, index| joining.process.subject(step, index).unwrap_or_default();
    let ended = |mut failure: Failure| {
        failure.end(parent);
        failure
    };
    let (pid, helper) = begun.outcome(helper, true, subject).map_err(ended)?;
    if let Some((ours, theirs)) = socket {
        drop(theirs);
        match receive_fd(&ours) {
            Ok(master) => streams.terminal = Some(master),
            Err(error) => return Err(ended(Failure { error, pid: Some(pid), helper })),
        }
    }
    Ok(begun.launched(pid, helper, None, streams))
}

/// A file of /proc/PID of a process that is named by a pidfd.
fn of_target(target: BorrowedFd<'_>, file: &str) -> Result<String, LaunchError> {
    let failed = |errno| explain(LaunchError::os(Step::JoinNamespace, "", errno));
    let read =
        |path: String| std::fs::read_to_string(path).map_err(|error| failed(error.raw_os_error().unwrap_or(libc::EIO)));
    let info = read(format!("/proc/self/fdinfo/{}", target.as_raw_fd()))?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).and_then(|pid| pid.trim().parse::<i32>().ok());
    let pid = pid.filter(|pid| *pid > 0).ok_or_else(|| failed(libc::ESRCH))?;
    let text = read(format!("/proc/{pid}/{file}"));
    // While it lives its number is its own, so the file was its own, too.
    if sys::is_readable(target.as_raw_fd()).map_err(failed)? {
        return Err(failed(libc::ESRCH));
    }
    text
}

/// Whether a container may make device nodes, by /proc/PID/status of its first
/// process: where device rules cannot be enforced, its launch took that away.
fn may_make_nodes(status: &str) -> bool {
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    bounding.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set & (1 << 27) != 0)
}

/// The terminal's master, which the helper has sent before it ended.
fn receive_fd(socket: &OwnedFd) -> Result<OwnedFd, LaunchError> {
    use rustix::net as n;
    let failed = |errno| LaunchError::os(Step::Stdio, "the terminal", errno);
    let mut byte = [0u8; 1];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = n::RecvAncillaryBuffer::new(&mut space);
    n::recvmsg(
        socket,
        &mut [std::io::IoSliceMut::new(&mut byte)],
        &mut control,
        n::RecvFlags::DONTWAIT | n::RecvFlags::CMSG_CLOEXEC,
    )
    .map_err(|errno| failed(errno.raw_os_error()))?;
    control
        .drain()
        .find_map(|message| match message {
            n::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .ok_or_else(|| failed(libc::EPROTO))
}
