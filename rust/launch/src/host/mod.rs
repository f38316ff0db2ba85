//! The engine's side of a launch: what has to happen in the host's mount
//! namespace, before anything travels to a launcher.
//!
//! A path of the host's is resolved here once, and what travels is a
//! descriptor of a detached copy of its mount: a launcher has no path to it,
//! and no one can change what it leads to in between (DESIGN 3.6).

mod filesystem;
mod shelf;
mod users;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, CWD};

use crate::error::{LaunchError, Step};
use crate::sys::{self, MountAttr};

pub use filesystem::mount_filesystem;
pub use shelf::{Shelf, Shown};
pub use users::{resolve_user, User};

/// How mounts made later beneath a bind mount travel, as mount(8) names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// Neither way (Docker's `rprivate`, its default).
    #[default]
    Private,
    /// From the host into the container.
    Slave,
    /// Both ways.
    Shared,
}

/// How a bind mount is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BindOptions {
    /// Take the mounts beneath the path along (`rbind`, Docker's default).
    pub recursive: bool,
    /// Read-only.
    pub readonly: bool,
    /// The mounts beneath it, too.
    pub readonly_recursive: bool,
    /// No set-user-id programs.
    pub nosuid: bool,
    /// No device nodes.
    pub nodev: bool,
    /// No programs.
    pub noexec: bool,
    /// Propagation.
    pub propagation: Propagation,
}

/// Opens the source of a bind mount. Returns a detached mount with its
/// options set, and whether it is something else than a folder.
///
/// Symbolic links on the way are followed, as with Docker: the path is the
/// engine's user's. Links such as `/proc/self/fd/N` are not.
pub fn open_bind(path: &Path, options: BindOptions) -> Result<(OwnedFd, bool), LaunchError> {
    let shown = || path.display().to_string();
    let failed = |errno: i32| {
        let error = LaunchError::os(Step::Mount, shown(), errno);
        match errno {
            libc::ENOENT => error.hint("the source of a bind mount must exist"),
            _ => error,
        }
    };
    if !path.is_absolute() {
        return Err(LaunchError::because(Step::Mount, shown(), "the source of a bind mount must be an absolute path"));
    }
    let opened =
        rustix::fs::openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
            .map_err(|errno| failed(errno.raw_os_error()))?;
    clone_of(&opened, &shown(), options)
}

/// Opens what is at a relative path beneath a directory as [`open_bind`] does
/// the source of a bind mount. Neither `..` nor a symbolic link leads out of
/// the directory: who writes in a volume has no say over what of the host's is
/// mounted.
pub fn open_bind_beneath(root: &Path, path: &Path, options: BindOptions) -> Result<(OwnedFd, bool), LaunchError> {
    let shown = format!("{} in {}", path.display(), root.display());
    let directory = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| LaunchError::os(Step::Mount, root.display().to_string(), errno.raw_os_error()))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut opened = Err(rustix::io::Errno::AGAIN);
    // As in `sys::openat2`: a rename anywhere disturbs the lookup of a `..`.
    for _ in 0..sys::LOOKUPS {
        opened = rustix::fs::openat2(&directory, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
        if opened.as_ref().err() != Some(&rustix::io::Errno::AGAIN) {
            break;
        }
    }
    let opened = opened.map_err(|errno| match errno {
        rustix::io::Errno::XDEV => LaunchError::because(Step::Mount, &shown, "it leads out of the volume"),
        _ => LaunchError::os(Step::Mount, &shown, errno.raw_os_error()),
    })?;
    clone_of(&opened, &shown, options)
}

/// A detached copy of the mount at an open place, with its options set, and
/// whether the place is something else than a folder.
fn clone_of(opened: &OwnedFd, shown: &str, options: BindOptions) -> Result<(OwnedFd, bool), LaunchError> {
    let failed = |errno: i32| LaunchError::os(Step::Mount, shown, errno);
    let file = sys::mode_of(opened.as_raw_fd()).map_err(failed)? & libc::S_IFMT != libc::S_IFDIR;
    let recursive = if options.recursive { sys::AT_RECURSIVE } else { 0 };
    let tree = sys::clone_tree(opened.as_raw_fd(), c"", sys::AT_EMPTY | recursive).map_err(failed)?;
    let tree = sys::owned(tree);
    let propagation = match options.propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Shared => libc::MS_SHARED,
    };
    let attr = MountAttr { propagation, ..MountAttr::default() };
    sys::mount_setattr(tree.as_raw_fd(), c"", sys::AT_EMPTY | sys::AT_RECURSIVE, &attr).map_err(failed)?;
    let mut set = 0;
    for (wanted, bit) in [
        (options.readonly, sys::ATTR_RDONLY),
        (options.nosuid, sys::ATTR_NOSUID),
        (options.nodev, sys::ATTR_NODEV),
        (options.noexec, sys::ATTR_NOEXEC),
    ] {
        if wanted {
            set |= bit;
        }
    }
    if set != 0 {
        let depth = if options.readonly_recursive { sys::AT_RECURSIVE } else { 0 };
        let attr = MountAttr { set, ..MountAttr::default() };
        sys::mount_setattr(tree.as_raw_fd(), c"", sys::AT_EMPTY | depth, &attr).map_err(failed)?;
    }
    Ok((tree, file))
}

/// Opens a directory as a container's root file system or one of its layers:
/// a detached, private copy of its mount, without the mounts beneath it.
pub fn open_root(path: &Path) -> Result<OwnedFd, LaunchError> {
    let shown = || path.display().to_string();
    let failed = |errno: i32| {
        let error = LaunchError::os(Step::Root, shown(), errno);
        match errno {
            libc::ENOENT => error.hint("the directory must exist"),
            libc::ENOTDIR => error.hint("a root file system is a directory (unpack an archive first)"),
            _ => error,
        }
    };
    let opened = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed(errno.raw_os_error()))?;
    let tree = sys::owned(sys::clone_tree(opened.as_raw_fd(), c"", sys::AT_EMPTY).map_err(failed)?);
    let attr = MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    sys::mount_setattr(tree.as_raw_fd(), c"", sys::AT_EMPTY, &attr).map_err(failed)?;
    Ok(tree)
}

/// Sets a terminal's size (rows, columns).
pub fn resize_terminal(master: &OwnedFd, size: (u16, u16)) -> std::io::Result<()> {
    crate::plan::set_size(master, size).map_err(std::io::Error::from_raw_os_error)
}
