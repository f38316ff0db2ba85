//! A mount of which many containers are to have copies.
//!
//! A detached mount can be attached once, and before Linux 6.15 nothing can be
//! cloned from it as long as it is detached. So what is to be given to many
//! lies attached in a mount namespace of its own, where nobody sees it: that
//! of a thread which does nothing but attach and clone. One thread for each
//! mount: a file server that does not answer holds up its own alone.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use rustix::fs::{Mode, OFlags, ResolveFlags, CWD};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags};

use super::{open_bind, open_bind_beneath, BindOptions};
use crate::error::{LaunchError, Step};
use crate::home::tmpfs;
use crate::sys::{self, MountAttr};

/// False: the thread cannot go on.
type Job = Box<dyn FnOnce(&OwnedFd) -> bool + Send>;

/// Where a container shows a mount.
#[derive(Debug)]
pub struct Shown {
    /// The container's mount namespace.
    pub namespace: OwnedFd,
    /// The path in it.
    pub path: PathBuf,
    /// The device of the file system that is expected there.
    pub device: u64,
}

/// The namespace, and the thread that lives in it. Containers keep their copies
/// when it goes.
#[derive(Debug)]
pub struct Shelf {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

fn failed(subject: impl Into<String>) -> impl FnOnce(Errno) -> LaunchError {
    let subject = subject.into();
    move |errno| LaunchError::os(Step::Mount, subject, errno.raw_os_error())
}

/// Where the mount is in the namespace.
const PLACE: &str = "/mount";

impl Shelf {
    /// Makes the namespace. Needs CAP_SYS_ADMIN.
    pub fn open() -> Result<Self, LaunchError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("ardock-mounts".into())
            .spawn(move || match enter() {
                Err(error) => drop(tell.send(Err(error))),
                Ok(namespace) => {
                    drop(tell.send(Ok(())));
                    for job in queue {
                        if !job(&namespace) {
                            break;
                        }
                    }
                }
            })
            .map_err(|error| LaunchError::os(Step::Mount, "a thread", error.raw_os_error().unwrap_or(0)))?;
        told.recv().map_err(|_| gone())??;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Keeps a detached mount; called once, or `take_over` is.
    pub fn put(&self, mount: OwnedFd) -> Result<(), LaunchError> {
        self.call(move |_| (attach(&mount), true))
    }

    /// A detached copy of the mount, or of what is beneath it at `subpath`,
    /// and whether that is something else than a folder.
    pub fn copy(&self, subpath: Option<PathBuf>, options: BindOptions) -> Result<(OwnedFd, bool), LaunchError> {
        self.call(move |_| {
            let copied = match &subpath {
                None => open_bind(Path::new(PLACE), options),
                Some(subpath) => open_bind_beneath(Path::new(PLACE), subpath, options),
            };
            (copied, true)
        })
    }

    /// Keeps a copy of a mount that a container has: a file system that has no other name than its mounts, such as a tmpfs,
    /// outlives in it whoever has mounted it.
    ///
    /// What a container shows is no more than a hint, so it must be of the
    /// device that is expected. Its attributes, the container's own, are
    /// replaced by `attributes` (`MOUNT_ATTR_*`).
    pub fn take_over(&self, shown: Shown, attributes: u64) -> Result<(), LaunchError> {
        self.call(move |own| {
            let taken = clone_shown(&shown, attributes);
            // The root of a thread that comes back is the namespace's, and so is its working directory.
            if sys::setns(own.as_raw_fd(), libc::CLONE_NEWNS).is_err() {
                return (Err(gone()), false);
            }
            (taken.and_then(|mount| attach(&mount)), true)
        })
    }

    fn call<T, F>(&self, job: F) -> Result<T, LaunchError>
    where
        T: Send + 'static,
        F: FnOnce(&OwnedFd) -> (Result<T, LaunchError>, bool) + Send + 'static,
    {
        let (tell, told) = mpsc::channel();
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(Box::new(move |own| {
            let (answer, goes_on) = job(own);
            drop(tell.send(answer));
            goes_on
        }))
        .map_err(|_| gone())?;
        told.recv().map_err(|_| gone())?
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It has no more to do; a panic of it was told to whoever called.
            drop(thread.join());
        }
    }
}

fn gone() -> LaunchError {
    LaunchError::because(Step::Mount, "", "the thread that keeps volumes' mounts has ended: start the engine anew")
}

/// Takes the calling thread into a namespace of its own, whose root is an empty
/// tmpfs; the namespace.
fn enter() -> Result<OwnedFd, LaunchError> {
    let what = "a private mount namespace";
    sys::unshare(libc::CLONE_NEWNS | libc::CLONE_FS).map_err(|errno| LaunchError::os(Step::Mount, what, errno))?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(failed(what))?;
    let own = rustix::fs::open("/proc/thread-self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("/proc/thread-self/ns/mnt"))?;
    let root = tmpfs("mode=700")?;
    rustix::mount::move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(failed(what))?;
    rustix::process::fchdir(&root).map_err(failed(what))?;
    rustix::process::pivot_root(".", ".").map_err(failed(what))?;
    // What the host has mounted is not to be held: it must be able to unmount it.
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(failed(what))?;
    rustix::process::chdir("/").map_err(failed(what))?;
    Ok(own)
}

fn attach(mount: &OwnedFd) -> Result<(), LaunchError> {
    rustix::fs::mkdir(PLACE, Mode::from_raw_mode(0o700)).map_err(failed(PLACE))?;
    rustix::mount::move_mount(mount, "", CWD, PLACE, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(failed(PLACE))
}

/// Goes into the container's namespace and does not come back.
fn clone_shown(shown: &Shown, attributes: u64) -> Result<OwnedFd, LaunchError> {
    let subject = || shown.path.display().to_string();
    let os = |errno: i32| LaunchError::os(Step::Mount, subject(), errno);
    sys::setns(shown.namespace.as_raw_fd(), libc::CLONE_NEWNS).map_err(os)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened =
        rustix::fs::openat2(CWD, shown.path.as_path(), flags, Mode::empty(), resolve).map_err(failed(subject()))?;
    let found = rustix::fs::fstat(opened.as_fd()).map_err(failed(subject()))?;
    if found.st_dev != shown.device {
        return Err(LaunchError::because(Step::Mount, subject(), "another file system is there by now"));
    }
    let tree = sys::owned(sys::clone_tree(opened.as_raw_fd(), c"", sys::AT_EMPTY).map_err(os)?);
    let all = sys::ATTR_RDONLY | sys::ATTR_NOSUID | sys::ATTR_NODEV | sys::ATTR_NOEXEC;
    let attr =
        MountAttr { clear: all & !attributes, set: attributes, propagation: libc::MS_PRIVATE, ..Default::default() };
    sys::mount_setattr(tree.as_raw_fd(), c"", sys::AT_EMPTY, &attr).map_err(os)?;
    Ok(tree)
}
