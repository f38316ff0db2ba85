//! Copying a directory as a tree.
//!
//! The source may be a live system, and its users need not be trusted: it is
//! read through descriptors that follow no link and cross no mount point, and
//! only what is a regular file when it is open is read.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, CWD};
use rustix::io::Errno;

use crate::attributes::{read_xattrs, Attributes, Time};
use crate::digest::{names_in, open_plain, Summary};
use crate::error::{shown, Error};
use crate::name::Name;
use crate::target::{Node, Options, Target};
use crate::writing::Writing;
use crate::{Cancelled, Result};

/// Copies the directory `source` into the existing, empty directory `target`:
/// contents, holes, hard links, devices, owners, permissions, times, extended
/// attributes.
///
/// What is mounted within is not copied: a mount point is there and empty. So
/// is each directory of `hidden`, wherever it is met. Sockets are left out (they
/// mean nothing without their process, and no archive holds them), and so is
/// what vanishes meanwhile. On an error `target` holds a part of it.
pub fn copy_directory(source: &Path, target: &Path, hidden: &[&Path], cancelled: Cancelled<'_>) -> Result<Summary> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = fs::openat(CWD, source, flags, Mode::empty())
        .map_err(Error::step("open the directory", source.as_os_str().as_encoded_bytes()))?;
    let hidden = hidden.iter().filter_map(|path| fs::stat(*path).ok()).map(|stat| (stat.st_dev, stat.st_ino)).collect();
    let mut copy = Copy {
        target: Target::open(target, Options { hash: true, ..Options::default() })?,
        hidden,
        cancelled,
        linked: HashMap::new(),
    };
    let stat = fs::fstat(&root).map_err(Error::step("look at", b"."))?;
    let attributes = attributes_of(root.as_fd(), b"", &Name::root(), &stat)?;
    copy.target.directory(&Name::root(), &attributes)?;
    let mut open = vec![Name::root()];
    while let Some(name) = open.pop() {
        match open_plain(root.as_fd(), &name) {
            Ok(dir) => copy.directory(&dir, &name, &mut open)?,
            Err(Errno::XDEV | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(Error::step("open", name.as_bytes())(errno)),
        }
    }
    copy.target.summarize(cancelled)
}

struct Copy<'a> {
    target: Target,
    hidden: Vec<(u64, u64)>,
    cancelled: Cancelled<'a>,
    /// Of files with several names: the one that is copied, by device and inode.
    linked: HashMap<(u64, u64), Name>,
}

impl Copy<'_> {
    fn directory(&mut self, dir: &OwnedFd, name: &Name, open: &mut Vec<Name>) -> Result<()> {
        let stat = fs::fstat(dir).map_err(Error::step("look at", name.as_bytes()))?;
        if self.hidden.contains(&(stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        for last in names_in(dir.as_fd(), name)? {
            if (self.cancelled)() {
                return Err(Error::Cancelled);
            }
            let path = name.join(&last);
            match self.entry(dir.as_fd(), &last, &path, open) {
                Err(Error::Step { errno: Errno::NOENT, .. }) if gone(dir.as_fd(), &last) => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, last: &[u8], path: &Name, open: &mut Vec<Name>) -> Result<()> {
        let stat = fs::statat(dir, last, AtFlags::SYMLINK_NOFOLLOW).map_err(Error::step("look at", path.as_bytes()))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let several = kind != FileType::Directory && stat.st_nlink > 1;
        if several {
            if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
                return self.target.hard_link(path, first);
            }
        }
        let attributes = attributes_of(dir, last, path, &stat)?;
        match kind {
            FileType::Directory => {
                self.target.directory(path, &attributes)?;
                open.push(path.clone());
            }
            FileType::RegularFile => self.file(dir, last, path, attributes)?,
            FileType::Symlink => {
                let target =
                    fs::readlinkat(dir, last, Vec::new()).map_err(Error::step("read the link", path.as_bytes()))?;
                self.target.symlink(path, target.as_bytes(), &attributes)?;
            }
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                let (major, minor) = (fs::major(stat.st_rdev), fs::minor(stat.st_rdev));
                self.target.node(path, Node { kind, major, minor }, &attributes)?;
            }
            _ => return Ok(()),
        }
        if several {
            self.linked.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        Ok(())
    }

    fn file(&mut self, dir: BorrowedFd<'_>, last: &[u8], path: &Name, attributes: Attributes) -> Result<()> {
        // Not blocking, in case that it is a named pipe by now.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let file = match fs::openat2(dir, last, flags, Mode::empty(), how) {
            Ok(fd) => Some(File::from(fd)),
            // Something is mounted on it.
            Err(Errno::XDEV) => None,
            Err(errno) => return Err(Error::step("open", path.as_bytes())(errno)),
        };
        let mut writing = self.target.file(path, attributes)?;
        if let Some(file) = file {
            let stat = fs::fstat(&file).map_err(Error::step("look at", path.as_bytes()))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(Error::Refused { name: shown(path.as_bytes()), why: "changed while it was copied" });
            }
            self.content(file, path, &mut writing)?;
        }
        self.target.finish_file(writing)
    }

    /// Copies what is there and leaves the holes.
    fn content(&self, mut file: File, path: &Name, writing: &mut Writing) -> Result<()> {
        let step = || Error::step("read", path.as_bytes());
        let mut buffer = vec![0; 1 << 18];
        let mut at = 0u64;
        loop {
            let data = match fs::seek(&file, fs::SeekFrom::Data(at)) {
                Ok(data) => data,
                // No data behind `at`.
                Err(Errno::NXIO) => fs::seek(&file, fs::SeekFrom::End(0)).map_err(step())?.max(at),
                Err(errno) => return Err(step()(errno)),
            };
            if data > at {
                writing.skip(data - at, self.cancelled)?;
                at = data;
            }
            let end = match fs::seek(&file, fs::SeekFrom::Hole(at)) {
                Ok(end) if end > at => end,
                // The end of the file.
                Ok(_) | Err(Errno::NXIO) => return Ok(()),
                Err(errno) => return Err(step()(errno)),
            };
            fs::seek(&file, fs::SeekFrom::Start(at)).map_err(step())?;
            while at < end {
                if (self.cancelled)() {
                    return Err(Error::Cancelled);
                }
                let most = (end - at).min(buffer.len() as u64) as usize;
                match file.read(&mut buffer[..most]) {
                    Ok(0) => return Ok(()), // It has become shorter.
                    Ok(count) => {
                        writing.write(&buffer[..count])?;
                        at += count as u64;
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(step()(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
                }
            }
        }
    }
}

fn attributes_of(dir: BorrowedFd<'_>, last: &[u8], path: &Name, stat: &Stat) -> Result<Attributes> {
    Ok(Attributes {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Time { s: stat.st_mtime, ns: stat.st_mtime_nsec as u32 },
        xattrs: read_xattrs(dir, last, path.as_bytes(), false)?,
    })
}

/// Whether the source lacks it now, so that it was the source that the error
/// was about.
fn gone(dir: BorrowedFd<'_>, last: &[u8]) -> bool {
    matches!(fs::statat(dir, last, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT))
}
