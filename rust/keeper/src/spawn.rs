#![allow(unsafe_code)]
//! Starting a keeper from an engine's process, which has threads, a Python
//! interpreter and descriptors of its own.
//!
//! The binary runs from a sealed memfd, so that nobody can write it while it
//! runs (a container that gets hold of `/proc/PID/exe` included). Everything
//! is prepared before the fork; between fork and execve only system calls
//! run: no allocation, no lock, no log.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ardock_launch::{Feature, Features};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, CWD};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::pipe::{pipe_with, PipeFlags};

use crate::config::is_engine_id;
use crate::packet::write_all;

/// The keeper's binary.
#[derive(Debug, Clone, Copy)]
pub enum Binary<'a> {
    /// Its contents.
    Bytes(&'a [u8]),
    /// The installed file, which is copied into a memfd; where memfds may not
    /// be executed it is run itself, by a read-only mount.
    File(&'a Path),
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Spawn<'a> {
    /// The binary.
    pub binary: Binary<'a>,
    /// The engine's id, 8 hexadecimal digits.
    pub engine: &'a str,
    /// The keeper's number.
    pub number: u32,
    /// The engine's root folder.
    pub root: PathBuf,
    /// The keeper's run folder: exists, empty, root's own.
    pub run: PathBuf,
    /// How long it may take until it listens.
    pub patience: Duration,
    /// Start it although it would inherit a seccomp filter or no_new_privs
    /// (as every container of it would).
    pub restricted: bool,
    /// Features of the kernel that neither this nor the keeper is to use.
    pub absent: Features,
}

/// Why a keeper was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The caller's doing.
    #[error("{0}")]
    Invalid(&'static str),
    /// It would inherit a restriction.
    #[error("this process has {0}, which the keeper and every container would inherit")]
    Restricted(&'static str),
    /// The kernel's refusal.
    #[error("could not {doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The keeper's own words.
    #[error("could not {0}")]
    Keeper(String),
    /// It said nothing.
    #[error("the keeper ended before it was ready")]
    Ended,
    /// It said nothing in time.
    #[error("the keeper was not ready in time")]
    Late,
}

fn system<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> SpawnError {
    move |error| SpawnError::System { doing, source: error.into() }
}

/// Starts a keeper and waits until it listens. It is init's child, not ours.
pub fn spawn(spawn: &Spawn<'_>) -> Result<(), SpawnError> {
    if !is_engine_id(spawn.engine) {
        return Err(SpawnError::Invalid("an engine's id is 8 hexadecimal digits"));
    }
    if !spawn.restricted {
        check_restrictions(&fs::read_to_string("/proc/self/status").map_err(system("read /proc/self/status"))?)?;
    }
    let program = open_binary(spawn.binary, spawn.absent)?;
    let (ready, its_ready) = pipe_with(PipeFlags::CLOEXEC).map_err(system("make a pipe"))?;
    let null = rustix::fs::openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(system("open /dev/null"))?;
    // Out of the way of the numbers that they get in the child. The first
    // descriptor is closed: while the pipe had another writer, the end of a
    // keeper that fails would not be seen.
    let high = |fd: OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, FIRST_FREE).map_err(system("copy a descriptor"));
    let (program, its_ready, null) = (high(program)?, high(its_ready)?, high(null)?);

    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| SpawnError::Invalid("a path holds a zero byte"));
    let arguments = [
        text(b"ardock-keeper")?,
        text(b"--engine")?,
        text(spawn.engine.as_bytes())?,
        text(b"--number")?,
        text(spawn.number.to_string().as_bytes())?,
        text(b"--root")?,
        text(spawn.root.as_os_str().as_bytes())?,
        text(b"--run")?,
        text(spawn.run.as_os_str().as_bytes())?,
        text(b"--ready")?,
        text(READY.to_string().as_bytes())?,
        text(b"--without")?,
        text(spawn.absent.names().as_bytes())?,
    ];
    let mut pointers: Vec<*const libc::c_char> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let child = Child {
        program: program.as_raw_fd(),
        ready: its_ready.as_raw_fd(),
        null: null.as_raw_fd(),
        arguments: pointers.as_ptr(),
        environment: [std::ptr::null()],
    };
    child.start().map_err(system("fork"))?;
    drop(its_ready);
    wait_until_ready(&ready, spawn.patience)
}

