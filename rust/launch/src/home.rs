//! The private mount namespace from which containers are launched.
//!
//! Each container's mount namespace begins as a copy of its launcher's, so
//! that one holds as little as can be: a tmpfs as its root (pivot_root always
//! works from there, and the host's root is out of reach), and on it
//!
//! | path | what |
//! |---|---|
//! | `/proc`, `/sys` | whole ones of the host's: writes to `/proc/self/*` go through it, and the kernel wants to see them whole before a user-namespaced container may mount its own |
//! | `/c/<hierarchy>` | the cgroup hierarchies |
//! | `/store` | the engine's root folder |
//! | `/roots/<key>` | root file systems the engine has handed over |
//! | `/empty/dir`, `/empty/file` | what masks are made of, on a superblock that nobody can make writable; not there where the kernel has no overlay |
//! | `/stage` | an empty folder: each container mounts its tmpfs here, in its own copy |
//! | `/dev/null` | the null device, under the name by which a container sees its streams |

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{Mode, OFlags, CWD};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use crate::cgroup::{self, Hierarchies};
use crate::error::{LaunchError, Step};
use crate::kernel::{Feature, Features};
use crate::launch::Parent;
use crate::sys;

/// `PROC_SUPER_MAGIC`.
const PROC_MAGIC: i64 = 0x9fa0;
/// All but SIGKILL and SIGSTOP, which are never ignored.
const ALL_SIGNALS: [i32; 62] = {
    let mut all = [0; 62];
    let (mut signal, mut at) = (1, 0);
    while signal <= 64 {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            all[at] = signal;
            at += 1;
        }
        signal += 1;
    }
    all
};
/// A step's number, or this: no step is made to fail.
const NO_FAILPOINT: u32 = u32::MAX;

/// How to build a [`Home`].
#[derive(Debug, Default)]
pub struct HomeConfig {
    /// The engine's root folder on the host, to be seen as `/store`.
    pub store: Option<PathBuf>,
    /// Features of the kernel that are not to be used.
    pub absent: Features,
}

/// The private mount namespace, seen from a thread that lives in it.
#[derive(Debug)]
pub struct Home {
    cgroups: Hierarchies,
    /// Signals that were ignored when the home was made: ignored stays
    /// ignored through execve, so the child sets them back.
    ignored: Vec<i32>,
    /// The process whose death ends the containers. Above 2, where the
    /// program's streams go before it is looked at.
    keeper: OwnedFd,
    /// The host has /proc/kcore, and so a container /dev/core (runc's rule).
    kcore: bool,
    kernel: Features,
    failpoint: AtomicU32,
}

fn failed(subject: &str) -> impl Fn(Errno) -> LaunchError + '_ {
    move |errno| LaunchError::os(Step::Root, subject, errno.raw_os_error())
}

