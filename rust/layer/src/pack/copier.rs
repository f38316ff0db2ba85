//! Items of a tree, into an archive, a directory or both at once.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

use rustix::fs::{self, FileType};
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::diff::{Change, Visit};
use crate::error::{shown, Error};
use crate::name::Name;
use crate::stack::{Item, Stack, OPAQUE_FILE, WHITEOUT};
use crate::tar::{header, Entry, Kind};
use crate::target::{Node, Target};
use crate::writing::Writing;
use crate::{Cancelled, Result};

use super::stream::{Counts, Stream};

/// Takes items.
pub(crate) struct Copier<'a, 'b> {
    archive: Option<&'a mut Stream<'b>>,
    target: Option<Target>,
    /// The directory whose names are told from it on.
    start: Name,
    cancelled: Cancelled<'a>,
    /// Of files with several names: the first, by device and inode number.
    linked: HashMap<(u64, u64), Name>,
    buffer: Vec<u8>,
    counts: Counts,
}

impl<'a, 'b> Copier<'a, 'b> {
    pub fn new(
        archive: Option<&'a mut Stream<'b>>,
        target: Option<Target>,
        start: Name,
        cancelled: Cancelled<'a>,
    ) -> Self {
        let counts = Counts::default();
        Self { archive, target, start, cancelled, linked: HashMap::new(), buffer: vec![0; 256 << 10], counts }
    }

    /// All items have come; a target is on the disk.
    pub fn finish(mut self) -> Result<Counts> {
        if let Some(archive) = &mut self.archive {
            archive.zeros(1024)?;
        }
        if let Some(target) = &mut self.target {
            target.finish()?;
            target.sync()?;
        }
        Ok(self.counts)
    }

    fn relative(&self, name: &Name) -> Name {
        name.below(&self.start)
    }

    fn check(&self, name: &Name, item: &Item) -> Result<()> {
        let last = item.last();
        if self.archive.is_some() && last.starts_with(WHITEOUT) {
            return Err(Error::Unsupported {
                name: shown(name.as_bytes()),
                what: "has a name that means in an image's layer that something is gone: rename it (names must not begin with .wh.)",
            });
        }
        // It would be one in the overlay's layer that the copy becomes.
        if self.archive.is_some()
            && self.target.is_some()
            && item.kind() == FileType::CharacterDevice
            && item.stat.st_rdev == 0
        {
            return Err(Error::Unsupported {
                name: shown(name.as_bytes()),
                what: "is a character device 0/0, which is a whiteout of the overlay file system's own",
            });
        }
        Ok(())
    }

    fn head(&mut self, name: &Name, kind: Kind, attributes: &Attributes) -> Result<()> {
        let Some(archive) = &mut self.archive else { return Ok(()) };
        if attributes.xattrs.keys().any(|key| key.contains(&b'=')) {
            return Err(Error::Unsupported {
                name: shown(name.as_bytes()),
                what: "has an extended attribute with an equals sign in its name, for which archives have no room",
            });
        }
        let entry = Entry { name: name.as_bytes().to_vec(), kind, attributes: attributes.clone() };
        archive.write(&header(&entry))
    }

    fn file(&mut self, new: &mut Stack, item: &Item, name: &Name, attributes: Attributes) -> Result<bool> {
        let Some((file, size)) = new.file(item)? else { return Ok(false) };
        self.head(name, Kind::File(size), &attributes)?;
        let mut writing = self.target.as_mut().map(|target| target.file(name, attributes)).transpose()?;
        if let Some(file) = file {
            let sparse = (item.stat.st_blocks as u64) * 512 < size;
            self.content(file, size, sparse, name, &mut writing)?;
        }
        if let Some(archive) = &mut self.archive {
            archive.zeros(size.wrapping_neg() % 512)?;
        }
        if let (Some(target), Some(writing)) = (&mut self.target, writing) {
            target.finish_file(&writing)?;
        }
        self.counts.content += size;
        Ok(true)
    }

