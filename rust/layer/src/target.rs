//! The directory that a tree is written into: every object in it is made here.
//!
//! Names come from whoever made the source. Two rules hold the writing inside:
//! a name's directory is opened by `openat2` with the target as its root, so
//! that a link on the way, absolute or with `..`, leads to a place within, as it
//! will for the container; and the last component is never followed nor opened
//! if it is there: what is there is removed and the object is made anew.
//!
//! The calls that each object costs are what unpacking a layer of small files
//! takes its time with. So directories are held open, and owner and permissions
//! are set only where making the object has not set them already.

use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, XattrFlags, CWD};
use rustix::io::Errno;

use crate::attributes::{write_xattrs, Attributes, Time};
use crate::error::{shown, Error};
use crate::hide::{bare, make_implied, make_opaque, Own};
use crate::name::Name;
use crate::remove::remove_entry;
use crate::writing::{dress, times, Writing};
use crate::Result;

/// How names are resolved: no way out, no /proc links on the way.
pub(crate) const BENEATH: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
/// How often a lookup that others have disturbed is begun anew; one who does nothing but rename disturbs nine of ten.
const LOOKUPS: usize = 200_000;
/// Directories that are held open: those on the way to the current one, most often.
const HELD: usize = 16;

pub(crate) const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::RDONLY);
/// What a directory gives to what is made in it, so it is set once all is made.
pub(crate) const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// How a tree is written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// The thread has a umask of its own, 0, so that what is made has the permissions that are asked for.
    pub exact: bool,
    /// The target holds what the layers below have.
    pub over: bool,
    /// The target is a layer of the overlay file system.
    pub overlay: bool,
}

/// A tree that is being made.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) root: OwnedFd,
    pub(crate) options: Options,
    /// Owner of what this process makes.
    owner: (u32, u32),
    /// Directories that are open; the last one is that of the current entry.
    pub(crate) held: Vec<Held>,
    /// What directories get when nothing more is made in them, by inode number.
    late: HashMap<u64, Late>,
    /// Where the target holds the layers below: what this layer has made.
    pub(crate) own: Option<Own>,
}

#[derive(Debug)]
pub(crate) struct Held {
    path: Vec<u8>,
    pub fd: OwnedFd,
    pub inode: u64,
    /// What is made in it may get its group instead of the process's.
    inherits: bool,
}

#[derive(Debug)]
struct Late {
    name: Name,
    time: Time,
    default_acl: Option<Vec<u8>>,
}

/// What has no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub kind: FileType,
    pub major: u32,
    pub minor: u32,
}

impl Target {
    /// Writes into the existing directory `path`.
    pub fn open(path: &Path, options: Options) -> Result<Self> {
        let step = |step| Error::step(step, path.as_os_str().as_encoded_bytes());
        let root =
            fs::openat(CWD, path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).map_err(step("open the directory"))?;
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let own = options.over.then(Own::default);
        let mut target = Self { root, options, owner, held: Vec::new(), late: HashMap::new(), own };
        let fd = target.open_directory(b"").map_err(step("open the directory"))?;
        let stat = target.hold(b"", fd, b".")?;
        if options.over {
            target.spare(&stat)?;
        } else {
            target.late(Name::root(), &stat, Time::default(), None);
        }
        Ok(target)
    }

    /// Makes a directory, or gives an existing one these attributes.
    pub fn directory(&mut self, name: &Name, attributes: &Attributes) -> Result<()> {
        let made = Error::step("make the directory", name.as_bytes());
        let (mut fresh, mut replaced) = (false, false);
        let (fd, owned) = match name.split() {
            None => (self.open_directory(b"").map_err(made)?, false),
            Some((parent, last)) => {
                self.enter(name, parent)?;
                let fd = loop {
                    let dir = self.parent();
                    match fs::mkdirat(dir, last, Mode::from_raw_mode(attributes.mode & 0o1777)) {
                        Ok(()) => fresh = true,
                        Err(Errno::EXIST) => {}
                        Err(errno) => return Err(made(errno)),
                    }
                    match fs::openat(dir, last, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                        Ok(fd) => break fd,
                        // ELOOP and ENOTDIR: something else has the name.
                        Err(Errno::LOOP | Errno::NOTDIR) if !replaced => self.remove(name, last)?,
                        Err(errno) => return Err(made(errno)),
                    }
                    replaced = true;
                };
                self.own(last);
                (fd, fresh && self.owns(attributes))
            }
        };
        if !fresh && self.options.over {
            bare(fd.as_fd(), name, attributes)?;
        }
        // The set-group-id bit is none that mkdir takes.
        let moded = fresh && self.options.exact && owned && attributes.mode & 0o6000 == 0;
        dress(fd.as_fd(), name, attributes, owned, moded)?;
        if replaced && self.options.overlay {
            // What has the name in the layers below was hidden by what had it here.
            make_opaque(fd.as_fd(), name)?;
        }
        self.held.retain(|held| held.path != name.as_bytes());
        let stat = self.hold(name.as_bytes(), fd, name.as_bytes())?;
        let default_acl = attributes.xattrs.get(DEFAULT_ACL).cloned();
        self.late(name.clone(), &stat, attributes.mtime, default_acl);
        Ok(())
    }