/// The readiness pipe's number in the keeper.
const READY: RawFd = 3;
/// Numbers from here on are nobody's in the keeper.
const FIRST_FREE: RawFd = 10;

fn check_restrictions(status: &str) -> Result<(), SpawnError> {
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.is_some_and(|value| value.trim() != "0")
    };
    if field("Seccomp") {
        return Err(SpawnError::Restricted("a seccomp filter"));
    }
    if field("NoNewPrivs") {
        return Err(SpawnError::Restricted("no_new_privs set"));
    }
    Ok(())
}

/// A descriptor of the binary that can be executed and not be written.
fn open_binary(binary: Binary<'_>, absent: Features) -> Result<OwnedFd, SpawnError> {
    let read;
    let bytes = match binary {
        Binary::Bytes(bytes) => bytes,
        Binary::File(path) => {
            read = fs::read(path).map_err(system("read the keeper's binary"))?;
            &read
        }
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = executable_memfd(flags, absent);
    match (memfd, binary) {
        (Ok(memfd), _) => {
            write_all(memfd.as_fd(), bytes).map_err(system("copy the keeper's binary"))?;
            let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
            rustix::fs::fcntl_add_seals(&memfd, seals).map_err(system("seal the keeper's binary"))?;
            Ok(memfd)
        }
        // vm.memfd_noexec = 2.
        (Err(Errno::ACCESS | Errno::PERM), Binary::File(path)) => read_only(path),
        (Err(error), _) => Err(system("make a memfd for the keeper's binary")(error)),
    }
}

/// A memfd that can be executed.
fn executable_memfd(flags: MemfdFlags, absent: Features) -> Result<OwnedFd, Errno> {
    let make = |flags| rustix::fs::memfd_create("ardock-keeper", flags);
    if absent.has(Feature::ExecutableMemfd) {
        return Err(Errno::ACCESS);
    }
    if absent.has(Feature::MfdExec) {
        return make(flags);
    }
    // MFD_EXEC is Linux 6.3's; earlier kernels refuse what they do not know.
    match make(flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => make(flags),
        made => made,
    }
}

/// A file by a read-only mount of its own.
fn read_only(path: &Path) -> Result<OwnedFd, SpawnError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let doing = "mount the keeper's binary read-only";
    let tree = rustix::mount::open_tree(CWD, path, flags).map_err(system(doing))?;
    // struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
    let attributes: [u64; 4] = [1 /* MOUNT_ATTR_RDONLY */, 0, 0, 0];
    // SAFETY: the path is an empty C string, the attributes are as long as is
    // said, and both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if result < 0 {
        return Err(system(doing)(io::Error::last_os_error()));
    }
    Ok(tree)
}

/// What the child needs, all of it ready.
struct Child {
    program: RawFd,
    ready: RawFd,
    null: RawFd,
    arguments: *const *const libc::c_char,
    environment: [*const libc::c_char; 1],
}

impl Child {
    /// Forks twice. The first child is collected here.
    fn start(&self) -> io::Result<()> {
        let mut all: libc::sigset_t;
        let mut before: libc::sigset_t;
        // SAFETY: signal sets are plain memory, filled by these calls. With
        // all signals blocked no handler of the engine's runs in the child.
        unsafe {
            all = std::mem::zeroed();
            before = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        }
        // No exit signal: the engine's program is not to see a SIGCHLD.
        // SAFETY: without CLONE_VM the child has a copy of our memory; it
        // runs `run`, which makes system calls and never returns.
        let pid = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
        if pid == 0 {
            // SAFETY: this is the child.
            unsafe { self.run() };
        }
        let error = io::Error::last_os_error();
        // SAFETY: `before` was filled above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
        if pid < 0 {
            return Err(error);
        }
        // SAFETY: the child is ours and reaped here alone; __WALL finds it
        // although it has no exit signal.
        while unsafe { libc::waitpid(pid as libc::pid_t, std::ptr::null_mut(), libc::__WALL) } < 0
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
        Ok(())
    }

