//! The log format and the file that is written.
//!
//! A log is a file `path` and its rotated elders `path.1`, `path.2` and so on,
//! none longer than its bound. Each begins with [`MAGIC`] and the number of
//! output bytes that came before it (so that a follower whom rotation has
//! passed knows how much it missed), then records:
//! `time i64, length u32, stream u8, zero u8 x 3, bytes` in little endian.
//! Stream 1 is standard output or the terminal, 2 standard error, and 0 says
//! that output was lost, its 8 bytes being how many (the disk was full).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::packet::write_all;

/// What a log file begins with; the last byte is the version.
pub const MAGIC: [u8; 8] = *b"ARDLOG\x00\x01";
/// The file's header: [`MAGIC`] and an offset.
pub const FILE_HEADER: usize = 16;
/// The record's header.
pub const RECORD_HEADER: usize = 16;
/// Smallest bound of a file that is accepted.
pub const MIN_SIZE: u64 = 256;
/// Most files of one log.
pub const MAX_FILES: u32 = 100;

/// One record as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Wall clock, ns since 1970.
    pub time: i64,
    /// 1, 2, or 0 for a loss.
    pub stream: u8,
    /// What was written.
    pub data: &'a [u8],
}

/// The records of a log file's bytes and the offset it begins at. A torn tail
/// is cut.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<(u64, Vec<Record<'_>>)> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (offset, mut rest) = rest.split_first_chunk::<8>()?;
    if *magic != MAGIC {
        return None;
    }
    let mut records = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<RECORD_HEADER>() {
        let [t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3, stream, ..] = *head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > after.len() {
            break;
        }
        let (data, after) = after.split_at(length);
        let time = i64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        records.push(Record { time, stream, data });
        rest = after;
    }
    Some((u64::from_le_bytes(*offset), records))
}

/// A log being written. It lives in one writer thread.
#[derive(Debug)]
pub struct LogFile {
    folder: OwnedFd,
    name: String,
    max_size: u64,
    max_files: u32,
    file: OwnedFd,
    /// Bytes in the file and the buffer.
    size: u64,
    /// Output bytes of the whole log so far.
    offset: u64,
    /// Output bytes that could not be written since the last record.
    lost: u64,
    buffer: Vec<u8>,
}

/// Buffer that is written at the latest when it is this long.
const BATCH: usize = 128 * 1024;

