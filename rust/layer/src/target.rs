//! The directory that a tree is written into: every object in it is made here.
//!
//! Names come from whoever made the source. Two rules hold the writing inside:
//! a name's directory is opened by `openat2` with the target as its root, so
//! that a link on the way, absolute or with `..`, leads to a place within, as it
//! will for the container; and the last component is never followed nor opened
//! if it is there: what is there is removed and the object is made anew.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, CWD, UTIME_OMIT,
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::attributes::{write_xattrs, Attributes, Time};
use crate::digest::{summarize, Contents, Summary};
use crate::error::{shown, Error};
use crate::name::Name;
use crate::remove::remove_entry;
use crate::{Cancelled, Result};

/// How names are resolved: no way out, no /proc links on the way.
pub(crate) const BENEATH: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
/// How often a lookup that others have disturbed is begun anew; one who does nothing but rename disturbs nine of ten.
const LOOKUPS: usize = 200_000;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// A tree that is being made.
#[derive(Debug)]
pub(crate) struct Target {
    root: OwnedFd,
    /// The directory of the last entry, which is most often that of the next.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Digests of the files that were written, so that they need not be read again.
    contents: Contents,
    /// Directories' times, set when nothing more is made in them.
    times: HashMap<Name, Time>,
}

/// A regular file that is being written.
#[derive(Debug)]
pub(crate) struct Writing {
    file: File,
    hash: Sha256,
    name: Name,
    attributes: Attributes,
}

/// What has no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub kind: FileType,
    pub major: u32,
    pub minor: u32,
}

impl Target {
    /// Writes into the existing, empty directory `path`.
    pub fn open(path: &std::path::Path) -> Result<Self> {
        let root = fs::openat(CWD, path, OFlags::RDONLY | DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .map_err(Error::step("open the directory", path.as_os_str().as_encoded_bytes()))?;
        Ok(Self { root, parent: None, contents: Contents::default(), times: HashMap::new() })
    }

    /// Makes a directory, or gives an existing one these attributes.
    pub fn directory(&mut self, name: &Name, attributes: &Attributes) -> Result<()> {
        let made = Error::step("make the directory", name.as_bytes());
        let fd = match name.split() {
            None => fs::openat(&self.root, ".", OFlags::RDONLY | DIRECTORY, Mode::empty()).map_err(made)?,
            Some((parent, last)) => {
                self.enter(name, parent)?;
                let mut removed = false;
                loop {
                    let dir = self.parent();
                    match fs::mkdirat(dir, last, Mode::RWXU) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(made(errno)),
                    }
                    match fs::openat(dir, last, OFlags::RDONLY | DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                        Ok(fd) => break fd,
                        // ELOOP and ENOTDIR: something else has the name.
                        Err(Errno::LOOP | Errno::NOTDIR) if !removed => self.remove(name, last)?,
                        Err(errno) => return Err(made(errno)),
                    }
                    removed = true;
                }
            }
        };
        self.times.insert(name.clone(), attributes.mtime);
        dress(fd.as_fd(), name, attributes)
    }

