//! What a layer takes away: whiteouts and opaque directories.
//!
//! They are about what the layers below have and never about what this very
//! layer has, whatever the order of its entries is (OCI image specification,
//! "Whiteouts").

use std::collections::hash_map::RandomState;
use std::collections::HashSet;
use std::hash::BuildHasher;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::attributes::{is_hosts, Attributes, Time};
use crate::error::{shown, Error};
use crate::name::Name;
use crate::remove::remove_entry;
use crate::target::{behind_loop, Target, DIRECTORY};
use crate::Result;

/// What a directory has that hides what the layers below have under its name.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// Directories within one another that are looked through for what is this
/// layer's: each takes a descriptor while those in it are.
const DEEP: usize = 128;

/// Names are told by their directory's inode number, since one directory may
/// have several paths, through links; as 64-bit hashes with a random key.
#[derive(Debug, Default)]
pub(crate) struct Own {
    hash: RandomState,
    names: HashSet<u64>,
    /// Inode numbers of the directories that have some in them or below.
    above: HashSet<u64>,
}

impl Own {
    /// This layer has made `last` in the directory of this inode number.
    pub fn insert(&mut self, inode: u64, last: &[u8]) {
        self.names.insert(self.hash.hash_one((inode, last)));
    }

    fn contains(&self, inode: u64, last: &[u8]) -> bool {
        self.names.contains(&self.hash.hash_one((inode, last)))
    }
}

impl Target {
    /// Something was made in the current directory.
    pub(crate) fn own(&mut self, last: &[u8]) {
        if let (Some(own), Some(held)) = (&mut self.own, self.held.last()) {
            own.insert(held.inode, last);
        }
    }

    /// The current directory is one that things are made in: so the layer has
    /// something in each directory above it.
    pub(crate) fn mark_above(&mut self) -> Result<()> {
        let (Some(own), Some(held)) = (&mut self.own, self.held.last()) else { return Ok(()) };
        let step = || Error::step("look at the directories above", b".");
        let root = fs::fstat(&self.root).map_err(step())?.st_ino;
        let (mut inode, mut dir) = (held.inode, None);
        while own.above.insert(inode) && inode != root {
            let from = dir.as_ref().map_or(held.fd.as_fd(), |dir: &std::os::fd::OwnedFd| dir.as_fd());
            let above = fs::openat(from, "..", DIRECTORY, Mode::empty()).map_err(step())?;
            inode = fs::fstat(&above).map_err(step())?.st_ino;
            dir = Some(above);
        }
        Ok(())
    }

    /// Hides what the layers below have under this name.
    pub fn whiteout(&mut self, name: &Name) -> Result<()> {
        let Some((parent, last)) = name.split() else {
            return Err(Error::Refused { name: shown(name.as_bytes()), why: "is a whiteout of the root" });
        };
        if self.options.over {
            return self.delete(name, parent, Some(last));
        }
        self.enter(name, parent)?;
        let step = || Error::step("make the whiteout of", name.as_bytes());
        match fs::mknodat(self.parent(), last, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(step()(errno)),
        }
        // The layer has something of that name itself, which hides what is
        // below unless both are directories.
        match fs::openat(self.parent(), last, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => make_opaque(fd.as_fd(), name),
            Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(errno) => Err(step()(errno)),
        }
    }

    /// Hides all that the layers below have in this directory.
    pub fn opaque(&mut self, name: &Name) -> Result<()> {
        if self.options.over {
            return self.delete(name, name.as_bytes(), None);
        }
        self.enter(name, name.as_bytes())?;
        make_opaque(self.parent(), name)
    }

    /// Deletes what the layers below have: `last` in the directory `path`, or
    /// all in it.
    fn delete(&mut self, name: &Name, path: &[u8], last: Option<&[u8]>) -> Result<()> {
        match self.open_directory(path) {
            Ok(_) => {}
            // There is nothing to hide.
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(Errno::LOOP) => return Err(behind_loop(name)),
            Err(errno) => return Err(Error::step("open the directory of", name.as_bytes())(errno)),
        }
        self.enter(name, path)?;
        let (Some(own), Some(held)) = (&self.own, self.held.last()) else { return Ok(()) };
        let prune = Prune { own, name };
        match last {
            Some(last) => prune.entry(held.fd.as_fd(), held.inode, last, 0)?,
            None => prune.all(held.fd.as_fd(), held.inode, 0)?,
        }
        // Names that led through it lead elsewhere now.
        self.held.clear();
        Ok(())
    }

