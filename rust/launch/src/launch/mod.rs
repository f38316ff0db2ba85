//! The launcher's side: prepare, clone, tell.

use std::fmt::Write as _;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use rustix::fs::{Mode, OFlags};

use crate::cgroup::Prepared;
use crate::child::{self, Start};
use crate::error::{LaunchError, Step};
use crate::home::Home;
use crate::isolate::Isolated;
use crate::join::{self, Joining};
use crate::plan::{descriptor, open_terminal, Plan};
use crate::process::ProcessPlan;
use crate::seccomp::Programs;
use crate::slot::{Slot, MARKS};
use crate::spec::{ExecSpec, LaunchSpec, OwnStream, Process, Scratch, Stdio, Stream};
use crate::sys::{self, clone::CloneArgs};
use crate::timings::Timings;

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

/// The streams of a program to be: its own ends and the other ends.
#[derive(Default)]
struct Streams {
    own: [i32; 3],
    /// Keeps `own` open until the clone.
    held: Vec<OwnedFd>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    instance: Option<OwnedFd>,
}

/// Numbers 0 to 2 are where the streams go; a source among them would be
/// overwritten by another.
fn above_streams(fd: OwnedFd) -> Result<OwnedFd, LaunchError> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, 3).map_err(|errno| LaunchError::os(Step::Stdio, "", errno.raw_os_error()))
}

impl Streams {
    fn open(home: &Home, stdio: &Stdio, process: &Process, fds: &[OwnedFd]) -> Result<Self, LaunchError> {
        home.fail_here(Step::Stdio)?;
        let mut out = Self::default();
        let mut held = Vec::new();
        if let Some(size) = stdio.terminal {
            let (instance, master, slave) = open_terminal(size, process.uid)?;
            let slave = above_streams(slave)?;
            out.own = [slave.as_raw_fd(); 3];
            held.push(slave);
            out.terminal = Some(master);
            out.instance = Some(instance);
        } else {
            out.pipes(stdio, process, fds, &mut held)?;
        }
        out.held = held;
        Ok(out)
    }

    fn pipes(
        &mut self,
        stdio: &Stdio,
        process: &Process,
        fds: &[OwnedFd],
        held: &mut Vec<OwnedFd>,
    ) -> Result<(), LaunchError> {
        let failed = |errno: rustix::io::Errno| LaunchError::os(Step::Stdio, "a pipe", errno.raw_os_error());
        let mut null: Option<i32> = None;
        for (number, stream) in [stdio.stdin, stdio.stdout, stdio.stderr].into_iter().enumerate() {
            let own = match stream {
                Stream::Fd(index) => {
                    let fd = descriptor(Step::Stdio, fds, index)?;
                    if fd <= 2 {
                        return Err(LaunchError::because(
                            Step::Stdio,
                            "",
                            "a given descriptor is a standard stream of the launcher's",
                        ));
                    }
                    fd
                }
                Stream::Own(OwnStream::Null) => {
                    if null.is_none() {
                        let opened = above_streams(Home::open_null()?)?;
                        null = Some(opened.as_raw_fd());
                        held.push(opened);
                    }
                    null.unwrap_or_default()
                }
                Stream::Own(OwnStream::Pipe) => {
                    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed)?;
                    let (ours, theirs) = if number == 0 { (writer, reader) } else { (reader, writer) };
                    let theirs = above_streams(theirs)?;
                    if process.uid != 0 {
                        // So that /dev/stdout can be opened anew by its user.
                        let owner = rustix::fs::Uid::from_raw(process.uid);
                        rustix::fs::fchown(&theirs, Some(owner), None).map_err(failed)?;
                    }
                    match number {
                        0 => self.stdin = Some(ours),
                        1 => self.stdout = Some(ours),
                        _ => self.stderr = Some(ours),
                    }
                    let own = theirs.as_raw_fd();
                    held.push(theirs);
                    own
                }
            };
            self.own[number] = own;
        }
        Ok(())
    }
}

