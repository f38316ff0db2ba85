//! Reading and writing cgroupfs beneath a directory descriptor.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

fn number(error: Errno) -> i32 {
    error.raw_os_error()
}

/// Opens a control file for writing.
pub(super) fn open_write(base: &OwnedFd, path: &str) -> Result<OwnedFd, i32> {
    rustix::fs::openat(base, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map_err(number)
}

/// Writes one value.
pub(super) fn write(base: &OwnedFd, path: &str, value: &str) -> Result<(), i32> {
    let file = open_write(base, path)?;
    rustix::io::write(&file, value.as_bytes()).map(|_| ()).map_err(number)
}

/// Reads a control file (64 KiB at most).
pub(super) fn read(base: &OwnedFd, path: &str) -> Result<String, i32> {
    let file = rustix::fs::openat(base, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(number)?;
    let mut text = Vec::new();
    let mut buffer = [0u8; 4096];
    while text.len() < 64 * 1024 {
        match rustix::io::read(&file, &mut buffer).map_err(number)? {
            0 => break,
            n => text.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// mkdir with mode 0755.
pub(super) fn mkdir(base: &OwnedFd, path: &str) -> Result<(), i32> {
    rustix::fs::mkdirat(base, path, Mode::from_raw_mode(0o755)).map_err(number)
}

/// mkdir; existing is fine.
pub(super) fn mkdir_all(base: &OwnedFd, path: &str) -> Result<(), i32> {
    for (at, _) in path.match_indices('/') {
        match mkdir(base, &path[..at]) {
            Ok(()) | Err(libc::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    match mkdir(base, path) {
        Ok(()) | Err(libc::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// rmdir.
pub(super) fn rmdir(base: &OwnedFd, path: &str) -> Result<(), i32> {
    rustix::fs::unlinkat(base, path, AtFlags::REMOVEDIR).map_err(number)
}

/// How deep groups inside of a container's are looked for: an ardock in an
/// ardock in an ardock has eight.
const DEPTH: usize = 16;

/// rmdir, of the groups beneath it first: a container whose control groups are
/// writable (`--privileged`) may have made some.
pub(super) fn rmdir_tree(base: &OwnedFd, path: &str) -> Result<(), i32> {
    rmdir_to(base, path, DEPTH)
}

fn rmdir_to(base: &OwnedFd, path: &str, depth: usize) -> Result<(), i32> {
    match rmdir(base, path) {
        Err(libc::EBUSY) if depth > 0 => {
            let beneath = folders(base, path);
            if beneath.is_empty() {
                return Err(libc::EBUSY);
            }
            for name in beneath {
                rmdir_to(base, &format!("{path}/{name}"), depth - 1)?;
            }
            rmdir(base, path)
        }
        other => other,
    }
}

/// Names of the folders in a folder.
pub(super) fn folders(base: &OwnedFd, path: &str) -> Vec<String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(folder) = rustix::fs::openat(base, path, flags, Mode::empty()) else { return Vec::new() };
    let Ok(entries) = Dir::read_from(folder.as_fd()) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type() == rustix::fs::FileType::Directory)
        .filter_map(|entry| entry.file_name().to_str().ok().map(String::from))
        .filter(|name| name != "." && name != "..")
        .collect()
}

/// Process ids in a cgroup, those of other pid namespaces (0) left out; of a
/// list longer than `read` takes, its beginning.
pub(super) fn procs(base: &OwnedFd, folder: &str) -> Vec<i32> {
    let text = read(base, &format!("{folder}/cgroup.procs")).unwrap_or_default();
    // A number cut short would be another process's.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect()
}

/// The same, and those in the groups beneath.
pub(super) fn procs_below(base: &OwnedFd, folder: &str) -> Vec<i32> {
    let mut found = Vec::new();
    let mut left = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = left.pop() {
        found.extend(procs(base, &folder));
        if depth < DEPTH {
            left.extend(folders(base, &folder).into_iter().map(|name| (format!("{folder}/{name}"), depth + 1)));
        }
    }
    found
}

/// How many.
pub(super) fn count_procs(base: &OwnedFd, folder: &str) -> usize {
    procs(base, folder).len()
}

/// SIGKILL to a process just read from `cgroup.procs`.
pub(super) fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // By pidfd, so that the number cannot be reused between the two calls
        // that the kernel makes of it; one that is gone already is no error.
        if let Ok(fd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            let _gone = rustix::process::pidfd_send_signal(&fd, rustix::process::Signal::KILL);
        }
    }
}
