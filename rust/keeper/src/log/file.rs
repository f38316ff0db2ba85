//! The files of a log that is being written.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{header, output_bytes, payload, record_head, whole_records};
use super::{FILE_HEADER, MAGIC, MAX_FILES, MIN_SIZE, RECORD_HEADER};
use crate::packet::write_all;

/// A log being written. It lives in one writer thread.
#[derive(Debug)]
pub struct LogFile {
    folder: OwnedFd,
    name: String,
    max_size: u64,
    max_files: u32,
    pub(super) file: OwnedFd,
    /// Bytes in the file and the buffer.
    pub(super) size: u64,
    /// Output bytes of the whole log so far.
    pub(super) offset: u64,
    /// Output bytes that could not be written since the last record.
    pub(super) lost: u64,
    buffer: Vec<u8>,
}

/// Buffer that is written at the latest when it is this long.
pub(super) const BATCH: usize = 128 * 1024;

impl LogFile {
    /// Opens `path` beneath the store. An existing log is continued, in the
    /// same file if there is room.
    pub fn open(store: impl AsFd, path: &str, max_size: u64, max_files: u32) -> io::Result<Self> {
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = fs::openat2(store, folder, flags, Mode::empty(), resolve)?;
        if name.is_empty() || name == "." || name == ".." {
            return Err(Errno::INVAL.into());
        }
        let (name, max_size) = (name.to_string(), max_size.max(MIN_SIZE));
        let max_files = max_files.clamp(1, MAX_FILES);
        let (file, size, offset) = match reopen(&folder, &name) {
            Ok((file, Some((size, offset)))) => (file, size, offset),
            Ok((file, None)) => {
                let offset = elders_end(&folder, &name);
                // A header that was not written whole has nothing after it.
                let keep = if fs::fstat(&file)?.st_size < FILE_HEADER as i64 { 1 } else { max_files };
                (fresh(&folder, &name, keep, offset)?, FILE_HEADER as u64, offset)
            }
            Err(Errno::NOENT) => {
                // Between a rotation's two steps there is no current file.
                let offset = elders_end(&folder, &name);
                (create(&folder, &name, offset)?, FILE_HEADER as u64, offset)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { folder, name, max_size, max_files, file, size, offset, lost: 0, buffer: Vec::new() })
    }

    /// Takes output; it is written with the next [`LogFile::flush`] or when
    /// much has come together.
    pub fn append(&mut self, time: i64, stream: u8, mut data: &[u8]) {
        let loss = (RECORD_HEADER + 8) as u64;
        if self.lost > 0 && self.size + loss > self.max_size && !self.turn() {
            return self.lose(data);
        }
        self.tell_loss(time);
        while !data.is_empty() {
            let room = self.max_size.saturating_sub(self.size + RECORD_HEADER as u64);
            if room == 0 || (room < data.len() as u64 && self.size > self.max_size / 2) {
                if !self.turn() {
                    return self.lose(data);
                }
                continue;
            }
            let (now, later) = data.split_at(data.len().min(room as usize));
            self.record(time, stream, now);
            self.offset += now.len() as u64;
            data = later;
        }
        if self.buffer.len() >= BATCH {
            self.flush();
        }
    }

    /// The last words: what was lost is told, if the disk takes that.
    pub fn finish(mut self, time: i64) {
        self.flush();
        self.tell_loss(time);
        self.flush();
    }

    fn lose(&mut self, data: &[u8]) {
        self.lost += data.len() as u64;
        self.offset += data.len() as u64;
    }

    fn tell_loss(&mut self, time: i64) {
        if self.lost > 0 {
            let lost = self.lost.to_le_bytes();
            self.lost = 0;
            self.record(time, 0, &lost);
        }
    }

    fn record(&mut self, time: i64, stream: u8, data: &[u8]) {
        self.buffer.extend_from_slice(&time.to_le_bytes());
        self.buffer.extend_from_slice(&(data.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(&[stream, 0, 0, 0]);
        self.buffer.extend_from_slice(data);
        self.size += (RECORD_HEADER + data.len()) as u64;
    }

    /// Writes what has come together. What the disk does not take is lost and
    /// counted; a record says so once the disk takes one again. A file only
    /// ever grows by whole records: somebody may be reading it.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        if write_all(self.file.as_fd(), &buffer).is_err() {
            let start = self.size - buffer.len() as u64;
            let end = fs::fstat(&self.file).map_or(start, |stat| (stat.st_size as u64).max(start));
            let written = ((end - start) as usize).min(buffer.len());
            let whole = whole_records(&buffer[..written]);
            self.size = start + whole as u64;
            let _ = fs::ftruncate(&self.file, self.size);
            self.lost += payload(&buffer[whole..]);
        }
        buffer.clear();
        self.buffer = buffer;
    }

    /// Goes on in a fresh file, if there is one to be had; its header tells of
    /// what was lost before it.
    fn turn(&mut self) -> bool {
        self.flush();
        match fresh(&self.folder, &self.name, self.max_files, self.offset) {
            Ok(file) => {
                self.file = file;
                self.size = FILE_HEADER as u64;
                self.lost = 0;
                true
            }
            Err(_) => false,
        }
    }
}

/// A fresh current file in the place of the one that is there. It is made
/// aside, so that a disk that takes none leaves everything as it is.
fn fresh(folder: &OwnedFd, name: &str, max_files: u32, offset: u64) -> io::Result<OwnedFd> {
    let aside = format!("{name}.new");
    match fs::unlinkat(folder, &aside, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let made = create(folder, &aside, offset).and_then(|file| {
        rotate(folder, name, max_files)?;
        fs::renameat(folder, &aside, folder, name)?;
        Ok(file)
    });
    if made.is_err() {
        let _ = fs::unlinkat(folder, &aside, AtFlags::empty());
    }
    made
}

fn create(folder: &OwnedFd, name: &str, offset: u64) -> io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = fs::openat(folder, name, flags, Mode::from_raw_mode(0o640))?;
    write_all(file.as_fd(), &header(offset))?;
    Ok(file)
}

/// Opens a log's current file to append to it, cut after its last whole
/// record, with its size and the offset after it; none where it has no header.
fn reopen(folder: &OwnedFd, name: &str) -> Result<(OwnedFd, Option<(u64, u64)>), Errno> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = fs::openat(folder, name, flags, Mode::empty())?;
    let end = end_of(&file)?;
    if let Some((size, _)) = end {
        fs::ftruncate(&file, size)?;
    }
    Ok((file, end))
}