impl LogFile {
    /// Opens `path` beneath the store. An existing log is continued in a
    /// fresh file.
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
        let exists = fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if exists {
            rotate(&folder, &name, max_files)?;
        }
        let file = create(&folder, &name, 0)?;
        let size = FILE_HEADER as u64;
        Ok(Self { folder, name, max_size, max_files, file, size, offset: 0, lost: 0, buffer: Vec::new() })
    }

    /// Takes output; it is written with the next [`LogFile::flush`] or when
    /// much has come together.
    pub fn append(&mut self, time: i64, stream: u8, mut data: &[u8]) {
        if self.lost > 0 {
            let lost = self.lost.to_le_bytes();
            self.lost = 0;
            self.record(time, 0, &lost);
        }
        while !data.is_empty() {
            let room = self.max_size.saturating_sub(self.size + RECORD_HEADER as u64);
            if room == 0 || (room < data.len() as u64 && self.size > self.max_size / 2) {
                self.turn();
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

    fn record(&mut self, time: i64, stream: u8, data: &[u8]) {
        self.buffer.extend_from_slice(&time.to_le_bytes());
        self.buffer.extend_from_slice(&(data.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(&[stream, 0, 0, 0]);
        self.buffer.extend_from_slice(data);
        self.size += (RECORD_HEADER + data.len()) as u64;
    }

    /// Writes what has come together. What the disk does not take is lost and
    /// counted; a record says so once the disk takes one again.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let buffer = std::mem::take(&mut self.buffer);
        if write_all(self.file.as_fd(), &buffer).is_err() {
            let start = self.size - buffer.len() as u64;
            // A part may have been written: back to the last whole record.
            let _ = fs::ftruncate(&self.file, start);
            self.size = start;
            self.lost += payload(&buffer);
        }
        self.buffer = buffer;
        self.buffer.clear();
    }

    /// Goes on in a fresh file.
    fn turn(&mut self) {
        self.flush();
        let fresh = rotate(&self.folder, &self.name, self.max_files)
            .and_then(|()| create(&self.folder, &self.name, self.offset));
        match fresh {
            Ok(file) => self.file = file,
            Err(_) => {
                // No fresh file to be had: the bound holds all the same.
                let _ = fs::ftruncate(&self.file, FILE_HEADER as u64);
            }
        }
        self.size = FILE_HEADER as u64;
    }
}

/// Output bytes in a run of whole records.
fn payload(mut records: &[u8]) -> u64 {
    let mut sum = 0;
    while let Some((head, rest)) = records.split_first_chunk::<RECORD_HEADER>() {
        let length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        sum += if head[12] == 0 { 0 } else { u64::from(length) };
        records = rest.get(length as usize..).unwrap_or_default();
    }
    sum
}

fn create(folder: &OwnedFd, name: &str, offset: u64) -> io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = fs::openat(folder, name, flags, Mode::from_raw_mode(0o640))?;
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&offset.to_le_bytes());
    write_all(file.as_fd(), &header)?;
    Ok(file)
}

/// Each file takes its elder's name; the eldest goes.
fn rotate(folder: &OwnedFd, name: &str, max_files: u32) -> io::Result<()> {
    let elder = |number: u32| if number == 0 { name.to_string() } else { format!("{name}.{number}") };
    if max_files == 1 {
        fs::unlinkat(folder, name, AtFlags::empty())?;
        return Ok(());
    }
    for number in (0..max_files - 1).rev() {
        match fs::renameat(folder, elder(number), folder, elder(number + 1)) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> (std::path::PathBuf, OwnedFd) {
        let path = std::env::temp_dir().join(format!("ardock-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        let fd = fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (path, fd)
    }

    #[test]
    fn rotation_keeps_exactly_the_newest_bytes_within_the_bounds() {
        let (path, store) = folder("rotation");
        let mut log = LogFile::open(&store, "out", 300, 3).unwrap();
        let text: Vec<u8> = (0..5000_u32).map(|n| (n % 251) as u8).collect();
        let mut at = 0;
        for (turn, size) in [1, 7, 1000, 283, 284, 285, 3, 900, 2000].into_iter().enumerate() {
            let end = (at + size).min(text.len());
            log.append(turn as i64, 1 + (turn % 2) as u8, &text[at..end]);
            at = end;
        }
        log.flush();
        let mut kept = Vec::new();
        let mut first = None;
        for name in ["out.2", "out.1", "out"] {
            let bytes = std::fs::read(path.join(name)).unwrap();
            assert!(bytes.len() <= 300, "{name} has {} bytes", bytes.len());
            let (offset, records) = parse(&bytes).unwrap();
            let start = *first.get_or_insert(offset);
            assert_eq!(offset, start + kept.len() as u64, "{name} follows its elder");
            for record in records {
                kept.extend_from_slice(record.data);
            }
        }
        assert!(!path.join("out.3").exists());
        let first = first.unwrap() as usize;
        assert!(first > 0 && kept.len() > 400, "{first} {}", kept.len());
        assert_eq!(kept, text[first..at]);
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_log_stays_beneath_the_store() {
        let (path, store) = folder("beneath");
        std::os::unix::fs::symlink("/tmp", path.join("link")).unwrap();
        for bad in ["../out", "/tmp/out", "link/out", "a/..", "", "missing/out"] {
            assert!(LogFile::open(&store, bad, 1000, 1).is_err(), "{bad} was opened");
        }
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_told() {
        let (path, store) = folder("full");
        let mut log = LogFile::open(&store, "out", 10_000, 1).unwrap();
        log.append(1, 1, b"before");
        log.flush();
        let good = std::mem::replace(&mut log.file, fs::open("/dev/full", OFlags::WRONLY, Mode::empty()).unwrap());
        log.append(2, 1, b"lost one");
        log.append(2, 2, b"lost two");
        log.flush();
        log.file = good;
        log.append(3, 1, b"after");
        log.flush();
        let bytes = std::fs::read(path.join("out")).unwrap();
        let (_, records) = parse(&bytes).unwrap();
        let seen: Vec<_> = records.iter().map(|r| (r.time, r.stream, r.data.to_vec())).collect();
        assert_eq!(
            seen,
            [(1, 1, b"before".to_vec()), (3, 0, 16_u64.to_le_bytes().to_vec()), (3, 1, b"after".to_vec())]
        );
        std::fs::remove_dir_all(path).unwrap();
    }
}
