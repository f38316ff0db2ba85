//! Directories on top of one another, seen as the file system that lays them
//! so shows them.
//!
//! They may be changed meanwhile, by users who need not be trusted: they are
//! read through descriptors that follow no link and cross no mount point. What
//! vanishes is passed over; a mount point is there and empty.
//!
//! References: the kernel's Documentation/filesystems/overlayfs.rst ("whiteouts
//! and opaque directories", "Metadata only copy up", "redirect_dir"), aufs(5).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, CWD};
use rustix::io::Errno;

use crate::attributes::{read_xattrs, Attributes, Time};
use crate::error::{shown, Error};
use crate::hide::OPAQUE;
use crate::name::Name;
use crate::target::DIRECTORY;
use crate::Result;

/// How directories hide what those below them have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// As the overlay file system has it: a character device 0/0, an extended attribute.
    Overlay,
    /// Not at all: each directory is a whole tree.
    Tree,
    /// As aufs has it: `.wh.NAME`, `.wh..wh..opq`.
    Aufs,
}

pub(crate) const WHITEOUT: &[u8] = b".wh.";
pub(crate) const OPAQUE_FILE: &[u8] = b".wh..wh..opq";
const META: &[u8] = b".wh..wh.";

/// Directories that are held open.
const HELD: usize = 24;
/// Links that one path may lead through, as in the kernel.
const LINKS: usize = 40;

/// The directories, topmost first.
#[derive(Debug)]
pub(crate) struct Stack {
    roots: Vec<OwnedFd>,
    layout: Layout,
    /// Device and inode number of directories that are shown empty.
    hidden: Vec<(u64, u64)>,
    held: Vec<(usize, Name, Rc<OwnedFd>)>,
}

/// Something that the stack shows.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub name: Name,
    /// The number of the directory that it is in, from the top.
    pub layer: usize,
    /// Of a directory: all that have a part of it.
    pub layers: Vec<usize>,
    pub stat: Stat,
}

impl Item {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    pub fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }

    pub fn last(&self) -> &[u8] {
        self.name.split().map_or(b"", |(_, last)| last)
    }

    fn parent(&self) -> Name {
        self.name.parent()
    }

    /// What is one file if it has several names; None if it has one.
    pub fn identity(&self) -> Option<(u64, u64)> {
        (!self.is_directory() && self.stat.st_nlink > 1).then_some((self.stat.st_dev, self.stat.st_ino))
    }
}

/// What is in a directory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// By last component.
    pub items: BTreeMap<Vec<u8>, Item>,
    /// What the topmost directory that has a part of this one hides of those below.
    pub whiteouts: Vec<Vec<u8>>,
    /// It hides all.
    pub opaque: bool,
}

