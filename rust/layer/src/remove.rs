//! Removing trees that somebody else has shaped.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, CWD};
use rustix::io::{Errno, Result};

/// A tree may be deeper than any path or descriptor limit. Below this depth a
/// directory is first moved up, to the top of what is removed.
const DEEP: usize = 64;

/// Removes the tree `path`, in memory and descriptors that do not depend on
/// how deep it is. Links are not followed. One that is not there is no error.
pub fn remove_tree(path: &Path) -> Result<()> {
    let (Some(parent), Some(last)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL);
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match fs::openat(CWD, parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(dir) => remove_entry(dir.as_fd(), last.as_encoded_bytes()),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Removes what is called `last` in `dir`, with all that is in it.
pub(crate) fn remove_entry(dir: BorrowedFd<'_>, last: &[u8]) -> Result<()> {
    match fs::unlinkat(dir, last, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says EISDIR for a directory, others EPERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let top = match open(dir, last) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let mut moved = 0;
    // Emptying may move deep directories to the top, which is then emptied again.
    loop {
        let before = moved;
        empty(top.as_fd(), top.as_fd(), 0, &mut moved)?;
        if moved == before {
            break;
        }
    }
    gone(fs::unlinkat(dir, last, AtFlags::REMOVEDIR))
}

fn empty(dir: BorrowedFd<'_>, top: BorrowedFd<'_>, depth: usize, moved: &mut u64) -> Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            match fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                // File systems that do not tell the type in their listing.
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(errno) => return Err(errno),
            }
        }
        if depth >= DEEP {
            raise(dir, name, top, moved)?;
            continue;
        }
        let inner = match open(dir, name) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        empty(inner.as_fd(), top, depth + 1, moved)?;
        gone(fs::unlinkat(dir, name, AtFlags::REMOVEDIR))?;
    }
    Ok(())
}

/// Moves a directory to the top, under a name that nothing there has.
fn raise(dir: BorrowedFd<'_>, name: &[u8], top: BorrowedFd<'_>, moved: &mut u64) -> Result<()> {
    loop {
        *moved += 1;
        let new = format!(".ardock-removing-{moved}");
        match fs::renameat_with(dir, name, top, &new, fs::RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => return Ok(()),
            other => return other,
        }
    }
}

fn open(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    fs::openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn gone(result: Result<()>) -> Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