    /// Begins a regular file.
    pub fn file(&mut self, name: &Name, attributes: Attributes) -> Result<Writing> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(attributes.mode & 0o777);
        let fd = self.make(name, "make the file", |dir, last| fs::openat(dir, last, flags, mode))?;
        let owned = self.owns(&attributes);
        Ok(Writing { file: File::from(fd), name: name.clone(), attributes, owned, end: 0, length: 0 })
    }

    /// Ends it: attributes come last, since writing clears set-id bits and
    /// capabilities.
    pub fn finish_file(&mut self, writing: &Writing) -> Result<()> {
        writing.lengthen()?;
        let fd = writing.file.as_fd();
        let moded = self.options.exact && writing.attributes.mode & 0o7000 == 0;
        dress(fd, &writing.name, &writing.attributes, writing.owned, moded)?;
        let step = Error::step("set the time of", writing.name.as_bytes());
        fs::futimens(fd, &times(writing.attributes.mtime)).map_err(step)?;
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
            .map_err(Error::step("set the permissions of", name.as_bytes()))?;
        Ok(())
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
        // A whiteout that this layer has made is nothing that is there.
        if self.options.overlay
            && FileType::from_raw_mode(kind.st_mode) == FileType::CharacterDevice
            && kind.st_rdev == 0
        {
            return Err(refused(Errno::NOENT));
        }
        // What has the name may be the very directory that the other name lies
        // in; it is then not there any more when it is to be linked.
        self.make_with(name, refused, |dir, new| fs::linkat(&source, last, dir, new, AtFlags::empty()))
    }

    /// Removes what has this name.
    pub fn discard(&mut self, name: &Name) -> Result<()> {
        let Some((parent, last)) = name.split() else { return Ok(()) };
        self.enter(name, parent)?;
        self.remove(name, last)
    }

    /// Ends the tree: directories get their times and default access control lists.
    pub fn finish(&mut self) -> Result<()> {
        self.held.clear();
        for (inode, late) in std::mem::take(&mut self.late) {
            let path = late.name.as_bytes();
            let fd = match self.open_directory(path) {
                Ok(fd) => fd,
                // A later entry took its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(errno) => return Err(Error::step("open", path)(errno)),
            };
            if fs::fstat(&fd).map_err(Error::step("look at", path))?.st_ino != inode {
                continue;
            }
            if let Some(value) = &late.default_acl {
                fs::fsetxattr(&fd, DEFAULT_ACL, value, XattrFlags::empty())
                    .map_err(Error::step("set the default access control list of", path))?;
            }
            fs::futimens(&fd, &times(late.time)).map_err(Error::step("set the time of", path))?;
        }
        Ok(())
    }

    /// Writes all of it to the disk: one call, where fsync would take one for
    /// each file and directory.
    pub fn sync(&self) -> Result<()> {
        fs::syncfs(&self.root).map_err(Error::step("write to the disk", b"."))
    }

    /// Number of the device that it lies on.
    pub fn device(&self) -> Result<u64> {
        Ok(fs::fstat(&self.root).map_err(Error::step("look at", b"."))?.st_dev)
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
        let made = match call(self.parent(), last) {
            Err(Errno::EXIST) => {
                self.remove(name, last)?;
                call(self.parent(), last).map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        self.own(last);
        Ok(made)
    }

    /// Owner and extended attributes and time of what is not opened: links and nodes.
    fn dress_link(&mut self, name: &Name, attributes: &Attributes) -> Result<()> {
        let (_, last) = name.split().ok_or_else(|| is_root(name))?;
        let dir = self.parent();
        if !self.owns(attributes) {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            fs::chownat(dir, last, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(Error::step("set the owner of", name.as_bytes()))?;
        }
        write_xattrs(dir, last, &attributes.xattrs, name.as_bytes())?;
        fs::utimensat(dir, last, &times(attributes.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::step("set the time of", name.as_bytes()))
    }

    /// Whether what is made in the current directory has this owner by itself.
    fn owns(&self, attributes: &Attributes) -> bool {
        self.owner == (attributes.uid, attributes.gid) && self.held.last().is_some_and(|held| !held.inherits)
    }

    /// Removes what has the name, a directory with all that is in it. That may
    /// be the directory which is held open as `parent`'s own way here.
    fn remove(&mut self, name: &Name, last: &[u8]) -> Result<()> {
        remove_entry(self.parent(), last).map_err(Error::step("replace", name.as_bytes()))?;
        // Names that led through it lead elsewhere now.
        let path = self.held.last().map(|held| held.path.clone()).unwrap_or_default();
        self.held.clear();
        self.enter(name, &path)
    }

    /// The directory in which things are made.
    pub(crate) fn parent(&self) -> BorrowedFd<'_> {
        self.held.last().map_or(self.root.as_fd(), |held| held.fd.as_fd())
    }

    /// Makes `path` the directory in which things are made, with the
    /// directories on the way that are missing.
    pub(crate) fn enter(&mut self, name: &Name, path: &[u8]) -> Result<()> {
        if let Some(at) = self.held.iter().rposition(|held| held.path == path) {
            if at + 1 != self.held.len() {
                let held = self.held.remove(at);
                self.held.push(held);
            }
            return Ok(());
        }
        let failed = |errno| match errno {
            Errno::NOTDIR => {
                Error::Refused { name: shown(name.as_bytes()), why: "lies in something that is no directory" }
            }
            Errno::LOOP => behind_loop(name),
            errno => Error::Step { step: "open the directory of", name: shown(name.as_bytes()), errno },
        };
        let opened = match self.open_directory(path) {
            Err(Errno::NOTDIR) if self.options.overlay && self.unhide(name, path)? => self.open_directory(path),
            other => other,
        };
        let fd = match opened {
            Err(Errno::NOENT) => self.make_directories(name, path)?,
            other => other.map_err(failed)?,
        };
        let stat = self.hold(path, fd, name.as_bytes())?;
        if self.options.over {
            self.spare(&stat)?;
        }
        Ok(())
    }

    /// Makes `fd` the current directory.
    fn hold(&mut self, path: &[u8], fd: OwnedFd, name: &[u8]) -> Result<Stat> {
        let stat = fs::fstat(&fd).map_err(Error::step("look at the directory of", name))?;
        if self.held.len() == HELD {
            self.held.remove(0);
        }
        // With the set-group-id bit, and on file systems that are mounted so (grpid).
        let inherits = stat.st_mode & 0o2000 != 0 || stat.st_gid != self.owner.1;
        self.held.push(Held { path: path.to_vec(), fd, inode: stat.st_ino, inherits });
        self.mark_above()?;
        Ok(stat)
    }

    /// The current directory is one of the layers below, maybe: it keeps what
    /// making things in it would change.
    fn spare(&mut self, stat: &Stat) -> Result<()> {
        let Some(held) = self.held.last() else { return Ok(()) };
        if let Entry::Vacant(vacant) = self.late.entry(stat.st_ino) {
            let name = Name::parse(&held.path)?;
            let step = || Error::step("read the default access control list of", &held.path);
            let mut value = vec![0; 65_536];
            let default_acl = match fs::fgetxattr(&held.fd, DEFAULT_ACL, &mut value[..]) {
                Ok(length) => {
                    value.truncate(length);
                    fs::fremovexattr(&held.fd, DEFAULT_ACL).map_err(step())?;
                    Some(value)
                }
                Err(Errno::NODATA | Errno::NOTSUP) => None,
                Err(errno) => return Err(step()(errno)),
            };
            let time = Time { s: stat.st_mtime, ns: stat.st_mtime_nsec as u32 };
            vacant.insert(Late { name, time, default_acl });
        }
        Ok(())
    }

    pub(crate) fn late(&mut self, name: Name, stat: &Stat, time: Time, default_acl: Option<Vec<u8>>) {
        self.late.insert(stat.st_ino, Late { name, time, default_acl });
    }

    /// Makes what is missing of `path`, owned by root and with permissions 755
    /// as docker does it. Their time is always the same, and not the current
    /// one: the same archive makes the same tree.
    fn make_directories(&mut self, name: &Name, path: &[u8]) -> Result<OwnedFd> {
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
        let mut at = ends[whole.saturating_sub(1)];
        let mut dir = self.open_directory(&path[..at]).map_err(step())?;
        if self.options.over {
            self.hold(&path[..at], dir, name.as_bytes()).and_then(|stat| self.spare(&stat))?;
            dir = self.open_directory(&path[..at]).map_err(step())?;
        }
        for last in path[at..].split(|byte| *byte == b'/').filter(|last| !last.is_empty()) {
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
            if let Some(own) = &mut self.own {
                own.insert(fs::fstat(&dir).map_err(step())?.st_ino, last);
            }
            dir = fs::openat(&dir, last, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).map_err(step())?;
            at += last.len() + usize::from(at > 0);
            make_implied(dir.as_fd()).map_err(step())?;
            let stat = fs::fstat(&dir).map_err(step())?;
            self.late(Name::parse(&path[..at])?, &stat, Time::default(), None);
        }
        Ok(dir)
    }

    /// The directory `path`, empty for the root, resolved beneath it.
    pub(crate) fn open_directory(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let mut opened = Err(Errno::AGAIN);
        // A mount or a rename anywhere on the machine, while a link's `..` is resolved, is EAGAIN (openat2(2)).
        for _ in 0..LOOKUPS {
            opened = fs::openat2(&self.root, path, DIRECTORY, Mode::empty(), BENEATH);
            if !matches!(opened, Err(Errno::AGAIN)) {
                break;
            }
        }
        opened
    }
}

pub(crate) fn behind_loop(name: &Name) -> Error {
    Error::Refused { name: shown(name.as_bytes()), why: "lies, or is linked to what lies, behind a loop of links" }
}

fn is_root(name: &Name) -> Error {
    Error::Refused { name: format!("/{}", shown(name.as_bytes())), why: "is the root and must be a directory" }
}
