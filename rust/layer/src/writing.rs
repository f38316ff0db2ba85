//! A regular file's content, and what every object gets behind its content.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::os::fd::BorrowedFd;

use rustix::fs::{self, Gid, Mode, Timespec, Timestamps, Uid, UTIME_OMIT};
use rustix::io::Errno;

use crate::attributes::{Attributes, Time};
use crate::error::{shown, Error};
use crate::name::Name;
use crate::target::DEFAULT_ACL;
use crate::Result;

/// A regular file that is being written.
#[derive(Debug)]
pub(crate) struct Writing {
    pub file: File,
    pub name: Name,
    pub attributes: Attributes,
    /// Its owner is the one that it was made with.
    pub owned: bool,
    /// Bytes up to here are there, holes among them.
    pub end: u64,
    /// Bytes up to here were written.
    pub length: u64,
}

impl Writing {
    /// The next bytes of its content.
    pub fn write(&mut self, data: &[u8]) -> Result<()> {
        self.file.write_all(data).map_err(|error| self.failed(&error))?;
        self.end += data.len() as u64;
        self.length = self.end;
        Ok(())
    }

    /// So many zeros, which take no room on the disk.
    pub fn skip(&mut self, count: u64) -> Result<()> {
        let step = || Error::step("write", self.name.as_bytes());
        let end = self.end.checked_add(count).ok_or(Errno::FBIG).map_err(step())?;
        fs::seek(&self.file, fs::SeekFrom::Start(end)).map_err(step())?;
        self.end = end;
        Ok(())
    }

    /// A hole at the end is there only once the length says so.
    pub fn lengthen(&self) -> Result<()> {
        if self.length == self.end {
            return Ok(());
        }
        fs::ftruncate(&self.file, self.end).map_err(Error::step("write", self.name.as_bytes()))
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        // write_all makes an error of its own only where write returned 0, which
        // it does not for regular files.
        let errno = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
        Error::Step { step: "write", name: shown(self.name.as_bytes()), errno }
    }
}

/// Owner, then permissions (a change of owner clears set-id bits), then
/// extended attributes (it clears capabilities, too) of an open object; owner
/// and permissions only where they are not what they are to be.
pub(crate) fn dress(fd: BorrowedFd<'_>, name: &Name, attributes: &Attributes, owned: bool, moded: bool) -> Result<()> {
    if !owned {
        fs::fchown(fd, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))
            .map_err(Error::step("set the owner of", name.as_bytes()))?;
    }
    if !moded {
        fs::fchmod(fd, Mode::from_raw_mode(attributes.mode))
            .map_err(Error::step("set the permissions of", name.as_bytes()))?;
    }
    for (attribute, value) in attributes.xattrs.iter().filter(|(attribute, _)| attribute[..] != *DEFAULT_ACL) {
        fs::fsetxattr(fd, &attribute[..], value, fs::XattrFlags::empty()).map_err(|errno| Error::Step {
            step: "set an extended attribute of",
            name: format!("{}: {}", shown(name.as_bytes()), shown(attribute)),
            errno,
        })?;
    }
    Ok(())
}

pub(crate) fn times(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.s, tv_nsec: i64::from(mtime.ns) },
    }
}

/// Gives this thread, which is ours, a umask of its own, 0: what is made has the
/// permissions that it is made with, and no call is needed to set them. Some
/// seccomp filters refuse; then the calls are made.
pub(crate) fn own_umask() -> bool {
    // SAFETY: what is unshared is the umask and the working directory, not the table of descriptors.
    let unshared = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) };
    if unshared.is_ok() {
        rustix::process::umask(Mode::empty());
    }
    unshared.is_ok()
}
