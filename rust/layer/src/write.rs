//! The entries of an archive, written into a directory.

use std::path::Path;

use rustix::fs::FileType;

use crate::error::{shown, Error};
use crate::name::Name;
use crate::tar::{Entry, Kind, Sink};
use crate::target::{Node, Options, Target};
use crate::writing::Writing;
use crate::Result;

/// What becomes of entries that say that something of the layers below is gone
/// (`.wh.NAME`, `.wh..wh..opq`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// They become what the overlay file system has for it: a character device
    /// 0/0, the extended attribute `trusted.overlay.opaque`.
    Overlay,
    /// It is deleted: the target holds what the layers below have.
    Apply,
    /// They are files of that name, as the aufs file system has them.
    Aufs,
}

/// What an archive may hold and unfold to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the archive, uncompressed, and of all its files with their
    /// holes.
    pub size: u64,
    /// Bytes of the uncompressed archive for each compressed one, judged once
    /// it is [`Self::JUDGED`] long.
    pub ratio: u64,
    /// Device nodes are taken.
    pub devices: bool,
}

impl Limits {
    /// Bytes of an uncompressed archive that are too few to tell a bomb.
    pub const JUDGED: u64 = 64 << 20;
}

impl Default for Limits {
    /// 1 TiB, and as much as gzip can (1,032:1).
    fn default() -> Self {
        Self { size: 1 << 40, ratio: 1032, devices: true }
    }
}

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What an aufs keeps for itself at a branch's top begins so.
const META: &[u8] = b".wh..wh.";
/// Where it keeps files with several names, to which entries elsewhere are
/// hard links.
const LINKS: &[u8] = b".wh..wh.plnk";

/// Takes entries.
#[derive(Debug)]
pub(crate) struct Writer {
    pub target: Target,
    whiteouts: Whiteouts,
    limits: Limits,
    writing: Option<Writing>,
    /// Content is not wanted.
    skipping: bool,
    /// There is a directory of aufs's to be removed at the end.
    links: bool,
    /// Entries that were made: neither the root nor whiteouts.
    pub files: u64,
    /// Bytes of regular files.
    pub content: u64,
}

impl Writer {
    /// Into the existing directory `target`.
    pub fn new(target: &Path, whiteouts: Whiteouts, limits: Limits) -> Result<Self> {
        let options =
            Options { exact: false, over: whiteouts == Whiteouts::Apply, overlay: whiteouts == Whiteouts::Overlay };
        let target = Target::open(target, options)?;
        Ok(Self { target, whiteouts, limits, writing: None, skipping: false, links: false, files: 0, content: 0 })
    }

    /// All entries have come.
    pub fn finish(&mut self) -> Result<()> {
        if self.links {
            self.target.discard(&Name::parse(LINKS)?)?;
        }
        self.target.finish()
    }

    /// Whether the entry is a whiteout, or something that nobody wants, and dealt with.
    fn hidden(&mut self, name: &Name, kind: &Kind) -> Result<bool> {
        let Some((parent, last)) = name.split() else { return Ok(false) };
        let first = name.as_bytes().split(|byte| *byte == b'/').next().unwrap_or_default();
        if first.starts_with(META) && name.as_bytes() != OPAQUE {
            // Files there may be the first names of those that come elsewhere (docker keeps them aside for that).
            self.links |= first == LINKS;
            self.skipping = first != LINKS && matches!(kind, Kind::File(_));
            return Ok(first != LINKS);
        }
        if !last.starts_with(PREFIX) || self.whiteouts == Whiteouts::Aufs {
            return Ok(false);
        }
        self.skipping = matches!(kind, Kind::File(_));
        if last == OPAQUE {
            self.target.opaque(&Name::parse(parent)?)?;
            return Ok(true);
        }
        match &last[PREFIX.len()..] {
            b"" | b"." | b".." => Err(Error::Refused { name: shown(name.as_bytes()), why: "is a whiteout of no name" }),
            hidden => {
                self.target.whiteout(&Name::parse(parent)?.join(hidden))?;
                Ok(true)
            }
        }
    }

    fn check(&mut self, name: &[u8], kind: &Kind) -> Result<()> {
        match kind {
            Kind::CharacterDevice(0, 0) if self.whiteouts == Whiteouts::Overlay => Err(Error::Unsupported {
                name: shown(name),
                what: "is a character device 0/0, which is a whiteout of the overlay file system's own",
            }),
            Kind::CharacterDevice(..) | Kind::BlockDevice(..) if !self.limits.devices => {
                Err(Error::Forbidden { name: shown(name), what: "a device node" })
            }
            Kind::File(size) => {
                self.content = self.content.saturating_add(*size);
                if self.content > self.limits.size {
                    return Err(Error::Bomb {
                        what: format!("its files have {} bytes and more, at {:?}", self.content, shown(name)),
                        limit: self.limits.size,
                    });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Sink for Writer {
    fn entry(&mut self, entry: Entry) -> Result<()> {
        let name = Name::parse(&entry.name)?;
        if self.hidden(&name, &entry.kind)? {
            return Ok(());
        }
        self.check(&entry.name, &entry.kind)?;
        self.files += u64::from(name != Name::root());
        let attributes = entry.attributes;
        let mut node = |kind, major, minor| self.target.node(&name, Node { kind, major, minor }, &attributes);
        match entry.kind {
            Kind::CharacterDevice(major, minor) => node(FileType::CharacterDevice, major, minor),
            Kind::BlockDevice(major, minor) => node(FileType::BlockDevice, major, minor),
            Kind::Fifo => node(FileType::Fifo, 0, 0),
            Kind::Directory => self.target.directory(&name, &attributes),
            Kind::Symlink(target) => self.target.symlink(&name, &target, &attributes),
            // The file's attributes are those of its first name.
            Kind::HardLink(existing) => self.target.hard_link(&name, &Name::parse(&existing)?),
            Kind::File(_) => {
                self.writing = Some(self.target.file(&name, attributes)?);
                Ok(())
            }
        }
    }

    fn data(&mut self, data: &[u8]) -> Result<()> {
        match &mut self.writing {
            Some(writing) => writing.write(data),
            None if self.skipping => Ok(()),
            None => Err(Error::Damaged { offset: 0, what: "there is content without a file" }),
        }
    }

    fn hole(&mut self, count: u64) -> Result<()> {
        match &mut self.writing {
            Some(writing) => writing.skip(count),
            None if self.skipping => Ok(()),
            None => Err(Error::Damaged { offset: 0, what: "there is content without a file" }),
        }
    }

    fn end_of_file(&mut self) -> Result<()> {
        match self.writing.take() {
            Some(writing) => self.target.finish_file(&writing),
            None if self.skipping => {
                self.skipping = false;
                Ok(())
            }
            None => Err(Error::Damaged { offset: 0, what: "there is content without a file" }),
        }
    }
}