    /// A whiteout of this layer stands where a directory is needed on the way:
    /// it becomes a directory that hides the one below. Whether there was one.
    pub(crate) fn unhide(&mut self, name: &Name, path: &[u8]) -> Result<bool> {
        let step = || Error::step("make the directory of", name.as_bytes());
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let at = Name::parse(&path[..end])?;
            let Some((parent, last)) = at.split() else { continue };
            let Ok(dir) = self.open_directory(parent) else { return Ok(false) };
            let Ok(stat) = fs::statat(&dir, last, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(false) };
            if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || stat.st_rdev != 0 {
                continue;
            }
            fs::unlinkat(&dir, last, AtFlags::empty()).map_err(step())?;
            fs::mkdirat(&dir, last, Mode::from_raw_mode(0o755)).map_err(step())?;
            let fd = fs::openat(&dir, last, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).map_err(step())?;
            make_implied(fd.as_fd()).map_err(step())?;
            make_opaque(fd.as_fd(), &at)?;
            let stat = fs::fstat(&fd).map_err(step())?;
            self.late(at, &stat, Time::default(), None);
            return Ok(true);
        }
        Ok(false)
    }
}

struct Prune<'a> {
    own: &'a Own,
    name: &'a Name,
}

impl Prune<'_> {
    fn step(&self) -> impl FnOnce(Errno) -> Error {
        Error::step("delete what is hidden by", self.name.as_bytes())
    }

    fn all(&self, dir: BorrowedFd<'_>, inode: u64, depth: usize) -> Result<()> {
        for last in names_in(dir, self.name)? {
            self.entry(dir, inode, &last, depth)?;
        }
        Ok(())
    }

    /// Deletes it, but for what is this layer's and the directories on the way there.
    fn entry(&self, dir: BorrowedFd<'_>, inode: u64, last: &[u8], depth: usize) -> Result<()> {
        let own = self.own.contains(inode, last);
        let inner = match fs::openat(dir, last, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(inner) => inner,
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTDIR | Errno::LOOP) if own => return Ok(()),
            Err(Errno::NOTDIR | Errno::LOOP) => return remove_entry(dir, last).map_err(self.step()),
            Err(errno) => return Err(self.step()(errno)),
        };
        let inner_inode = fs::fstat(&inner).map_err(self.step())?.st_ino;
        if !own && !self.own.above.contains(&inner_inode) {
            return remove_entry(dir, last).map_err(self.step());
        }
        if depth == DEEP {
            return Err(Error::Refused {
                name: shown(self.name.as_bytes()),
                why: "hides more than 128 directories within one another in which the layer has files",
            });
        }
        self.all(inner.as_fd(), inner_inode, depth + 1)?;
        if own {
            return Ok(());
        }
        match fs::unlinkat(dir, last, AtFlags::REMOVEDIR) {
            // It stays for what the layer has in it.
            Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(errno) => Err(self.step()(errno)),
        }
    }
}

/// The names in a directory.
fn names_in(dir: BorrowedFd<'_>, name: &Name) -> Result<Vec<Vec<u8>>> {
    let step = || Error::step("list", name.as_bytes());
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).map_err(step())? {
        let entry = entry.map_err(step())?;
        let last = entry.file_name().to_bytes();
        if !matches!(last, b"." | b"..") {
            names.push(last.to_vec());
        }
    }
    Ok(names)
}

/// Makes a directory hide what the layers below have in it.
pub(crate) fn make_opaque(fd: BorrowedFd<'_>, name: &Name) -> Result<()> {
    fs::fsetxattr(fd, OPAQUE, b"y", XattrFlags::empty()).map_err(Error::step("make opaque", name.as_bytes()))
}

/// Gives a directory that the archive has no entry of what docker gives it,
/// whatever the process's umask, and the group of the directory above, is.
pub(crate) fn make_implied(fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    fs::fchown(fd, Some(fs::Uid::ROOT), Some(fs::Gid::ROOT))?;
    fs::fchmod(fd, Mode::from_raw_mode(0o755))
}

/// Removes the extended attributes that a directory has from the layers below
/// and does not have in this one.
pub(crate) fn bare(fd: BorrowedFd<'_>, name: &Name, attributes: &Attributes) -> Result<()> {
    let step = || Error::step("remove the extended attributes of", name.as_bytes());
    let mut buffer = vec![0; 65_536];
    let length = match fs::flistxattr(fd, &mut buffer[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(errno) => return Err(step()(errno)),
    };
    for attribute in buffer[..length].split(|byte| *byte == 0).filter(|it| !it.is_empty() && !is_hosts(it)) {
        if !attributes.xattrs.contains_key(attribute) {
            match fs::fremovexattr(fd, attribute) {
                Ok(()) | Err(Errno::NODATA) => {}
                Err(errno) => return Err(step()(errno)),
            }
        }
    }
    Ok(())
}