    /// As many bytes as the header says: what comes behind is left, and what is
    /// not there any more is zeros.
    fn content(
        &mut self,
        mut file: File,
        size: u64,
        sparse: bool,
        name: &Name,
        writing: &mut Option<Writing>,
    ) -> Result<()> {
        let step = || Error::step("read", name.as_bytes());
        let mut at = 0;
        while at < size {
            let (data, end) = if sparse { extent(&file, at, size).map_err(step())? } else { (at, size) };
            self.hole(data - at, writing)?;
            at = data;
            if sparse {
                fs::seek(&file, fs::SeekFrom::Start(at)).map_err(step())?;
            }
            while at < end {
                if (self.cancelled)() {
                    return Err(Error::Cancelled);
                }
                let most = (end - at).min(self.buffer.len() as u64) as usize;
                match file.read(&mut self.buffer[..most]) {
                    Ok(0) => return self.hole(size - at, writing),
                    Ok(count) => {
                        if let Some(archive) = &mut self.archive {
                            archive.write(&self.buffer[..count])?;
                        }
                        if let Some(writing) = writing {
                            writing.write(&self.buffer[..count])?;
                        }
                        at += count as u64;
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(step()(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
                }
            }
        }
        Ok(())
    }

    fn hole(&mut self, count: u64, writing: &mut Option<Writing>) -> Result<()> {
        if let (Some(writing), true) = (writing, count > 0) {
            writing.skip(count)?;
        }
        let Some(archive) = &mut self.archive else { return Ok(()) };
        let mut left = count;
        while left > 0 {
            // A hole of many terabytes costs nothing to make, and hours to pack.
            if (self.cancelled)() {
                return Err(Error::Cancelled);
            }
            let piece = left.min(16 << 20);
            archive.zeros(piece)?;
            left -= piece;
        }
        Ok(())
    }

    fn whiteout(&mut self, name: &Name) -> Result<()> {
        self.head(name, Kind::File(0), &Attributes::default())
    }
}

impl Visit for Copier<'_, '_> {
    fn item(&mut self, new: &mut Stack, item: &Item, change: Change) -> Result<()> {
        let kind = item.kind();
        let name = self.relative(&item.name);
        self.check(&name, item)?;
        let identity = item.identity();
        let Some(mut attributes) = new.attributes(item)? else { return Ok(()) };
        if let Some(first) = identity.and_then(|it| self.linked.get(&it)).cloned() {
            attributes.xattrs.clear();
            self.head(&name, Kind::HardLink(first.as_bytes().to_vec()), &attributes)?;
            self.counts.files += 1;
            return self.target.as_mut().map_or(Ok(()), |target| target.hard_link(&name, &first));
        }
        match kind {
            FileType::Directory => {
                // A root that is as it is without an entry has none: its time says nothing, and
                // the same archive, imported twice, is to be the same image.
                if name != Name::root() || change == Change::Changed || !is_plain(&attributes) {
                    self.head(&name, Kind::Directory, &attributes)?;
                }
                if let Some(target) = &mut self.target {
                    target.directory(&name, &attributes)?;
                }
            }
            FileType::RegularFile => {
                if !self.file(new, item, &name, attributes)? {
                    return Ok(());
                }
            }
            FileType::Symlink => {
                let Some(link) = new.read_link(item)? else { return Ok(()) };
                // What file systems say of a link's permissions differs.
                attributes.mode = 0o777;
                self.head(&name, Kind::Symlink(link.clone()), &attributes)?;
                if let Some(target) = &mut self.target {
                    target.symlink(&name, &link, &attributes)?;
                }
            }
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo => {
                let (major, minor) = (fs::major(item.stat.st_rdev), fs::minor(item.stat.st_rdev));
                let told = match kind {
                    FileType::CharacterDevice => Kind::CharacterDevice(major, minor),
                    FileType::BlockDevice => Kind::BlockDevice(major, minor),
                    _ => Kind::Fifo,
                };
                self.head(&name, told, &attributes)?;
                if let Some(target) = &mut self.target {
                    target.node(&name, Node { kind, major, minor }, &attributes)?;
                }
            }
            _ => return Ok(()),
        }
        self.counts.files += u64::from(name != Name::root());
        if let Some(identity) = identity {
            self.linked.insert(identity, name);
        }
        Ok(())
    }

    fn gone(&mut self, name: Name, hidden: bool) -> Result<()> {
        if hidden {
            return Ok(());
        }
        let name = self.relative(&name);
        let Some((parent, last)) = name.split() else { return Ok(()) };
        self.whiteout(&Name::parse(parent)?.join(&[WHITEOUT, last].concat()))
    }

    fn opaque(&mut self, name: &Name, first: bool) -> Result<()> {
        // What lies in one that hides all is hidden already.
        if first {
            let name = self.relative(name).join(OPAQUE_FILE);
            self.whiteout(&name)?;
        }
        Ok(())
    }
}

fn is_plain(attributes: &Attributes) -> bool {
    (attributes.mode, attributes.uid, attributes.gid) == (0o755, 0, 0) && attributes.xattrs.is_empty()
}

/// The next bytes of a file that are no hole: from where to where.
fn extent(file: &File, at: u64, size: u64) -> rustix::io::Result<(u64, u64)> {
    let data = match fs::seek(file, fs::SeekFrom::Data(at)) {
        Ok(data) => data.min(size),
        // No data behind `at`.
        Err(Errno::NXIO) => size,
        Err(errno) => return Err(errno),
    };
    if data == size {
        return Ok((size, size));
    }
    match fs::seek(file, fs::SeekFrom::Hole(data)) {
        Ok(end) if end > data => Ok((data, end.min(size))),
        Ok(_) | Err(Errno::NXIO) => Ok((data, size)),
        Err(errno) => Err(errno),
    }
}
