//! What a tree is named by: SHA-256 over a listing of all that is in it.
//!
//! The listing is taken from the file system once the tree is made, in an order
//! that depends on the names alone: the same tree has the same digest wherever
//! it came from. In it are names, kinds, permissions, owners, contents, link
//! targets, device numbers, extended attributes, and which names are one file;
//! not in it are times (the same files packed anew would be another image) and
//! a host's security labels.
//!
//! The format (integers are big-endian; `text` is a u32 length and the bytes):
//!
//! ```text
//! "ardock tree 1\n"
//! then each entry, a directory's in the order of their names' bytes, and after
//! them the contents of its subdirectories in the same order:
//!   kind   one of  d f l c b p s h
//!   text   path from the root; empty for the root, which is the first entry
//!   h:     text, the path of its other name that came first; nothing follows
//!   u32    permissions (0 for l), u32 owner, u32 group
//!   f:     u64 size, 32 bytes SHA-256 of the content
//!   l:     text, the target
//!   c, b:  u32 major, u32 minor
//!   u32    number of extended attributes, by name: text name, text value
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use sha2::{Digest, Sha256};

use crate::attributes::{read_xattrs, Xattrs};
use crate::error::Error;
use crate::name::Name;
use crate::{Cancelled, Result};

/// A tree's digest and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// SHA-256 of the listing.
    pub digest: [u8; 32],
    /// Bytes of its regular files, one with several names counted once.
    pub size: u64,
    /// Entries without the root.
    pub files: u64,
}

/// Digests of files by inode number, as far as they are known; of a directory
/// that nobody else writes to. An inode number that is used anew is put in anew.
#[derive(Debug, Default)]
pub(crate) struct Contents(HashMap<u64, [u8; 32]>);

impl Contents {
    /// Some 64 MiB. What goes beyond is read again.
    const MOST: usize = 1 << 20;

    pub fn insert(&mut self, inode: u64, digest: [u8; 32]) {
        if self.0.len() < Self::MOST || self.0.contains_key(&inode) {
            self.0.insert(inode, digest);
        }
    }
}

/// Walks the tree beneath `root`. Nothing else writes to it, and no path in it
/// is longer than the kernel takes (4,095 bytes).
pub(crate) fn summarize(root: BorrowedFd<'_>, contents: &Contents, cancelled: Cancelled<'_>) -> Result<Summary> {
    let mut walk = Walk { hash: Sha256::new(), contents, cancelled, linked: HashMap::new(), size: 0, files: 0 };
    walk.hash.update(b"ardock tree 1\n");
    let stat = fs::fstat(root).map_err(Error::step("look at", b"."))?;
    walk.entry(root, b"", &Name::root(), &stat)?;
    // Paths, not descriptors, so that depth costs nothing.
    let mut open = vec![Name::root()];
    while let Some(name) = open.pop() {
        let below = walk.directory(root, &name)?;
        open.extend(below.into_iter().rev());
    }
    Ok(Summary { digest: walk.hash.finalize().into(), size: walk.size, files: walk.files })
}

/// The directory `name` beneath `root`, through no link and no mount.
pub(crate) fn open_plain(root: BorrowedFd<'_>, name: &Name) -> rustix::io::Result<OwnedFd> {
    let path = if name.as_bytes().is_empty() { b"." } else { name.as_bytes() };
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    fs::openat2(root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), how)
}

/// The names in a directory, in the order of their bytes.
pub(crate) fn names_in(dir: BorrowedFd<'_>, name: &Name) -> Result<Vec<Vec<u8>>> {
    let step = || Error::step("list", name.as_bytes());
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).map_err(step())? {
        let entry = entry.map_err(step())?;
        let last = entry.file_name().to_bytes();
        if !matches!(last, b"." | b"..") {
            names.push(last.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

struct Walk<'a> {
    hash: Sha256,
    contents: &'a Contents,
    cancelled: Cancelled<'a>,
    /// Of files with several names: the name that came first, by inode number.
    linked: HashMap<u64, Name>,
    size: u64,
    files: u64,
}

impl Walk<'_> {
    /// Its entries; gives its subdirectories.
    fn directory(&mut self, root: BorrowedFd<'_>, name: &Name) -> Result<Vec<Name>> {
        let dir = open_plain(root, name).map_err(Error::step("open", name.as_bytes()))?;
        let mut below = Vec::new();
        for last in names_in(dir.as_fd(), name)? {
            if (self.cancelled)() {
                return Err(Error::Cancelled);
            }
            let path = name.join(&last);
            let stat = fs::statat(&dir, &last[..], AtFlags::SYMLINK_NOFOLLOW)
                .map_err(Error::step("look at", path.as_bytes()))?;
            self.files += 1;
            self.entry(dir.as_fd(), &last, &path, &stat)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                below.push(path);
            }
        }
        Ok(below)
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, last: &[u8], path: &Name, stat: &Stat) -> Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&stat.st_ino).cloned() {
                self.hash.update(b"h");
                self.text(path.as_bytes());
                self.text(first.as_bytes());
                return Ok(());
            }
            self.linked.insert(stat.st_ino, path.clone());
        }
        self.hash.update(match kind {
            FileType::Directory => b"d",
            FileType::RegularFile => b"f",
            FileType::Symlink => b"l",
            FileType::CharacterDevice => b"c",
            FileType::BlockDevice => b"b",
            FileType::Fifo => b"p",
            _ => b"s",
        });
        self.text(path.as_bytes());
        let mode = if kind == FileType::Symlink { 0 } else { stat.st_mode & 0o7777 };
        for number in [mode, stat.st_uid, stat.st_gid] {
            self.hash.update(number.to_be_bytes());
        }
        match kind {
            FileType::RegularFile => {
                let digest = match self.contents.0.get(&stat.st_ino) {
                    Some(digest) => *digest,
                    None => self.read(dir, last, path)?,
                };
                self.size += stat.st_size as u64;
                self.hash.update((stat.st_size as u64).to_be_bytes());
                self.hash.update(digest);
            }
            FileType::Symlink => {
                let target =
                    fs::readlinkat(dir, last, Vec::new()).map_err(Error::step("read the link", path.as_bytes()))?;
                self.text(target.as_bytes());
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                self.hash.update(fs::major(stat.st_rdev).to_be_bytes());
                self.hash.update(fs::minor(stat.st_rdev).to_be_bytes());
            }
            _ => {}
        }
        self.xattrs(&read_xattrs(dir, last, path.as_bytes(), false)?);
        Ok(())
    }

    fn read(&self, dir: BorrowedFd<'_>, last: &[u8], path: &Name) -> Result<[u8; 32]> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(dir, last, flags, Mode::empty()).map_err(Error::step("open", path.as_bytes()))?;
        let (mut file, mut hash, mut buffer) = (File::from(fd), Sha256::new(), vec![0; 1 << 18]);
        loop {
            if (self.cancelled)() {
                return Err(Error::Cancelled);
            }
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hash.finalize().into()),
                Ok(count) => hash.update(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
                    return Err(Error::step("read", path.as_bytes())(errno));
                }
            }
        }
    }

    fn xattrs(&mut self, xattrs: &Xattrs) {
        self.hash.update((xattrs.len() as u32).to_be_bytes());
        for (name, value) in xattrs {
            self.text(name);
            self.text(value);
        }
    }

    fn text(&mut self, text: &[u8]) {
        self.hash.update((text.len() as u32).to_be_bytes());
        self.hash.update(text);
    }
}
