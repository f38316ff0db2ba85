//! The archive as a sequence of entries.

use crate::attributes::{check_xattr, Attributes, Time};
use crate::error::{shown, Error};
use crate::tar::header::{is_end, number, Header, BLOCK};
use crate::tar::pax::{self, Records};
use crate::tar::sparse::{Map, MapReader, Pieces};
use crate::Result;

/// Most bytes of an extended header or a long name: an archive may not make
/// its reader keep more. Real ones are some hundred bytes; the largest extended
/// attribute is 64 KiB.
const MOST_EXTENSION: u64 = 1 << 20;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of so many bytes.
    File(u64),
    /// Another name of an entry before it.
    HardLink(Vec<u8>),
    /// A symbolic link to anywhere.
    Symlink(Vec<u8>),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// Major and minor number.
    CharacterDevice(u32, u32),
    /// Major and minor number.
    BlockDevice(u32, u32),
}

/// One entry, as it stands in the archive: nothing was checked that is not its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// The rest.
    pub attributes: Attributes,
}

/// Where entries go.
pub trait Sink {
    /// The next entry. A regular file's content follows.
    fn entry(&mut self, entry: Entry) -> Result<()>;
    /// The next bytes of the file's content.
    fn data(&mut self, data: &[u8]) -> Result<()>;
    /// So many zeros of a sparse file's content, which the archive does not hold.
    fn hole(&mut self, count: u64) -> Result<()>;
    /// The file's content is whole.
    fn end_of_file(&mut self) -> Result<()>;
}

#[derive(Debug)]
enum State {
    /// In a header block.
    Header,
    /// In the data of an extended header or long name of this type.
    Extension { flag: u8, left: u64, padding: u64 },
    /// In a block that goes on with the map of an old GNU sparse file.
    OldMap,
    /// In the map at the beginning of a sparse file's data, of which so much is left behind it.
    Map { left: u64 },
    /// In a regular file's content.
    Content { left: u64, padding: u64 },
    /// In what means nothing here.
    Skip { left: u64 },
    /// Behind the end mark: what follows fills the last record up.
    Over,
}

/// The parser. After an error it is not to be used again.
#[derive(Debug)]
pub struct Parser {
    state: State,
    block: [u8; BLOCK],
    filled: usize,
    /// Bytes taken.
    offset: u64,
    /// Of the current entry, for errors.
    name: Vec<u8>,
    extension: Vec<u8>,
    globals: Records,
    records: Option<Records>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    /// A sparse file's header, while its map is read.
    pending: Option<Pending>,
    /// A sparse file's, while its content is read.
    pieces: Option<Pieces>,
}

#[derive(Debug)]
struct Pending {
    entry: Entry,
    /// Bytes of data in the archive.
    stored: u64,
    map: Map,
    reader: MapReader,
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            state: State::Header,
            block: [0; BLOCK],
            filled: 0,
            offset: 0,
            name: Vec::new(),
            extension: Vec::new(),
            globals: Records::default(),
            records: None,
            long_name: None,
            long_link: None,
            pending: None,
            pieces: None,
        }
    }
}

impl Parser {
    /// Takes the next piece of the archive.
    pub fn feed(&mut self, mut data: &[u8], sink: &mut impl Sink) -> Result<()> {
        while !data.is_empty() {
            let taken = match &mut self.state {
                State::Over => data.len(),
                State::Header | State::OldMap | State::Map { .. } => {
                    let taken = data.len().min(BLOCK - self.filled);
                    self.block[self.filled..self.filled + taken].copy_from_slice(&data[..taken]);
                    self.filled += taken;
                    taken
                }
                State::Extension { left, .. } => {
                    let taken = most(*left, data);
                    self.extension.extend_from_slice(&data[..taken]);
                    *left -= taken as u64;
                    taken
                }
                State::Content { left, .. } => {
                    let mut taken = most(*left, data);
                    if let Some(pieces) = &mut self.pieces {
                        let (hole, length) = pieces.next();
                        if hole > 0 {
                            sink.hole(hole)?;
                        }
                        taken = most(length, &data[..taken]);
                        pieces.taken(taken as u64);
                    }
                    sink.data(&data[..taken])?;
                    *left -= taken as u64;
                    taken
                }
                State::Skip { left } => {
                    let taken = most(*left, data);
                    *left -= taken as u64;
                    taken
                }
            };
            self.offset += taken as u64;
            data = &data[taken..];
            self.step(sink)?;
        }
        Ok(())
    }

