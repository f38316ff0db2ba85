#![allow(unsafe_code)]
//! The zygote: a single-threaded process that makes launchers.
//!
//! The keeper has writer threads, and a process with threads may not fork and
//! then do as it likes. So it forks the zygote before the first of them. The
//! zygote clones launchers with `CLONE_PARENT`: their parent is the keeper's
//! main thread, and so is, by `CLONE_PARENT` in them, that of each container.
//! That thread lives as long as the keeper, which is what makes the parent
//! death signal mean "the keeper has died".
//!
//! The zygote itself outlives a keeper that is killed, by a moment, to kill
//! what the signal does not reach: the kernel forgets it when an execve
//! changes the `AppArmor` profile (`apparmor_bprm_committing_creds`), which is
//! how containers are confined, or the ids; and in the host's pid namespace a
//! program's children do not die with it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process;
use std::time::{Duration, Instant};

use ardock_launch::{Home, Slots};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use rustix::process::Signal;

use crate::config::Config;
use crate::launcher;
use crate::packet::{self, Received};

/// How long a keeper whose socket is closed may take to be gone.
const KEEPERS_END: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);

/// The keeper's side.
#[derive(Debug)]
pub struct Zygote {
    /// Requests down, process ids up, in the same order.
    pub socket: OwnedFd,
    /// Its process id.
    pub pid: i32,
}

/// A connected pair of SEQPACKET sockets.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Forks without a libc's handlers; `flags` as for clone(2).
///
/// # Safety
/// The calling process has a single thread.
unsafe fn fork(flags: libc::c_int) -> io::Result<libc::pid_t> {
    // SAFETY: without CLONE_VM the child has a copy of everything, its stack
    // included; with one thread no lock is held by anyone who is missing there.
    match unsafe { libc::syscall(libc::SYS_clone, flags as libc::c_ulong, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid as libc::pid_t),
    }
}

/// Dies with the keeper's main thread, or now if that is gone already.
pub fn die_with(keeper: i32) {
    let set = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if set.is_err() || !is_parent(keeper) {
        process::exit(1);
    }
}

fn is_parent(keeper: i32) -> bool {
    rustix::process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get() == keeper)
}

/// Ends the zygote; first, where the keeper has died, what still runs of its
/// containers. One that ends in good order has none, and ends us before.
fn outlive(home: &Home, config: &Config, keeper: i32) -> ! {
    // Its descriptors are closed before its children are told of its death:
    // until then a launcher may still start something.
    let deadline = Instant::now() + KEEPERS_END;
    while is_parent(keeper) {
        if Instant::now() > deadline {
            process::exit(1);
        }
        std::thread::sleep(PAUSE);
    }
    let cgroups = home.cgroups();
    if !cgroups.kill_at_once(&config.engine_cgroup(), &config.containers_cgroup()) {
        let parent = config.cgroup_parent();
        for name in cgroups.children(&parent) {
            let _left_to_the_next_engine = cgroups.kill(&parent, &name);
        }
    }
    process::exit(0);
}

/// Forks the zygote. `not_its_own`: descriptors of the keeper that it must not
/// keep open (a lock, the listening socket).
///
/// # Safety
/// The calling process has a single thread.
pub unsafe fn start(home: &Home, slots: &Slots, config: &Config, not_its_own: &[BorrowedFd<'_>]) -> io::Result<Zygote> {
    let keeper = rustix::process::getpid().as_raw_nonzero().get();
    let (ours, its) = pair()?;
    // SAFETY: passed on to the caller.
    let pid = unsafe { fork(libc::SIGCHLD)? };
    if pid != 0 {
        rustix::io::ioctl_fionbio(&ours, true)?;
        return Ok(Zygote { socket: ours, pid });
    }
    // Who ends all processes of a machine by SIGTERM ends the keeper, and is
    // not to end us before we have done what is ours.
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    drop(ours);
    for fd in not_its_own {
        use std::os::fd::AsRawFd;
        // SAFETY: the child never returns to the code that owns these; it
        // ends by process::exit, which runs no destructor.
        unsafe { libc::close(fd.as_raw_fd()) };
    }
    let _ = rustix::thread::set_name(c"ardock-zygote");
    serve(home, slots, config, &its, keeper)
}

fn serve(home: &Home, slots: &Slots, config: &Config, socket: &OwnedFd, keeper: i32) -> ! {
    let mut buffer = [0; 8];
    loop {
        let (number, its) = match packet::receive(socket.as_fd(), &mut buffer, 1) {
            Ok(Received::Packet(4, mut fds)) if fds.len() == 1 => {
                let number = u32::from_le_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
                (number as usize, fds.remove(0))
            }
            // Closed, or not the keeper's doing: nothing to live for.
            _ => outlive(home, config, keeper),
        };
        // SAFETY: the zygote never makes a thread.
        let made = unsafe { fork(libc::CLONE_PARENT | libc::SIGCHLD) };
        if let Ok(0) = made {
            // SAFETY: no handler is installed.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_DFL) };
            launcher::run(home, slots, number, &its, keeper);
        }
        drop(its);
        let word = made.unwrap_or_else(|error| -error.raw_os_error().unwrap_or(libc::EIO));
        if packet::send(socket.as_fd(), &[IoSlice::new(&word.to_le_bytes())], &[]).is_err() {
            outlive(home, config, keeper);
        }
    }
}

impl Zygote {
    /// Asks for a launcher on this socket and slot.
    pub fn ask(&self, number: usize, its: BorrowedFd<'_>) -> Result<(), Errno> {
        packet::send(self.socket.as_fd(), &[IoSlice::new(&(number as u32).to_le_bytes())], &[its])
    }

    /// The next answer: the new launcher's process id.
    pub fn answer(&self) -> Result<i32, Errno> {
        let mut buffer = [0; 8];
        match packet::receive(self.socket.as_fd(), &mut buffer, 0)? {
            Received::Packet(4, _) => {
                let word = i32::from_le_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
                if word > 0 {
                    Ok(word)
                } else {
                    Err(Errno::from_raw_os_error(-word))
                }
            }
            _ => Err(Errno::PIPE),
        }
    }
}