impl Stack {
    pub fn open<P: AsRef<Path>>(dirs: &[P], layout: Layout, hidden: &[&Path]) -> Result<Self> {
        let open = |path: &P| {
            let path = path.as_ref();
            fs::openat(CWD, path, DIRECTORY, Mode::empty())
                .map_err(Error::step("open the directory", path.as_os_str().as_encoded_bytes()))
        };
        let roots = dirs.iter().map(open).collect::<Result<_>>()?;
        let hidden =
            hidden.iter().filter_map(|path| fs::stat(*path).ok()).map(|stat| (stat.st_dev, stat.st_ino)).collect();
        Ok(Self { roots, layout, hidden, held: Vec::new() })
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// The root directory.
    pub fn root(&self) -> Result<Item> {
        let Some(top) = self.roots.first() else {
            return Err(Error::Refused { name: String::new(), why: "is not there: no directories were given" });
        };
        let stat = fs::fstat(top).map_err(Error::step("look at", b"."))?;
        Ok(Item { name: Name::root(), layer: 0, layers: (0..self.roots.len()).collect(), stat })
    }

    /// What is in a directory.
    pub fn list(&mut self, of: &Item) -> Result<Listing> {
        let mut listing = Listing::default();
        if self.hidden.contains(&(of.stat.st_dev, of.stat.st_ino)) {
            return Ok(listing);
        }
        // Names that something above has, so that what is below is hidden.
        let mut gone: HashSet<Vec<u8>> = HashSet::new();
        for (number, layer) in of.layers.iter().copied().enumerate() {
            let Some(dir) = self.directory(layer, &of.name)? else { continue };
            let (opaque, marked) = self.opacity(&dir, &of.name)?;
            let mut hidden_here = Vec::new();
            let mut opaque = opaque;
            for (last, kind) in entries(&dir, &of.name)? {
                if self.layout == Layout::Aufs && last.starts_with(WHITEOUT) {
                    if last == OPAQUE_FILE {
                        opaque = true;
                    } else if !last.starts_with(META) {
                        hidden_here.push(last[WHITEOUT.len()..].to_vec());
                    }
                    continue;
                }
                if gone.contains(&last) {
                    continue;
                }
                if let Some(known) = listing.items.get(&last) {
                    // Another part of a directory is all that can still be seen.
                    if !known.is_directory() || !matches!(kind, FileType::Directory | FileType::Unknown) {
                        gone.insert(last);
                        continue;
                    }
                }
                let name = of.name.join(&last);
                let stat = match fs::statat(&*dir, &last[..], AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => stat,
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(Error::step("look at", name.as_bytes())(errno)),
                };
                if self.is_whiteout(&dir, &last, &stat, marked) {
                    hidden_here.push(last);
                    continue;
                }
                let item = Item { name, layer, layers: vec![layer], stat };
                match listing.items.entry(last) {
                    Entry::Vacant(vacant) => {
                        vacant.insert(item);
                    }
                    Entry::Occupied(mut occupied) if item.is_directory() => {
                        occupied.get_mut().layers.push(layer);
                    }
                    // Something below that is no directory ends what is merged.
                    Entry::Occupied(occupied) => {
                        gone.insert(occupied.key().clone());
                    }
                }
            }
            gone.extend(hidden_here.iter().cloned());
            if number == 0 {
                listing.whiteouts = hidden_here;
                listing.opaque = opaque;
            }
            if opaque {
                break;
            }
        }
        listing.whiteouts.sort_unstable();
        Ok(listing)
    }

    /// What a path leads to, links within the stack followed; None where
    /// nothing is there.
    pub fn resolve(&mut self, path: &Name) -> Result<Option<Item>> {
        let mut todo: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        let mut at = vec![self.root()?];
        let mut links = 0;
        while let Some(last) = todo.pop() {
            let Some(here) = at.last() else { return Ok(None) };
            match &last[..] {
                b"" | b"." => continue,
                b".." => {
                    if at.len() > 1 {
                        at.pop();
                    }
                    continue;
                }
                _ if !here.is_directory() => return Ok(None),
                _ => {}
            }
            let here = here.clone();
            let Some(item) = self.list(&here)?.items.remove(&last) else { return Ok(None) };
            if item.kind() != FileType::Symlink {
                at.push(item);
                continue;
            }
            links += 1;
            if links > LINKS {
                return Err(Error::Refused { name: shown(path.as_bytes()), why: "lies behind a loop of links" });
            }
            let Some(target) = self.read_link(&item)? else { return Ok(None) };
            if target.first() == Some(&b'/') {
                at.truncate(1);
            }
            todo.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
        }
        Ok(at.pop())
    }

    /// Owner, permissions, time and extended attributes; None if it has vanished.
    pub fn attributes(&mut self, of: &Item) -> Result<Option<Attributes>> {
        let Some(dir) = self.directory(of.layer, &of.parent())? else { return Ok(None) };
        let xattrs = match read_xattrs(dir.as_fd(), of.last(), of.name.as_bytes(), self.layout == Layout::Overlay) {
            Err(Error::Step { errno: Errno::NOENT, .. }) => return Ok(None),
            other => other?,
        };
        Ok(Some(Attributes {
            mode: of.stat.st_mode & 0o7777,
            uid: of.stat.st_uid,
            gid: of.stat.st_gid,
            mtime: Time { s: of.stat.st_mtime, ns: of.stat.st_mtime_nsec as u32 },
            xattrs,
        }))
    }

    /// A symbolic link's target; None if it has vanished.
    pub fn read_link(&mut self, of: &Item) -> Result<Option<Vec<u8>>> {
        let Some(dir) = self.directory(of.layer, &of.parent())? else { return Ok(None) };
        match fs::readlinkat(&*dir, of.last(), Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(errno) => Err(Error::step("read the link", of.name.as_bytes())(errno)),
        }
    }

    /// A regular file and its size; None if it has vanished. One that something
    /// is mounted on is empty.
    pub fn file(&mut self, of: &Item) -> Result<Option<(Option<File>, u64)>> {
        let Some(dir) = self.directory(of.layer, &of.parent())? else { return Ok(None) };
        // Not blocking, in case that it is a named pipe by now.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let file = match fs::openat2(&*dir, of.last(), flags, Mode::empty(), how) {
            Ok(fd) => File::from(fd),
            Err(Errno::XDEV) => return Ok(Some((None, 0))),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::step("open", of.name.as_bytes())(errno)),
        };
        let stat = fs::fstat(&file).map_err(Error::step("look at", of.name.as_bytes()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::Refused { name: shown(of.name.as_bytes()), why: "changed while it was read" });
        }
        Ok(Some((Some(file), stat.st_size as u64)))
    }

    /// The part of a directory that is in this layer; None for a mount point, and if it has vanished.
    fn directory(&mut self, layer: usize, name: &Name) -> Result<Option<Rc<OwnedFd>>> {
        if let Some(at) = self.held.iter().rposition(|(held, path, _)| *held == layer && path == name) {
            let held = self.held.remove(at);
            let fd = held.2.clone();
            self.held.push(held);
            return Ok(Some(fd));
        }
        let path = if name.as_bytes().is_empty() { b"." } else { name.as_bytes() };
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let fd = match fs::openat2(&self.roots[layer], path, DIRECTORY, Mode::empty(), how) {
            Ok(fd) => Rc::new(fd),
            Err(Errno::XDEV | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(Error::step("open", name.as_bytes())(errno)),
        };
        if self.held.len() == HELD {
            self.held.remove(0);
        }
        self.held.push((layer, name.clone(), fd.clone()));
        Ok(Some(fd))
    }

    /// Whether a directory hides what those below have, and whether it may have
    /// whiteouts that are regular files.
    fn opacity(&self, dir: &OwnedFd, name: &Name) -> Result<(bool, bool)> {
        if self.layout != Layout::Overlay {
            return Ok((false, false));
        }
        let mut value = [0; 2];
        match fs::fgetxattr(dir, OPAQUE, &mut value) {
            Ok(1) => Ok((value[0] == b'y', value[0] == b'x')),
            Ok(_) | Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok((false, false)),
            Err(errno) => Err(Error::step("read the extended attributes of", name.as_bytes())(errno)),
        }
    }

    fn is_whiteout(&self, dir: &OwnedFd, last: &[u8], stat: &Stat, marked: bool) -> bool {
        if self.layout != Layout::Overlay {
            return false;
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => stat.st_rdev == 0,
            // Since Linux 6.7, for layers that are themselves on an overlay.
            FileType::RegularFile if marked && stat.st_size == 0 => {
                crate::attributes::has_xattr(dir.as_fd(), last, "trusted.overlay.whiteout")
            }
            _ => false,
        }
    }
}

/// The names in a directory and what the listing says that they are.
fn entries(dir: &OwnedFd, name: &Name) -> Result<Vec<(Vec<u8>, FileType)>> {
    let step = || Error::step("list", name.as_bytes());
    let mut out = Vec::new();
    for entry in Dir::read_from(dir).map_err(step())? {
        let entry = entry.map_err(step())?;
        let last = entry.file_name().to_bytes();
        if !matches!(last, b"." | b"..") {
            out.push((last.to_vec(), entry.file_type()));
        }
    }
    Ok(out)
}