impl Home {
    /// Takes the calling thread (and only it) into a new mount namespace and
    /// builds the home there. Processes that it forks later share it. Its file
    /// mode mask becomes 0.
    ///
    /// Needs CAP_SYS_ADMIN. The thread never comes back.
    pub fn enter(config: &HomeConfig) -> Result<Self, LaunchError> {
        let namespaces = libc::CLONE_NEWNS | libc::CLONE_FS;
        sys::unshare(namespaces).map_err(|errno| LaunchError::os(Step::Root, "a private mount namespace", errno))?;
        rustix::mount::mount_change(
            "/",
            rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
        )
        .map_err(failed("the private mount namespace"))?;
        rustix::process::umask(Mode::empty());

        // The thread's own, which need not be its process's.
        let table = "/proc/thread-self/mountinfo";
        let mountinfo = std::fs::read_to_string(table)
            .map_err(|error| LaunchError::os(Step::Proc, table, error.raw_os_error().unwrap_or(0)))?;
        let found = cgroup::find(&mountinfo);
        if found.is_empty() {
            return Err(LaunchError::because(
                Step::Cgroup,
                "",
                "no cgroup file system is mounted, and each container has a group: mount -t cgroup2 cgroup2 /sys/fs/cgroup",
            ));
        }

        // Everything of the host's is cloned while its paths still resolve.
        let mut parts: Vec<(String, OwnedFd)> = Vec::new();
        for path in ["/proc", "/sys"] {
            parts.push((path[1..].to_owned(), clone_mount(path)?));
        }
        for hierarchy in &found {
            parts.push((format!("c/{}", hierarchy.name), clone_mount(&hierarchy.mountpoint)?));
        }
        if let Some(store) = &config.store {
            parts.push(("store".to_owned(), clone_mount(&store.to_string_lossy())?));
        }
        let proc_type = sys::fs_type_of(parts[0].1.as_raw_fd());
        if proc_type != Ok(PROC_MAGIC) {
            return Err(LaunchError::because(
                Step::Proc,
                "/proc",
                format!("it is not procfs (type {proc_type:x?}); mount procfs there"),
            ));
        }

        let root = tmpfs("mode=755")?;
        rustix::mount::move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(failed("the launcher's root"))?;
        let folders = ["c", "roots", "store", "empty", "stage", "proc", "sys", "dev", "masks"];
        for folder in folders.into_iter().chain(["masks/a", "masks/b"]) {
            rustix::fs::mkdirat(&root, folder, Mode::from_raw_mode(0o755)).map_err(failed(folder))?;
        }
        rustix::fs::mknodat(
            &root,
            "dev/null",
            rustix::fs::FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            rustix::fs::makedev(1, 3),
        )
        .map_err(failed("dev/null"))?;
        for (name, tree) in parts {
            if name.starts_with("c/") {
                rustix::fs::mkdirat(&root, name.as_str(), Mode::from_raw_mode(0o755)).map_err(failed(&name))?;
            }
            attach(&tree, &root, &name)?;
        }
        rustix::fs::mkdirat(&root, "masks/a/dir", Mode::from_raw_mode(0o555)).map_err(failed("empty/dir"))?;
        rustix::fs::openat(
            &root,
            "masks/a/file",
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o444),
        )
        .map_err(failed("empty/file"))?;