/// The offset after the newest of a log's elder files, 0 where there is none.
fn elders_end(folder: &OwnedFd, name: &str) -> u64 {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let elder = fs::openat(folder, format!("{name}.1"), flags, Mode::empty());
    elder.and_then(|file| end_of(&file)).ok().flatten().map_or(0, |(_, offset)| offset)
}

/// Where a log file's last whole record ends, and the offset there. It reads
/// pieces: a log may be long and its records short.
fn end_of(file: &OwnedFd) -> Result<Option<(u64, u64)>, Errno> {
    let size = fs::fstat(file)?.st_size as u64;
    let mut piece = vec![0; BATCH];
    let (mut start, mut have) = (0, rustix::io::pread(file, &mut piece[..], 0)?);
    let Some((magic, first)) = piece[..have].split_first_chunk::<8>() else { return Ok(None) };
    let Some((first, _)) = first.split_first_chunk::<8>() else { return Ok(None) };
    if *magic != MAGIC {
        return Ok(None);
    }
    let (mut at, mut offset) = (FILE_HEADER as u64, u64::from_le_bytes(*first));
    while at + RECORD_HEADER as u64 <= size {
        // A loss says in its 8 bytes how much it was.
        if at + (RECORD_HEADER + 8) as u64 > start + have as u64 && start != at {
            (start, have) = (at, rustix::io::pread(file, &mut piece[..], at)?);
        }
        let here = &piece[(at - start) as usize..have];
        let Some((head, data)) = here.split_first_chunk::<RECORD_HEADER>() else { break };
        let Some((_, length, stream)) = record_head(head) else { break };
        let end = at + (RECORD_HEADER + length) as u64;
        if end > size {
            break;
        }
        offset += output_bytes(stream, length, data);
        at = end;
    }
    Ok(Some((at, offset)))
}

/// Each file takes its elder's name; the eldest goes, and of a log of one file
/// none before the fresh one takes its place.
fn rotate(folder: &OwnedFd, name: &str, max_files: u32) -> io::Result<()> {
    let elder = |number: u32| if number == 0 { name.to_string() } else { format!("{name}.{number}") };
    for number in (0..max_files - 1).rev() {
        match fs::renameat(folder, elder(number), folder, elder(number + 1)) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