    /// Begins a regular file.
    pub fn file(&mut self, name: &Name, attributes: Attributes) -> Result<Writing> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = self.make(name, "make the file", |dir, last| fs::openat(dir, last, flags, Mode::RUSR | Mode::WUSR))?;
        Ok(Writing { file: File::from(fd), hash: Sha256::new(), name: name.clone(), attributes })
    }

    /// Ends it: attributes come last, since writing clears set-id bits and
    /// capabilities.
    pub fn finish_file(&mut self, writing: Writing) -> Result<()> {
        let fd = writing.file.as_fd();
        dress(fd, &writing.name, &writing.attributes)?;
        let step = Error::step("set the time of", writing.name.as_bytes());
        fs::futimens(fd, &times(writing.attributes.mtime)).map_err(step)?;
        let stat = fs::fstat(fd).map_err(Error::step("look at", writing.name.as_bytes()))?;
        self.contents.insert(stat.st_ino, writing.hash.finalize().into());
        Ok(())
    }

    /// Makes a symbolic link; its target is never looked at.
    pub fn symlink(&mut self, name: &Name, target: &[u8], attributes: &Attributes) -> Result<()> {
        self.make(name, "make the symbolic link", |dir, last| fs::symlinkat(target, dir, last))?;
        self.dress_link(name, attributes)
    }

    /// Makes a device node or a named pipe.
    pub fn node(&mut self, name: &Name, node: Node, attributes: &Attributes) -> Result<()> {
        let device = fs::makedev(node.major, node.minor);
        self.make(name, "make the node", |dir, last| fs::mknodat(dir, last, node.kind, Mode::RUSR, device))?;
        self.dress_link(name, attributes)?;
        let (_, last) = name.split().ok_or_else(|| is_root(name))?;
        // Made just now and by us, and it is no link: nothing is followed.
        fs::chmodat(self.parent(), last, Mode::from_raw_mode(attributes.mode), AtFlags::empty())
            .map_err(Error::step("set the permissions of", name.as_bytes()))
    }

    /// Makes `name` another name of `existing`, which is a file of this tree or
    /// a link that is not followed.
    pub fn hard_link(&mut self, name: &Name, existing: &Name) -> Result<()> {
        if name == existing {
            return Err(Error::Refused { name: shown(name.as_bytes()), why: "is a hard link to itself" });
        }
        let Some((parent, last)) = existing.split() else {
            return Err(Error::Refused { name: shown(name.as_bytes()), why: "is a hard link to the root" });
        };
        let refused = |errno| match errno {
            Errno::NOENT | Errno::NOTDIR => Error::Refused {
                name: shown(name.as_bytes()),
                why: "is a hard link to a file that is not before it in the archive",
            },
            Errno::LOOP => behind_loop(name),
            errno => Error::Step { step: "make the hard link", name: shown(name.as_bytes()), errno },
        };
        let source = self.open_directory(parent).map_err(refused)?;
        let kind = fs::statat(&source, last, AtFlags::SYMLINK_NOFOLLOW).map_err(refused)?;
        if FileType::from_raw_mode(kind.st_mode) == FileType::Directory {
            return Err(Error::Refused { name: shown(name.as_bytes()), why: "is a hard link to a directory" });
        }
        // What has the name may be the very directory that the other name lies
        // in; it is then not there any more when it is to be linked.
        self.make_with(name, refused, |dir, new| fs::linkat(&source, last, dir, new, AtFlags::empty()))
    }

    /// Ends the tree: directories get their times, its digest is taken, and all
    /// of it is on the disk.
    pub fn finish(self, cancelled: Cancelled<'_>) -> Result<Summary> {
        for (name, time) in &self.times {
            match self.open_at(name.as_bytes(), OFlags::NOFOLLOW) {
                Ok(fd) => {
                    fs::futimens(&fd, &times(*time)).map_err(Error::step("set the time of", name.as_bytes()))?;
                }
                // A later entry took its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(Error::step("open", name.as_bytes())(errno)),
            }
        }
        let summary = summarize(self.root.as_fd(), &self.contents, cancelled)?;
        // One call for all, where fsync would take one for each file and directory.
        fs::syncfs(&self.root).map_err(Error::step("write to the disk", b"."))?;
        Ok(summary)
    }

    fn make<T>(
        &mut self,
        name: &Name,
        step: &'static str,
        call: impl FnMut(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<T> {
        self.make_with(name, |errno| Error::Step { step, name: shown(name.as_bytes()), errno }, call)
    }

    /// Calls `call` with the directory and last component of `name`; where that
    /// is taken, once more after what has it was removed.
    fn make_with<T>(
        &mut self,
        name: &Name,
        failed: impl Fn(Errno) -> Error,
        mut call: impl FnMut(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let (parent, last) = name.split().ok_or_else(|| is_root(name))?;
        self.enter(name, parent)?;
        match call(self.parent(), last) {
            Err(Errno::EXIST) => {}
            other => return other.map_err(failed),
        }
        self.remove(name, last)?;
        call(self.parent(), last).map_err(failed)
    }

    /// Owner and extended attributes and time of what is not opened: links and nodes.
    fn dress_link(&mut self, name: &Name, attributes: &Attributes) -> Result<()> {
        let (_, last) = name.split().ok_or_else(|| is_root(name))?;
        let dir = self.parent();
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        fs::chownat(dir, last, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::step("set the owner of", name.as_bytes()))?;
        write_xattrs(dir, last, &attributes.xattrs, name.as_bytes())?;
        fs::utimensat(dir, last, &times(attributes.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::step("set the time of", name.as_bytes()))
    }

    /// Removes what has the name, a directory with all that is in it. That may
    /// be the directory which is held open as `parent`'s own way here.
    fn remove(&mut self, name: &Name, last: &[u8]) -> Result<()> {
        remove_entry(self.parent(), last).map_err(Error::step("replace", name.as_bytes()))?;
        self.times.remove(name);
        // Names that led through it lead elsewhere now.
        if let Some((path, _)) = &self.parent {
            let path = path.clone();
            self.parent = None;
            self.enter(name, &path)?;
        }
        Ok(())
    }

    fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_ref().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd())
    }

    /// Makes `path` the directory in which things are made, with the
    /// directories on the way that are missing.
    fn enter(&mut self, name: &Name, path: &[u8]) -> Result<()> {
        if self.parent.as_ref().is_some_and(|(held, _)| held == path) {
            return Ok(());
        }
        let failed = |errno| match errno {
            Errno::NOTDIR => {
                Error::Refused { name: shown(name.as_bytes()), why: "lies in something that is no directory" }
            }
            Errno::LOOP => behind_loop(name),
            errno => Error::Step { step: "open the directory of", name: shown(name.as_bytes()), errno },
        };
        let fd = match self.open_directory(path) {
            Err(Errno::NOENT) => self.make_directories(name, path)?,
            other => other.map_err(failed)?,
        };
        self.parent = Some((path.to_vec(), fd));
        Ok(())
    }

    /// Makes what is missing of `path`, owned by root and with permissions 755
    /// as docker does it.
    fn make_directories(&self, name: &Name, path: &[u8]) -> Result<OwnedFd> {
        let step = || Error::step("make the directory of", name.as_bytes());
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let ends: Vec<usize> = std::iter::once(0).chain(ends).chain([path.len()]).collect();
        // How many of the ways to there are whole. Where one is, all shorter
        // ones are; trying each in turn would take time squared in a long name.
        let mut failed = None;
        let whole = ends.partition_point(|end| match self.open_directory(&path[..*end]) {
            Ok(_) => true,
            Err(Errno::NOENT) => false,
            Err(errno) => {
                failed = Some(errno);
                false
            }
        });
        if let Some(errno) = failed {
            return Err(step()(errno));
        }
        let from = ends[whole.saturating_sub(1)];
        let mut dir = self.open_directory(&path[..from]).map_err(step())?;
        for last in path[from..].split(|byte| *byte == b'/').filter(|last| !last.is_empty()) {
            match fs::mkdirat(&dir, last, Mode::from_raw_mode(0o755)) {
                // A link that leads nowhere: its target is not made up.
                Err(Errno::EXIST) => {
                    return Err(Error::Refused {
                        name: shown(name.as_bytes()),
                        why: "lies behind a link that leads nowhere",
                    })
                }
                other => other.map_err(step())?,
            }
            dir =
                fs::openat(&dir, last, OFlags::RDONLY | DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).map_err(step())?;
            // Whatever the process's umask is.
            fs::fchmod(&dir, Mode::from_raw_mode(0o755)).map_err(step())?;
        }
        Ok(dir)
    }

    /// The directory `path`, empty for the root, resolved beneath it.
    fn open_directory(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        self.open_at(path, OFlags::empty())
    }

    fn open_at(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let mut opened = Err(Errno::AGAIN);
        // A mount or a rename anywhere on the machine, while a link's `..` is resolved, is EAGAIN (openat2(2)).
        for _ in 0..LOOKUPS {
            opened = fs::openat2(&self.root, path, OFlags::RDONLY | DIRECTORY | flags, Mode::empty(), BENEATH);
            if !matches!(opened, Err(Errno::AGAIN)) {
                break;
            }
        }
        opened
    }
}

impl Writing {
    /// The next bytes of its content.
    pub fn write(&mut self, data: &[u8]) -> Result<()> {
        self.hash.update(data);
        self.file.write_all(data).map_err(|error| self.failed(&error))
    }

    /// So many zeros, which take no room on the disk.
    pub fn skip(&mut self, mut count: u64, cancelled: Cancelled<'_>) -> Result<()> {
        let step = || Error::step("write", self.name.as_bytes());
        let end = fs::seek(&self.file, fs::SeekFrom::Current(count as i64)).map_err(step())?;
        // A hole at the end is there only once the length says so.
        fs::ftruncate(&self.file, end).map_err(step())?;
        while count > 0 {
            // A hole of many terabytes costs nothing to make, and hours to hash.
            if cancelled() {
                return Err(Error::Cancelled);
            }
            let piece = count.min(ZEROS.len() as u64);
            self.hash.update(&ZEROS[..piece as usize]);
            count -= piece;
        }
        Ok(())
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        // write_all makes an error of its own only where write returned 0, which
        // it does not for regular files.
        let errno = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
        Error::Step { step: "write", name: shown(self.name.as_bytes()), errno }
    }
}

static ZEROS: [u8; 65_536] = [0; 65_536];

/// Owner, then permissions (a change of owner clears set-id bits), then
/// extended attributes (it clears capabilities, too) of an open object.
fn dress(fd: BorrowedFd<'_>, name: &Name, attributes: &Attributes) -> Result<()> {
    fs::fchown(fd, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))
        .map_err(Error::step("set the owner of", name.as_bytes()))?;
    fs::fchmod(fd, Mode::from_raw_mode(attributes.mode))
        .map_err(Error::step("set the permissions of", name.as_bytes()))?;
    for (attribute, value) in &attributes.xattrs {
        fs::fsetxattr(fd, &attribute[..], value, fs::XattrFlags::empty()).map_err(|errno| Error::Step {
            step: "set an extended attribute of",
            name: format!("{}: {}", shown(name.as_bytes()), shown(attribute)),
            errno,
        })?;
    }
    Ok(())
}

fn times(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.s, tv_nsec: i64::from(mtime.ns) },
    }
}

fn behind_loop(name: &Name) -> Error {
    Error::Refused { name: shown(name.as_bytes()), why: "lies, or is linked to what lies, behind a loop of links" }
}

fn is_root(name: &Name) -> Error {
    Error::Refused { name: format!("/{}", shown(name.as_bytes())), why: "is the root and must be a directory" }
}