        rustix::process::fchdir(&root).map_err(failed("the launcher's root"))?;
        rustix::process::pivot_root(".", ".").map_err(failed("the launcher's root"))?;
        rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH).map_err(failed("the host's root"))?;
        rustix::process::chdir("/").map_err(failed("/"))?;
        // An overlay without an upper directory: the kernel refuses to make it
        // writable. A tmpfs, however it is mounted, a container with
        // CAP_SYS_ADMIN could remount, and write what others would then see
        // behind their masks.
        let kernel = Features::probe().without(config.absent);
        if kernel.has(Feature::Overlay) {
            let flags = rustix::mount::MountFlags::RDONLY
                | rustix::mount::MountFlags::NOSUID
                | rustix::mount::MountFlags::NODEV
                | rustix::mount::MountFlags::NOEXEC;
            rustix::mount::mount("empty", "/empty", "overlay", flags, c"lowerdir=/masks/a:/masks/b")
                .map_err(failed("/empty"))?;
        }
        // Else the folder stays empty, by which a child knows that it makes
        // what it masks with itself.

        let own = rustix::process::getpid();
        Ok(Self {
            cgroups: Hierarchies::open(&found)?,
            ignored: ignored_signals(),
            keeper: rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty())
                .and_then(|pidfd| rustix::io::fcntl_dupfd_cloexec(&pidfd, 3))
                .map_err(failed("the keeper's pidfd"))?,
            kcore: std::path::Path::new("/proc/kcore").exists(),
            kernel,
            failpoint: AtomicU32::new(NO_FAILPOINT),
        })
    }

    /// The machine's control groups.
    #[must_use]
    pub fn cgroups(&self) -> &Hierarchies {
        &self.cgroups
    }

    /// What launches from here may use of the kernel.
    #[must_use]
    pub fn kernel(&self) -> Features {
        self.kernel
    }

    /// Keeps a detached mount at `/roots/<key>`.
    pub fn add_root(&self, key: u32, mount: BorrowedFd<'_>) -> Result<(), LaunchError> {
        let path = format!("/roots/{key}");
        rustix::fs::mkdir(path.as_str(), Mode::from_raw_mode(0o700)).map_err(failed(&path))?;
        rustix::mount::move_mount(mount, "", CWD, path.as_str(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(
            |errno| {
                let _empty = rustix::fs::rmdir(path.as_str());
                failed(&path)(errno)
            },
        )
    }

    /// Lets go of it. Containers that run on it keep their own copies.
    pub fn remove_root(&self, key: u32) -> Result<(), LaunchError> {
        let path = format!("/roots/{key}");
        rustix::mount::unmount(path.as_str(), rustix::mount::UnmountFlags::DETACH).map_err(failed(&path))?;
        rustix::fs::rmdir(path.as_str()).map_err(failed(&path))
    }

    /// Makes the given step of every later launch fail with EIO (tests: what
    /// is left behind when it does?).
    pub fn set_failpoint(&self, step: Option<Step>) {
        self.failpoint.store(step.map_or(NO_FAILPOINT, |step| step as u32), Ordering::Relaxed);
    }

    /// The failpoint, as an error before the clone.
    pub(crate) fn fail_here(&self, step: Step) -> Result<(), LaunchError> {
        if self.failpoint.load(Ordering::Relaxed) == step as u32 {
            return Err(LaunchError::os(step, "(failpoint)", libc::EIO));
        }
        Ok(())
    }

    pub(crate) fn has_kcore(&self) -> bool {
        self.kcore
    }

    pub(crate) fn failpoint(&self) -> u32 {
        self.failpoint.load(Ordering::Relaxed)
    }

    /// Signals whose disposition a child sets to the default. A launcher of a
    /// keeper stays as it was when the home was made; any other process may
    /// have come to ignore any.
    pub(crate) fn ignored(&self, parent: Parent) -> &[i32] {
        match parent {
            Parent::Keeper => &self.ignored,
            Parent::Caller => &ALL_SIGNALS,
        }
    }

    pub(crate) fn keeper(&self) -> i32 {
        self.keeper.as_raw_fd()
    }

    /// Opens the null device anew: an open file shared by containers would
    /// share its status flags among them.
    pub(crate) fn open_null() -> Result<OwnedFd, LaunchError> {
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| LaunchError::os(Step::Stdio, "/dev/null", errno.raw_os_error()))
    }
}

/// A detached, private copy of the mount at a path of the host's.
fn clone_mount(path: &str) -> Result<OwnedFd, LaunchError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, path, flags).map_err(failed(path))
}

fn attach(tree: &OwnedFd, root: &OwnedFd, name: &str) -> Result<(), LaunchError> {
    rustix::mount::move_mount(tree, "", root, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(failed(name))
}

pub(crate) fn tmpfs(options: &str) -> Result<OwnedFd, LaunchError> {
    use rustix::mount as m;
    let fs = m::fsopen("tmpfs", m::FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("tmpfs"))?;
    for option in options.split(',') {
        if let Some((key, value)) = option.split_once('=') {
            m::fsconfig_set_string(&fs, key, value).map_err(failed(option))?;
        }
    }
    m::fsconfig_create(&fs).map_err(failed("tmpfs"))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
    m::fsmount(&fs, m::FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed("tmpfs"))
}

/// Which signals are ignored now, from /proc/self/status (Python ignores
/// SIGPIPE and SIGXFSZ, Rust SIGPIPE, nohup SIGHUP).
fn ignored_signals() -> Vec<i32> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return ALL_SIGNALS.to_vec() };
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    ALL_SIGNALS.into_iter().filter(|signal| mask & (1 << (signal - 1)) != 0).collect()
}

/// A path as the kernel takes it.
pub(crate) fn c_path(step: Step, path: impl Into<Vec<u8>>) -> Result<CString, LaunchError> {
    CString::new(path).map_err(|error| {
        let shown = String::from_utf8_lossy(&error.into_vec()).into_owned();
        LaunchError::because(step, format!("{shown:?}"), "it holds a NUL character")
    })
}