/// A stack for the child, with a guard page below it.
#[derive(Debug)]
struct Stack {
    base: NonNull<u8>,
}

impl Stack {
    /// One page, of the largest size that a supported machine has.
    const GUARD: usize = sys::LARGEST_PAGE;
    const SIZE: usize = 64 * 1024;

    #[allow(unsafe_code)]
    fn map() -> Result<Self, LaunchError> {
        use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
        let failed = |errno: rustix::io::Errno| LaunchError::os(Step::Clone, "a stack", errno.raw_os_error());
        // SAFETY: a fresh anonymous mapping overlaps nothing.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                Self::GUARD + Self::SIZE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::STACK,
            )
        }
        .map_err(failed)?;
        let stack = Self { base: NonNull::new(base.cast()).ok_or_else(|| failed(rustix::io::Errno::NOMEM))? };
        // SAFETY: the first page of the mapping just made; nothing uses it.
        unsafe { rustix::mm::mprotect(base, Self::GUARD, MprotectFlags::empty()) }.map_err(failed)?;
        Ok(stack)
    }

    fn range(&self) -> Range<usize> {
        let bottom = self.base.as_ptr() as usize + Self::GUARD;
        bottom..bottom + Self::SIZE
    }
}

impl Drop for Stack {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`; the child that ran on it has
        // called execve or ended (CLONE_VFORK), or has a copy of its own.
        let _unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), Self::GUARD + Self::SIZE) };
    }
}

thread_local! {
    /// Made once for each launching thread.
    static STACK: std::cell::OnceCell<Stack> = const { std::cell::OnceCell::new() };
}

fn with_stack<T>(run: impl FnOnce(&Stack) -> T) -> Result<T, LaunchError> {
    STACK.with(|cell| {
        if cell.get().is_none() {
            let _first = cell.set(Stack::map()?);
        }
        cell.get().map(run).ok_or_else(|| LaunchError::os(Step::Clone, "a stack", libc::ENOMEM))
    })
}

/// µs between two times in ns; 0 where either is missing.
fn micros(from: u64, to: u64) -> u32 {
    if from == 0 {
        return 0;
    }
    u32::try_from(to.saturating_sub(from) / 1000).unwrap_or(u32::MAX)
}

fn timings(points: [u64; 5], slot: &Slot) -> Timings {
    let [start, cgroup, prepared, ready, done] = points;
    let mut marks = [0u64; MARKS];
    for (mark, value) in marks.iter_mut().zip(&slot.marks) {
        *mark = value.load(Ordering::Relaxed);
    }
    let root = if marks[2] == 0 { marks[3] } else { marks[2] };
    Timings {
        queue: 0,
        cgroup: micros(start, cgroup),
        stdio: micros(cgroup, prepared),
        prepare: micros(prepared, ready),
        clone: micros(ready, marks[0]),
        join: micros(marks[0], marks[1]),
        root: micros(marks[1], root),
        mounts: micros(root, marks[3]),
        process: micros(marks[3], marks[4]),
        exec: micros(marks[4], done),
        total: micros(start, done),
    }
}

fn program<'a>(programs: &'a Programs, process: &Process) -> Result<Option<&'a [libc::sock_filter]>, LaunchError> {
    let Some(hash) = &process.seccomp else { return Ok(None) };
    programs.get(hash).map(Some).ok_or_else(|| {
        LaunchError::because(Step::Seccomp, hash.clone(), "the launcher was not given a program of that hash")
    })
}

/// The highest capability that the kernel knows.
fn last_capability() -> u32 {
    static LAST: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *LAST.get_or_init(|| {
        (0..63).take_while(|number| sys::prctl(libc::PR_CAPBSET_READ, *number, 0).is_ok()).last().unwrap_or(0) as u32
    })
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
    slot.reset();
    let start = sys::now_ns();
    let seccomp = program(programs, &spec.process)?;
    home.fail_here(Step::Spec)?;

    slot.enter(Step::Cgroup, 0);
    home.fail_here(Step::Cgroup)?;
    let prepared = match &spec.cgroup {
        None => Prepared { devices: true, ..Prepared::default() },
        Some(cgroup) => {
            let mut joined = Vec::new();
            for index in &cgroup.join {
                descriptor(Step::Cgroup, fds, *index)?;
                joined.push(&fds[*index as usize]);
            }
            home.cgroups().prepare(cgroup, &joined)?
        }
    };
    let cgroup_done = sys::now_ns();
    let mut scratch = None;
    let times = (start, cgroup_done);
    let outcome = launch_prepared(home, seccomp, spec, fds, slot, parent, &prepared, &mut scratch, times);
    outcome.map_err(|mut failure| {
        drop(prepared);
        end(&mut failure, parent);
        if failure.pid.is_none() && failure.helper.is_none() {
            // A scratch folder that was there before is not this launch's.
            let scratch = scratch.map_or(Ok(()), remove_scratch);
            if let Err(left) = remove_groups(home, spec).and(scratch) {
                let _ = write!(failure.error.hint, " (and then: {left})");
            }
        }
        failure
    })
}

/// Ends what a failed launch may have left running, and reaps it where it is
/// the caller's to reap. The child of a helper may live: what it told of its
/// failure came through a pipe that a container could write to.
fn end(failure: &mut Failure, parent: Parent) {
    for pid in [failure.pid, failure.helper].into_iter().flatten() {
        // Not reaped yet, so the number is still its own.
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    if parent == Parent::Caller {
        for pid in [failure.pid.take(), failure.helper.take()].into_iter().flatten() {
            reap(pid);
        }
    }
}

/// Removes what a launch made that is not a process: its control groups and
/// its scratch folder. For launches that have cloned a process: of one that
/// failed earlier nothing is left, and what bears its names is another's.
pub fn clean(home: &Home, spec: &LaunchSpec) -> Result<(), LaunchError> {
    let groups = remove_groups(home, spec);
    let scratch = match &spec.root.scratch {
        Scratch::Disk { dir, keep: false, .. } => remove_scratch(dir),
        _ => Ok(()),
    };
    groups.and(scratch)
}

fn remove_groups(home: &Home, spec: &LaunchSpec) -> Result<(), LaunchError> {
    match &spec.cgroup {
        Some(cgroup) => home.cgroups().remove(&cgroup.parent, &cgroup.name),
        None => Ok(()),
    }
}

fn remove_scratch(dir: &str) -> Result<(), LaunchError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LaunchError::os(Step::Scratch, dir, error.raw_os_error().unwrap_or(0)))
        }
        _ => Ok(()),
    }
}

fn reap(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let options = rustix::process::WaitIdOptions::EXITED;
        let _gone = rustix::io::retry_on_intr(|| rustix::process::waitid(rustix::process::WaitId::Pid(pid), options));
    }
}

#[allow(clippy::too_many_arguments)] // one straight launch, split for its clean-up alone
fn launch_prepared<'a>(
    home: &Home,
    seccomp: Option<&[libc::sock_filter]>,
    spec: &'a LaunchSpec,
    fds: &[OwnedFd],
    slot: &Slot,
    parent: Parent,
    prepared: &Prepared,
    scratch: &mut Option<&'a str>,
    (start, cgroup_done): (u64, u64),
) -> Result<Launched, Failure> {
    slot.enter(Step::Stdio, 0);
    let streams = Streams::open(home, &spec.stdio, &spec.process, fds)?;
    slot.enter(Step::Scratch, 0);
    home.fail_here(Step::Scratch)?;
    match &spec.root.scratch {
        Scratch::Disk { dir, keep: true, .. } => make_kept_scratch(dir)?,
        Scratch::Disk { dir, keep: false, .. } => make_scratch(dir, scratch)?,
        _ => {}
    }
    let stdio_done = sys::now_ns();

    let terminal = spec.stdio.terminal.is_some();
    let mut process = ProcessPlan::new(&spec.process, seccomp, streams.own, terminal, true, last_capability())?;
    if !prepared.devices && spec.cgroup.as_ref().is_some_and(|cgroup| cgroup.resources.devices.is_some()) {
        process.without_mknod();
    }
    let pts = streams.instance.as_ref().map(AsRawFd::as_raw_fd);
    let plan = Plan::new(home, spec, fds, prepared, pts, process, parent, with_stack(Stack::range)?)?;
    let ready = sys::now_ns();

    slot.enter(Step::Clone, 0);
    home.fail_here(Step::Clone)?;
    let mut flags = plan.clone_flags | CLONE_CLEAR_SIGHAND | (libc::CLONE_VFORK | libc::CLONE_PARENT_SETTID) as u64;
    // Memory is shared only with the first process of a fresh pid namespace:
    // nobody but the host can see it before its execve (DESIGN 3.3).
    let fresh = plan.clone_flags & libc::CLONE_NEWPID as u64 != 0;
    if fresh {
        flags |= libc::CLONE_VM as u64;
    }
    let told = if plan.isolated.is_some() { &slot.helper_pid } else { &slot.child_pid };
    let cloned = Start { plan: &plan, slot };
    let into = prepared.into.as_ref().map(AsRawFd::as_raw_fd);
    let outcome = clone(flags, parent, told.as_ptr() as u64, into, child::entry, std::ptr::from_ref(&cloned).cast());
    let done = sys::now_ns();

    let pid = outcome.map_err(|errno| explain(LaunchError::os(Step::Clone, "", errno)))?;
    let (pid, helper) = if plan.isolated.is_some() {
        let child = slot.child_pid.load(Ordering::Relaxed);
        ((child > 0).then_some(child), Some(pid))
    } else {
        (Some(pid), None)
    };
    let errno = slot.errno.load(Ordering::Relaxed);
    if errno != 0 {
        let step = slot.current_step();
        let subject = plan.subject(step, slot.index.load(Ordering::Relaxed) as usize);
        return Err(Failure { error: explain(LaunchError::os(step, subject, errno)), pid, helper });
    }
    let (Some(pid), Step::Exec) = (pid, slot.current_step()) else {
        return Err(Failure { error: killed(slot.current_step()), pid, helper });
    };
    let helper = match (helper, parent) {
        (Some(helper), Parent::Caller) => {
            reap(helper);
            None
        }
        (helper, _) => helper,
    };
    Ok(Launched {
        pid,
        helper,
        mount_ns: mount_namespace(pid),
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
        terminal: streams.terminal,
        timings: timings([start, cgroup_done, stdio_done, ready, done], slot),
    })
}

/// `CLONE_CLEAR_SIGHAND` (Linux 5.5).
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// `CLONE_INTO_CGROUP` (Linux 5.7).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

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

/// Makes the scratch folder; `made` says so as soon as it is there.
fn make_scratch<'a>(dir: &'a str, made: &mut Option<&'a str>) -> Result<(), LaunchError> {
    let failed = |errno: rustix::io::Errno| LaunchError::os(Step::Scratch, dir, errno.raw_os_error());
    rustix::fs::mkdir(dir, Mode::from_raw_mode(0o700)).map_err(failed)?;
    *made = Some(dir);
    rustix::fs::mkdir(format!("{dir}/u"), Mode::from_raw_mode(0o755)).map_err(failed)?;
    rustix::fs::mkdir(format!("{dir}/w"), Mode::from_raw_mode(0o700)).map_err(failed)
}

/// Makes what is not there yet of a scratch folder that is kept, and of the
/// folder that it lies in.
fn make_kept_scratch(dir: &str) -> Result<(), LaunchError> {
    let parent = dir.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
    let own = [(dir.to_owned(), 0o700), (format!("{dir}/u"), 0o755), (format!("{dir}/w"), 0o700)];
    for (path, mode) in [(parent, 0o700)].into_iter().chain(own).filter(|(path, _)| !path.is_empty()) {
        match rustix::fs::mkdir(path.as_str(), Mode::from_raw_mode(mode)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(LaunchError::os(Step::Scratch, path, errno.raw_os_error())),
        }
    }
    Ok(())
}

/// Holds the program's mount namespace, so that its end is not delayed by its
/// unmounting (DESIGN 3.10). None where the program has ended by now.
fn mount_namespace(pid: i32) -> Option<OwnedFd> {
    let path = format!("/proc/{pid}/ns/mnt");
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// The error of a child that has ended before its execve and told no reason.
fn killed(step: Step) -> LaunchError {
    LaunchError::because(step, "", "the process was killed; if nobody did that, its memory limit is too small")
}

/// The exit code and the advice that go with an errno.
fn explain(mut error: LaunchError) -> LaunchError {
    let advice = match (error.step, error.errno) {
        (Step::Exec, errno) => {
            error.exit_code = if matches!(errno, libc::ENOENT | libc::ENOTDIR) { 127 } else { 126 };
            match errno {
                libc::ENOENT => "no such program in the container, or the interpreter it names is missing",
                libc::ENOEXEC => "it is neither a binary for this machine nor a script that begins with #!",
                libc::E2BIG => {
                    "arguments and environment are too long together, or the memory limit is too small for them"
                }
                _ => "",
            }
        }
        (Step::Rlimit, libc::EPERM) => "raising a hard limit needs CAP_SYS_RESOURCE, which this engine does not have",
        (Step::OomScore, libc::EACCES) => "lowering it needs CAP_SYS_RESOURCE, which this engine does not have",
        (Step::Sys | Step::Proc, libc::EPERM) => "the host's own is not visible whole",
        (Step::Proc, libc::EINVAL) => "joining a pid namespace with a /proc of its own needs Linux 6.17",
        (Step::Proc | Step::Dev | Step::Sys, libc::ENOTDIR | libc::ELOOP) => {
            "it is not a folder in the root file system; it must be one, or missing"
        }
        (Step::Tmpfs | Step::Root | Step::Mount, libc::ENOSPC) => "a namespace may hold no more mounts (fs.mount-max)",
        (Step::Proc | Step::Dev | Step::Sys, libc::EROFS) => {
            "the folder is missing and the root file system is read-only; make it there first"
        }
        (Step::File | Step::Mount, libc::EROFS) => {
            "the target is missing and the root file system is read-only; make it there first"
        }
        (Step::File | Step::Mount, libc::ENOTDIR | libc::EINVAL) => {
            "source and target must both be folders or both be files, and options be the file system's"
        }
        (Step::File | Step::Mount, libc::ENOENT) => "a symbolic link on the way to the target leads nowhere",
        (Step::File | Step::Mount | Step::Cwd, libc::ELOOP) => {
            "a link such as /proc/self/fd/0, or a circle of links, is on the way"
        }
        (Step::Cwd, libc::ENOENT) => "it is missing, or a symbolic link that leads nowhere",
        (Step::Hostname, libc::EINVAL) => "a name has 64 characters at most",
        (Step::Sysctl, libc::ENOENT) => "there is no such kernel parameter in the container's namespaces",
        (Step::Sysctl, libc::EACCES | libc::EROFS) => "it belongs to the host, not to a namespace of the container's",
        (Step::Cwd, libc::ENOTDIR) => "it is not a folder",
        (Step::JoinNamespace, libc::ESRCH) => "the container has ended",
        (Step::Apparmor, libc::ENOENT | libc::EINVAL) => "AppArmor is not enabled, or has no such profile loaded",
        (Step::JoinCgroup, libc::ENOSPC) => "the cpuset has no cpus or memory nodes",
        (Step::JoinCgroup | Step::Clone, libc::EAGAIN) => "the limit on processes leaves no room",
        _ => "",
    };
    if !advice.is_empty() {
        advice.clone_into(&mut error.hint);
    }
    error
}

/// Starts a further program in a running container. `target` is a pidfd of
/// its first process, `cgroup` the parent and name of its control groups.
/// Otherwise as [`launch`].
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
    slot.reset();
    let start = sys::now_ns();
    let seccomp = program(programs, &spec.process)?;
    home.fail_here(Step::Spec)?;
    slot.enter(Step::Cgroup, 0);
    home.fail_here(Step::Cgroup)?;
    let tasks = match cgroup {
        Some((parent, name)) => {
            let groups = of_target(target, "cgroup")?;
            home.cgroups().tasks_of(parent, name, &groups)?
        }
        None => Vec::new(),
    };
    let cgroup_done = sys::now_ns();
    slot.enter(Step::Stdio, 0);
    let failed = |errno: rustix::io::Errno| LaunchError::os(Step::Stdio, "a terminal", errno.raw_os_error());
    let mut streams;
    let mut socket = None;
    if spec.stdio.terminal.is_some() {
        // The terminal is opened by the helper, inside of the container.
        use rustix::net as n;
        let (ours, theirs) =
            n::socketpair(n::AddressFamily::UNIX, n::SocketType::STREAM, n::SocketFlags::CLOEXEC, None)
                .map_err(failed)?;
        streams = Streams { own: [0, 1, 2], ..Streams::default() };
        socket = Some((ours, theirs));
    } else {
        streams = Streams::open(home, &spec.stdio, &spec.process, fds)?;
    }
    let stdio_done = sys::now_ns();
    let terminal = spec.stdio.terminal.is_some();
    let mut process = ProcessPlan::new(&spec.process, seccomp, streams.own, terminal, false, last_capability())?;
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
    let ready = sys::now_ns();
    slot.enter(Step::Clone, 0);
    home.fail_here(Step::Clone)?;
    let flags = CLONE_CLEAR_SIGHAND | (libc::CLONE_VFORK | libc::CLONE_PARENT_SETTID) as u64;
    let told = slot.helper_pid.as_ptr() as u64;
    let argument = std::ptr::from_ref(&joining).cast();
    let outcome = clone(flags, parent, told, None, join::entry, argument);
    let done = sys::now_ns();

    let helper = outcome.map_err(|errno| explain(LaunchError::os(Step::Clone, "", errno)))?;
    let child = slot.child_pid.load(Ordering::Relaxed);
    let pid = (child > 0).then_some(child);
    let errno = slot.errno.load(Ordering::Relaxed);
    let error = if errno != 0 {
        let step = slot.current_step();
        let subject = joining.process.subject(step, slot.index.load(Ordering::Relaxed) as usize).unwrap_or_default();
        Some(explain(LaunchError::os(step, subject, errno)))
    } else if pid.is_none() || slot.current_step() != Step::Exec {
        Some(killed(slot.current_step()))
    } else if let Some((ours, theirs)) = socket {
        drop(theirs);
        match receive_fd(&ours) {
            Ok(master) => {
                streams.terminal = Some(master);
                None
            }
            Err(error) => Some(error),
        }
    } else {
        None
    };
    if let Some(error) = error {
        let mut failure = Failure { error, pid, helper: Some(helper) };
        end(&mut failure, parent);
        return Err(failure);
    }
    let helper = match parent {
        Parent::Keeper => Some(helper),
        Parent::Caller => {
            reap(helper);
            None
        }
    };
    Ok(Launched {
        pid: child,
        helper,
        mount_ns: None,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
        terminal: streams.terminal,
        timings: timings([start, cgroup_done, stdio_done, ready, done], slot),
    })
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