    /// The child's side.
    ///
    /// # Safety
    /// Only in a child that has a copy of the parent's memory and one thread.
    unsafe fn run(&self) -> ! {
        // SAFETY: system calls on what was prepared, nothing else.
        unsafe {
            libc::setsid();
            match libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) {
                0 => {}
                -1 => self.fail(c"fork again"),
                _ => libc::_exit(0),
            }
            // sa_handler, sa_flags, sa_restorer, sa_mask: SIG_DFL of it all.
            let default = [0_u64; 4];
            for signal in 1..=64 {
                libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0, 8);
            }
            let none = 0_u64;
            libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, 0, 8);
            libc::umask(0o022);
            if libc::chdir(c"/".as_ptr()) < 0 {
                self.fail(c"enter /");
            }
            for (from, to) in [(self.null, 0), (self.null, 1), (self.null, 2), (self.ready, READY)] {
                if libc::dup2(from, to) < 0 {
                    self.fail(c"connect its descriptors");
                }
            }
            // All above are closed by execve; the program is needed until then.
            let cloexec = 4_u32; // CLOSE_RANGE_CLOEXEC
            if libc::syscall(libc::SYS_close_range, READY + 1, u32::MAX, cloexec) < 0 {
                self.fail(c"close what it inherits");
            }
            libc::syscall(
                libc::SYS_execveat,
                self.program,
                c"".as_ptr(),
                self.arguments,
                self.environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
            self.fail(c"be executed");
        }
    }

    /// Says what went wrong, as the keeper itself would.
    unsafe fn fail(&self, doing: &std::ffi::CStr) -> ! {
        // SAFETY: system calls alone; `ready` is open in parent and child.
        unsafe {
            libc::write(self.ready, doing.as_ptr().cast(), doing.count_bytes());
            libc::_exit(1)
        }
    }
}

fn wait_until_ready(ready: &OwnedFd, patience: Duration) -> Result<(), SpawnError> {
    let end = Instant::now() + patience;
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let time = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(ready, PollFlags::IN)], Some(&time)) {
            Ok(0) => return Err(SpawnError::Late),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(system("wait for the keeper")(error)),
        }
        match rustix::io::read(ready, &mut buffer) {
            Ok(0) if said.is_empty() => return Err(SpawnError::Ended),
            Ok(0) => return Err(SpawnError::Keeper(String::from_utf8_lossy(&said).into_owned())),
            Ok(count) => said.extend_from_slice(&buffer[..count]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(system("hear from the keeper")(error)),
        }
        if said == b"ready" {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restrictions_are_named() {
        let free = "Name:\tx\nNoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\n";
        assert!(check_restrictions(free).is_ok());
        let filtered = free.replace("Seccomp:\t0", "Seccomp:\t2");
        assert!(check_restrictions(&filtered).is_err_and(|error| error.to_string().contains("seccomp")));
        let bound = free.replace("NoNewPrivs:\t0", "NoNewPrivs:\t1");
        assert!(check_restrictions(&bound).is_err_and(|error| error.to_string().contains("no_new_privs")));
    }

    #[test]
    fn an_installed_binary_runs_by_a_mount_that_can_not_be_written() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: not root");
            return;
        }
        let path = std::env::temp_dir().join(format!("ardock-spawn-{}", std::process::id()));
        fs::copy("/bin/true", &path).unwrap();
        let absent = Features::parse("memfd").unwrap();
        let fd = open_binary(Binary::File(&path), absent).unwrap();
        let by_fd = format!("/proc/self/fd/{}", fd.as_raw_fd());
        assert!(std::process::Command::new(&by_fd).status().unwrap().success());
        let error = fs::OpenOptions::new().write(true).open(&by_fd).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_memfd_with_the_binary_can_not_be_written() {
        for absent in ["", "mfd_exec"] {
            let fd = open_binary(Binary::File(Path::new("/bin/true")), Features::parse(absent).unwrap()).unwrap();
            let by_fd = format!("/proc/self/fd/{}", fd.as_raw_fd());
            assert!(std::process::Command::new(&by_fd).status().unwrap().success());
            // While it does not run, ETXTBSY does not hide the seal.
            assert_eq!(rustix::io::write(&fd, b"x"), Err(Errno::PERM));
            assert_eq!(rustix::fs::ftruncate(&fd, 0), Err(Errno::PERM));
        }
    }
}