    /// The stream has ended. An archive without its end mark was cut off: a
    /// stream that broke between two entries looks just so.
    pub fn finish(&self) -> Result<()> {
        let name = match self.state {
            State::Over => return Ok(()),
            State::Content { .. } | State::OldMap | State::Map { .. } => shown(&self.name),
            _ => String::new(),
        };
        if self.offset < BLOCK as u64 {
            let what = if self.offset == 0 { ": it is empty" } else { compression(&self.block[..self.filled]) };
            return Err(Error::NoTar(what));
        }
        Err(Error::Cut { offset: self.offset, name })
    }

    /// Whether it stands where an entry or the end mark would begin, behind
    /// one entry at least: some writers leave the end mark out, and docker and
    /// others take what they write.
    #[must_use]
    pub fn is_between(&self) -> bool {
        let pending = self.records.is_some() || self.long_name.is_some() || self.long_link.is_some();
        matches!(self.state, State::Header) && self.filled == 0 && self.offset > 0 && !pending
    }

    /// Goes on to the next state where the current one is over.
    fn step(&mut self, sink: &mut impl Sink) -> Result<()> {
        match self.state {
            State::Header if self.filled == BLOCK => {
                self.filled = 0;
                self.header(sink)
            }
            State::Extension { flag, left: 0, padding } => {
                let data = std::mem::take(&mut self.extension);
                self.skip(padding);
                self.extend(flag, data)
            }
            State::Content { left: 0, padding } => {
                self.skip(padding);
                if let Some(rest) = self.pieces.take().map(|pieces| pieces.rest()).filter(|rest| *rest > 0) {
                    sink.hole(rest)?;
                }
                sink.end_of_file()
            }
            State::OldMap if self.filled == BLOCK => {
                self.filled = 0;
                self.old_map(sink)
            }
            State::Map { left } if self.filled == BLOCK => {
                self.filled = 0;
                self.map(left, sink)
            }
            State::Skip { left: 0 } => {
                self.state = State::Header;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn skip(&mut self, left: u64) {
        self.state = if left == 0 { State::Header } else { State::Skip { left } };
    }

    fn header(&mut self, sink: &mut impl Sink) -> Result<()> {
        let start = self.offset - BLOCK as u64;
        let damaged = |what| Error::Damaged { offset: start, what };
        if is_end(&self.block) {
            if self.records.is_some() || self.long_name.is_some() || self.long_link.is_some() {
                return Err(damaged("it ends after an extended header whose entry is missing"));
            }
            self.state = State::Over;
            return Ok(());
        }
        if !Header::sum_fits(&self.block) {
            return Err(if start == 0 { Error::NoTar(compression(&self.block)) } else { damaged("the sum is wrong") });
        }
        let header = Header::parse(&self.block).map_err(damaged)?;
        let size = u64::try_from(header.size).map_err(|_| damaged("the size is negative"))?;
        match header.flag {
            b'x' | b'X' | b'g' | b'L' | b'K' => {
                if size > MOST_EXTENSION {
                    return Err(damaged("an extended header is longer than 1 MiB"));
                }
                self.state = State::Extension { flag: header.flag, left: size, padding: padding(size) };
                // With nothing in it, no more data will come to go on with.
                if size == 0 {
                    return self.step(sink);
                }
                Ok(())
            }
            _ => self.entry(header, size, sink),
        }
    }

    fn extend(&mut self, flag: u8, data: Vec<u8>) -> Result<()> {
        let damaged = |what| Error::Damaged { offset: self.offset, what };
        match flag {
            b'g' => pax::parse(&data, &mut self.globals).map_err(damaged),
            b'L' => {
                self.long_name = Some(until_zero(data));
                Ok(())
            }
            b'K' => {
                self.long_link = Some(until_zero(data));
                Ok(())
            }
            _ => {
                let records = self.records.get_or_insert_with(Records::default);
                pax::parse(&data, records).map_err(damaged)
            }
        }
    }

    fn entry(&mut self, header: Header, size: u64, sink: &mut impl Sink) -> Result<()> {
        let start = self.offset - BLOCK as u64;
        let damaged = |what| Error::Damaged { offset: start, what };
        let records = self.records.take().unwrap_or_default();
        let (long_name, long_link) = (self.long_name.take(), self.long_link.take());
        let sparse = records.sparse;
        let name = records.path.or(long_name).or_else(|| self.globals.path.clone()).unwrap_or(header.name);
        let name = sparse.name.unwrap_or(name);
        let link = records.link.or(long_link).or_else(|| self.globals.link.clone()).unwrap_or(header.link);
        let size = records.size.or(self.globals.size).unwrap_or(size);
        self.name.clone_from(&name);
        let unsupported = |what| Error::Unsupported { name: shown(&name), what };
        if let Some(what) = records.unsupported.or(self.globals.unsupported) {
            return Err(unsupported(what));
        }
        let device = || -> Result<(u32, u32)> {
            // The kernel's numbers have 12 and 20 bits.
            let number = |value: i64, bits: u32| u32::try_from(value).ok().filter(|it| it >> bits == 0);
            let numbers = number(header.major, 12).zip(number(header.minor, 20));
            numbers.ok_or_else(|| damaged("a device number is out of range"))
        };
        let kind = match header.flag {
            // v7 has no type for directories.
            b'0' | 0 | b'7' if name.ends_with(b"/") => Kind::Directory,
            // A sparse file's size comes with its map.
            b'0' | 0 | b'7' | b'S' => Kind::File(size),
            b'1' => Kind::HardLink(link),
            b'2' if link.is_empty() || link.contains(&0) => {
                return Err(damaged("a symbolic link's target is empty or has a zero byte in it"))
            }
            b'2' => Kind::Symlink(link),
            b'3' => device().map(|(major, minor)| Kind::CharacterDevice(major, minor))?,
            b'4' => device().map(|(major, minor)| Kind::BlockDevice(major, minor))?,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            // The archive's own label.
            b'V' => {
                self.skip(whole(size).ok_or_else(|| damaged("the size is out of range"))?);
                return Ok(());
            }
            b'D' | b'N' | b'M' => {
                return Err(unsupported("is of an incremental or multi-volume archive, which is not taken"))
            }
            _ => return Err(unsupported("is of a type that no format has")),
        };
        let owner = |own: Option<u64>, global: Option<u64>, header: i64, what| {
            let id = own.or(global).map_or_else(|| u32::try_from(header).ok(), |id| u32::try_from(id).ok());
            // The last one means "leave as it is" to chown.
            id.filter(|id| *id != u32::MAX).ok_or_else(|| damaged(what))
        };
        let mut xattrs = self.globals.xattrs.clone();
        xattrs.extend(records.xattrs);
        for attribute in xattrs.keys() {
            check_xattr(&name, attribute)?;
        }
        let attributes = Attributes {
            // Some writers put the type's bits in.
            mode: (header.mode & 0o7777) as u32,
            uid: owner(records.uid, self.globals.uid, header.uid, "the owner is out of range")?,
            gid: owner(records.gid, self.globals.gid, header.gid, "the group is out of range")?,
            mtime: records.mtime.or(self.globals.mtime).unwrap_or(Time { s: header.mtime, ns: 0 }),
            xattrs,
        };
        // Only a regular file's size means content that follows (as in Go's
        // reader, which is docker's; old writers give others a size, too).
        let content = match kind {
            Kind::File(size) => Some(size),
            _ => None,
        };
        let entry = Entry { name, kind, attributes };
        let Some(stored) = content else { return sink.entry(entry) };
        whole(stored).ok_or_else(|| damaged("the size is out of range"))?;
        let mut pending = Pending { entry, stored, map: Map::default(), reader: MapReader::default() };
        if header.flag == b'S' {
            pending.map.read_old(&self.block[386..482]).map_err(damaged)?;
            let size = number(&self.block[483..495]).and_then(|it| u64::try_from(it).ok());
            pending.map.size = size.ok_or_else(|| damaged("a sparse file's size is malformed"))?;
            self.pending = Some(pending);
            if self.block[482] != 0 {
                self.state = State::OldMap;
                return Ok(());
            }
            return self.sparse_file(sink);
        }
        match (sparse.major, sparse.minor, sparse.map) {
            (None | Some(0), _, None) => {
                sink.entry(pending.entry)?;
                self.content(stored, sink)
            }
            (None | Some(0), _, Some(map)) => {
                let size = sparse.size.ok_or_else(|| damaged("a sparse file's size is missing"))?;
                pending.map = map;
                pending.map.size = size;
                self.pending = Some(pending);
                self.sparse_file(sink)
            }
            (Some(1), None | Some(0), _) => {
                pending.map.size = sparse.size.ok_or_else(|| damaged("a sparse file's size is missing"))?;
                self.state = State::Map { left: stored };
                self.pending = Some(pending);
                Ok(())
            }
            _ => Err(Error::Unsupported {
                name: shown(&self.name),
                what: "is a sparse file in a form that is not taken: make the archive without --sparse",
            }),
        }
    }

    /// A block that goes on with an old map has come.
    fn old_map(&mut self, sink: &mut impl Sink) -> Result<()> {
        let damaged = |what| Error::Damaged { offset: self.offset - BLOCK as u64, what };
        let Some(pending) = &mut self.pending else { return Err(damaged("a map is without its file")) };
        pending.map.read_old(&self.block[..504]).map_err(damaged)?;
        if self.block[504] != 0 {
            return Ok(());
        }
        self.sparse_file(sink)
    }

    /// A block of a map of form 1.0 has come.
    fn map(&mut self, left: u64, sink: &mut impl Sink) -> Result<()> {
        let damaged = |what| Error::Damaged { offset: self.offset - BLOCK as u64, what };
        let Some(pending) = &mut self.pending else { return Err(damaged("a map is without its file")) };
        let left = left.checked_sub(BLOCK as u64).ok_or_else(|| damaged("a sparse file's map is malformed"))?;
        if pending.reader.block(&self.block).map_err(damaged)? {
            self.state = State::Map { left };
            return Ok(());
        }
        pending.stored = left;
        pending.map = std::mem::take(&mut pending.reader).finish(pending.map.size);
        self.sparse_file(sink)
    }

    /// The map is whole, and the data follows.
    fn sparse_file(&mut self, sink: &mut impl Sink) -> Result<()> {
        let damaged = |what| Error::Damaged { offset: self.offset - BLOCK as u64, what };
        let Some(mut pending) = self.pending.take() else { return Err(damaged("a map is without its file")) };
        pending.entry.kind = Kind::File(pending.map.size);
        self.pieces = Some(pending.map.pieces(pending.stored).map_err(damaged)?);
        sink.entry(pending.entry)?;
        self.content(pending.stored, sink)
    }

    fn content(&mut self, left: u64, sink: &mut impl Sink) -> Result<()> {
        self.state = State::Content { left, padding: padding(left) };
        if left == 0 {
            return self.step(sink);
        }
        Ok(())
    }
}

fn most(left: u64, data: &[u8]) -> usize {
    left.min(data.len() as u64) as usize
}

/// Bytes behind `size` bytes up to the next block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// `size` in whole blocks, where that can be: offsets are signed.
fn whole(size: u64) -> Option<u64> {
    size.checked_add(padding(size)).filter(|whole| i64::try_from(*whole).is_ok())
}

fn until_zero(mut data: Vec<u8>) -> Vec<u8> {
    if let Some(at) = data.iter().position(|byte| *byte == 0) {
        data.truncate(at);
    }
    data
}

/// What the first bytes of something that is no tar say, as the end of a sentence.
fn compression(block: &[u8]) -> &'static str {
    match block {
        [0x1f, 0x8b, ..] => " but compressed with gzip: decompress it first (gzip -d)",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => " but compressed with zstd: decompress it first (zstd -d)",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => " but compressed with xz: decompress it first (xz -d)",
        [b'B', b'Z', b'h', ..] => " but compressed with bzip2: decompress it first (bzip2 -d)",
        _ => "",
    }
}
