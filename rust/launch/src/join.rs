//! Programs in a pid namespace that exists already.
//!
//! A process there is visible to the container before its execve, and one
//! that has CAP_SYS_PTRACE there may rewrite its memory (runc's CVE-2016-9962
//! is the cousin). So the program's process is cloned last of all, by a
//! helper outside of the pid namespace that has a memory of its own: when the
//! container can first see it, it holds the container's own rights, no
//! descriptor but its streams and the pipe that tells of a failed execve, and
//! no page shared with anybody (DESIGN 3.3).

use core::ffi::c_void;
use core::sync::atomic::Ordering;

use crate::child::Watched;
use crate::error::Step;
use crate::isolate::Isolated;
use crate::process::{self, ProcessPlan, Progress};
use crate::slot::Slot;
use crate::sys;

/// The program's way of telling where it stands: none, its helper's pages are
/// not its own. A failed execve is (step, errno) on descriptor 3.
struct Alone {
    step: core::cell::Cell<Step>,
    failpoint: u32,
}

impl Progress for Alone {
    fn at(&self, step: Step, _index: usize) -> Result<(), i32> {
        self.step.set(step);
        if self.failpoint == step as u32 {
            return Err(libc::EIO);
        }
        Ok(())
    }

    fn keeps_pipe(&self) -> bool {
        true
    }
}

/// The helper's last act: clones the program into the pid namespace and waits
/// until it has called execve. Does not come back but with an errno.
pub(crate) fn fork_program(isolated: &Isolated, progress: &Watched<'_>) -> i32 {
    match fork_and_wait(isolated, progress) {
        Ok(()) => sys::exit(0),
        Err(errno) => errno,
    }
}

fn fork_and_wait(isolated: &Isolated, progress: &Watched<'_>) -> Result<(), i32> {
    let slot = progress.slot;
    progress.at(Step::CloseFds, 0)?;
    let [reader, writer] = sys::pipe()?;
    // 3 is the program's end, 4 the helper's; nothing else is left.
    let writer = sys::dup_above(writer, 5)? as i32;
    let reader = sys::dup_above(reader, 5)? as i32;
    sys::dup3_cloexec(writer, 3)?;
    sys::dup3_cloexec(reader, 4)?;
    sys::close_range(5, 0)?;

    progress.at(Step::Clone, 1)?;
    // On this stack, which the program's process gets a copy of.
    let last = isolated.last();
    let alone = Alone { step: core::cell::Cell::new(Step::Exec), failpoint: progress.failpoint };
    #[allow(unsafe_code)]
    // SAFETY: the program's process uses `last` and `alone`, which are on its
    // stack, and what `last` refers to.
    unsafe { isolated.hide_the_rest() }?;
    // Not CLONE_VFORK: nothing is shared that would have to be waited for, and
    // a process that a container has made to live on without an execve would
    // hold the helper though it has told of a failure.
    let flags = (libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID) as u64;
    #[allow(unsafe_code)]
    // SAFETY: no CLONE_VM.
    let child = unsafe { sys::fork(flags, &slot.child_pid) }?;
    if child == 0 {
        // The end of pipe 4 is the helper's; a program that held it could
        // read nothing from it, but it has no business with it.
        let errno = match sys::close(4) {
            Err(errno) => errno,
            // No check of the keeper here: where it has died, the namespace's
            // first process dies with it and takes this one along.
            Ok(_) => process::execute(&last, None, &alone),
        };
        let mut told = [0u8; 8];
        told[..4].copy_from_slice(&(alone.step.get() as u32).to_ne_bytes());
        told[4..].copy_from_slice(&errno.to_ne_bytes());
        let _nobody_else_to_tell = sys::write(3, &told);
        sys::exit(127);
    }
    sys::close(3)?;
    let mut told = [0u8; 8];
    match sys::read(4, &mut told)? {
        0 => {
            // Tells this end of the helper from one that came too early.
            slot.enter(Step::Exec, 0);
            Ok(())
        }
        8 => {
            let (step, errno) = told.split_at(4);
            let number = |bytes: &[u8]| bytes.try_into().map_or(-1, i32::from_ne_bytes);
            let step = Step::from_number(number(step) as u32).unwrap_or(Step::Exec);
            slot.enter(step, 0);
            // What comes from there may be forged by the container; it only
            // chooses the words of an error.
            match number(errno) {
                errno @ 1..=4095 => Err(errno),
                _ => Err(libc::EPROTO),
            }
        }
        _ => Err(libc::EPROTO),
    }
}

/// What an exec's helper is given.
pub(crate) struct Joining<'a> {
    pub process: ProcessPlan<'a>,
    pub isolated: Isolated,
    pub slot: &'a Slot,
    /// pidfd of the container's first process.
    pub target: i32,
    pub tasks: &'a [i32],
    pub ignored: &'a [i32],
    pub failpoint: u32,
    /// Opens the terminal on the container's devpts and sends it here.
    pub terminal: Option<i32>,
    pub size: (u16, u16),
}

/// The helper's first instruction. It has a copy of its launcher's memory.
pub(crate) extern "C" fn entry(argument: *mut c_void) -> ! {
    #[allow(unsafe_code)]
    // SAFETY: `exec` passes a `Joining` that lives in memory copied by clone.
    let joining = unsafe { &*argument.cast::<Joining<'_>>() };
    let progress = Watched { slot: joining.slot, failpoint: joining.failpoint };
    joining.slot.mark(0);
    let errno = match join(joining, &progress) {
        Err(errno) => errno,
        Ok(()) => fork_program(&joining.isolated, &progress),
    };
    joining.slot.errno.store(errno, Ordering::Relaxed);
    sys::exit(127);
}

fn join(joining: &Joining<'_>, progress: &Watched<'_>) -> Result<(), i32> {
    sys::set_signal_mask(0)?;
    for signal in joining.ignored {
        sys::default_signal(*signal)?;
    }
    process::new_keyring()?;
    for (index, tasks) in joining.tasks.iter().enumerate() {
        progress.at(Step::JoinCgroup, index)?;
        sys::write(*tasks, b"0")?;
    }
    process::before_pivot(&joining.process, progress)?;
    progress.slot.mark(1);
    progress.at(Step::JoinNamespace, 0)?;
    // One call for all of them, so that it is one process's namespaces even
    // if that process is just ending.
    let all = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    sys::setns(joining.target, all)?;
    progress.slot.mark(3);
    let root = sys::above_streams(sys::openat(libc::AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY, 0)?)?;
    if let Some(socket) = joining.terminal {
        progress.at(Step::Stdio, 0)?;
        open_terminal(socket, joining.size, joining.process.owner())?;
    }
    process::become_program(&joining.process, root, false, progress)?;
    progress.slot.mark(4);
    Ok(())
}

/// `DEVPTS_SUPER_MAGIC`.
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// A terminal on the container's devpts: its slave becomes descriptors 0 to 2,
/// its master travels to the launcher.
fn open_terminal(socket: i32, (rows, cols): (u16, u16), owner: (u32, u32)) -> Result<(), i32> {
    let flags = libc::O_RDWR | libc::O_NOCTTY;
    let master = sys::openat(libc::AT_FDCWD, c"/dev/pts/ptmx", flags, 0)? as i32;
    // The image may have put anything there.
    if sys::fs_type_of(master)? != DEVPTS_MAGIC {
        return Err(libc::ENOTTY);
    }
    let mut unlock: libc::c_int = 0;
    sys::ioctl(master, libc::TIOCSPTLCK, &mut unlock)?;
    let slave = sys::above_streams(sys::ioctl_number(master, libc::TIOCGPTPEER, (flags | libc::O_CLOEXEC) as usize)?)?;
    if (rows, cols) != (0, 0) {
        let mut size = libc::winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        sys::ioctl(master, libc::TIOCSWINSZ, &mut size)?;
    }
    if owner.0 != 0 {
        sys::fchownat_empty(slave, owner.0, u32::MAX)?;
    }
    sys::send_fd(socket, master)?;
    sys::close(master)?;
    for stream in 0..3 {
        sys::dup2(slave, stream)?;
    }
    sys::close(slave).map(|_| ())
}
