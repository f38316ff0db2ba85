//! The log format and the file that is written.
//!
//! A log is a file `path` and its rotated elders `path.1`, `path.2` and so on,
//! none longer than its bound. Each begins with [`MAGIC`] and the number of
//! output bytes that came before it (so that a follower whom rotation has
//! passed knows how much it missed), then records:
//! `time i64, length u32, stream u8, zero u8 x 3, bytes` in little endian.
//! Stream 1 is standard output or the terminal, 2 standard error, and 0 says
//! that output was lost, its 8 bytes being how many (the disk was full). Those
//! count as output bytes that came before the next file; no other record is
//! empty, so the zeroes that a power failure may leave are no records.
//!
//! The log of a container that is started again is continued: what a keeper
//! that was killed had written in part is cut off, and the offsets go on.

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
        let Some((time, length, stream)) = record_head(head) else { break };
        if length > after.len() {
            break;
        }
        let (data, after) = after.split_at(length);
        records.push(Record { time, stream, data });
        rest = after;
    }
    Some((u64::from_le_bytes(*offset), records))
}

/// Time, length and stream of a record's header, if it is one.
fn record_head(head: &[u8; RECORD_HEADER]) -> Option<(i64, usize, u8)> {
    let [t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3, stream, zeroes @ ..] = *head;
    let time = i64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let fits = match stream {
        0 => length == 8,
        1 | 2 => length > 0,
        _ => false,
    };
    (fits && zeroes == [0; 3]).then_some((time, length, stream))
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

/// Records at the beginning of some bytes, those that are whole: header and
/// data of each.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8; RECORD_HEADER], &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_first_chunk::<RECORD_HEADER>()?;
        let (data, rest) = rest.split_at_checked(record_head(head)?.1)?;
        bytes = rest;
        Some((head, data))
    })
}

/// How long the whole ones are together.
fn whole_records(bytes: &[u8]) -> usize {
    records(bytes).map(|(_, data)| RECORD_HEADER + data.len()).sum()
}

/// Output bytes in a run of whole records, those included that they say were
/// lost.
fn payload(bytes: &[u8]) -> u64 {
    records(bytes).map(|(head, data)| output_bytes(head[12], data.len(), data)).sum()
}

/// Output bytes that a record stands for.
fn output_bytes(stream: u8, length: usize, data: &[u8]) -> u64 {
    match (stream, data.first_chunk::<8>()) {
        (0, Some(lost)) => u64::from_le_bytes(*lost),
        (0, None) => 0,
        _ => length as u64,
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

fn header(offset: u64) -> Vec<u8> {
    [&MAGIC[..], &offset.to_le_bytes()].concat()
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

    #[test]
    fn what_is_lost_at_a_rotation_is_told_once() {
        let (path, store) = folder("once");
        let mut log = LogFile::open(&store, "out", 300, 2).unwrap();
        log.append(1, 1, &[b'a'; 200]);
        log.flush();
        // The disk takes nothing of the last piece, and then a fresh file.
        let full = fs::open("/dev/full", OFlags::WRONLY, Mode::empty()).unwrap();
        log.file = full;
        log.append(2, 1, b"lost");
        log.append(3, 1, &[b'b'; 100]);
        log.flush();
        let bytes = std::fs::read(path.join("out")).unwrap();
        let (offset, records) = parse(&bytes).unwrap();
        assert_eq!(offset, 204);
        assert!(records.iter().all(|record| record.stream == 1), "the header has told it");
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn without_a_fresh_file_output_is_lost_and_the_files_stay() {
        let (path, store) = folder("no-fresh");
        write(&store, 300, &[&[b'a'; 250], &[b'b'; 250]]);
        let before = [read(&path, "out.1"), read(&path, "out")];
        let mut log = LogFile::open(&store, "out", 300, 3).unwrap();
        // A folder of that name is not to be had out of the way.
        std::fs::create_dir(path.join("out.new")).unwrap();
        for _ in 0..5 {
            log.append(1, 1, &[b'c'; 200]);
            log.flush();
        }
        assert_eq!([read(&path, "out.1"), read(&path, "out")], before);
        std::fs::remove_dir(path.join("out.new")).unwrap();
        log.append(1, 1, b"on");
        log.flush();
        assert_eq!(read(&path, "out"), (1500, b"on".to_vec()));
        assert_eq!([read(&path, "out.2"), read(&path, "out.1")], before);
        std::fs::remove_dir_all(path).unwrap();
    }

    /// A tmpfs of one page that is mounted nowhere.
    fn one_page() -> Result<OwnedFd, Errno> {
        use rustix::mount as m;
        let fs = m::fsopen("tmpfs", m::FsOpenFlags::FSOPEN_CLOEXEC)?;
        m::fsconfig_set_string(&fs, "size", "4096")?;
        m::fsconfig_create(&fs)?;
        m::fsmount(&fs, m::FsMountFlags::FSMOUNT_CLOEXEC, m::MountAttrFlags::empty())
    }

    #[test]
    fn of_a_write_that_breaks_off_the_whole_records_stay() {
        let Ok(store) = one_page() else {
            eprintln!("SKIPPED: no file system of one's own may be made here");
            return;
        };
        let mut log = LogFile::open(&store, "out", 10_000, 1).unwrap();
        for number in 0..6 {
            log.append(number, 1, &[b'x'; 900]);
        }
        log.flush();
        let file = fs::openat(&store, "out", OFlags::RDONLY, Mode::empty()).unwrap();
        let content = || {
            let mut bytes = vec![0; 8192];
            let count = rustix::io::pread(&file, &mut bytes[..], 0).unwrap();
            bytes.truncate(count);
            bytes
        };
        let bytes = content();
        // A page has room for four, and for a part of the fifth.
        assert_eq!(bytes.len(), FILE_HEADER + 4 * (RECORD_HEADER + 900));
        assert_eq!(parse(&bytes).unwrap().1.len(), 4);
        assert_eq!((log.size, log.lost), (bytes.len() as u64, 1800));
        // That it was lost is told as soon as there is room for it.
        log.append(7, 1, b"on");
        log.flush();
        let bytes = content();
        let (_, records) = parse(&bytes).unwrap();
        assert_eq!(records[4].data, 1800_u64.to_le_bytes());
        assert_eq!((records[5].data, records.len()), (&b"on"[..], 6));
    }

    /// Opens it and appends each of these.
    fn write(store: &OwnedFd, max_size: u64, texts: &[&[u8]]) {
        let mut log = LogFile::open(store, "out", max_size, 3).unwrap();
        for text in texts {
            log.append(7, 1, text);
        }
        log.finish(8);
    }

    fn read(path: &std::path::Path, name: &str) -> (u64, Vec<u8>) {
        let bytes = std::fs::read(path.join(name)).unwrap();
        let (offset, records) = parse(&bytes).unwrap();
        (offset, records.iter().flat_map(|record| record.data.to_vec()).collect())
    }

    #[test]
    fn a_log_is_continued_where_it_ended() {
        let (path, store) = folder("continued");
        write(&store, 300, &[b"one ", b"two "]);
        write(&store, 300, &[b"three "]);
        assert_eq!(read(&path, "out"), (0, b"one two three ".to_vec()));
        assert!(!path.join("out.1").exists());
        // No room is left: the next file goes on with the right offset.
        write(&store, 300, &[&[b'x'; 250]]);
        write(&store, 300, &[b"last"]);
        let whole: Vec<u8> = [read(&path, "out.1").1, read(&path, "out").1].concat();
        assert_eq!(read(&path, "out").0, read(&path, "out.1").1.len() as u64);
        assert_eq!(whole, [&b"one two three "[..], &[b'x'; 250], b"last"].concat());
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_tail_torn_at_any_byte_is_cut_before_the_log_goes_on() {
        let (path, store) = folder("torn");
        write(&store, 10_000, &[b"first", b"second", b"third"]);
        let bytes = std::fs::read(path.join("out")).unwrap();
        let (_, whole) = parse(&bytes).unwrap();
        let mut ends = vec![FILE_HEADER];
        for record in &whole {
            ends.push(ends[ends.len() - 1] + RECORD_HEADER + record.data.len());
        }
        for cut in 0..=bytes.len() {
            // And with zeroes after it, as a power failure leaves them.
            for zeroes in [0, 1, 40] {
                let _ = std::fs::remove_file(path.join("out.1"));
                std::fs::write(path.join("out"), [&bytes[..cut], &vec![0; zeroes]].concat()).unwrap();
                write(&store, 10_000, &[b"next"]);
                let kept = ends.iter().rposition(|end| *end <= cut).unwrap_or(0);
                let mut expected: Vec<u8> = whole[..kept].iter().flat_map(|record| record.data.to_vec()).collect();
                expected.extend_from_slice(b"next");
                // Zeroes may be the rest of a record whose length is there.
                let filled = ends.get(kept + 1).is_some_and(|end| cut > ends[kept] + 12 && cut + zeroes >= *end);
                if !filled {
                    assert_eq!(read(&path, "out"), (0, expected), "cut at {cut}, {zeroes} zeroes");
                }
            }
        }
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn offsets_go_on_where_a_rotation_or_a_header_was_broken_off() {
        let (path, store) = folder("broken");
        write(&store, 10_000, &[b"12345"]);
        std::fs::rename(path.join("out"), path.join("out.1")).unwrap();
        write(&store, 10_000, &[b"next"]);
        assert_eq!(read(&path, "out"), (5, b"next".to_vec()));
        std::fs::write(path.join("out"), b"ARDLOG").unwrap();
        write(&store, 10_000, &[b"more"]);
        assert_eq!(read(&path, "out"), (5, b"more".to_vec()));
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn what_was_lost_counts_for_the_offset_of_a_continued_log() {
        let (path, store) = folder("loss");
        let mut log = LogFile::open(&store, "out", 10_000, 3).unwrap();
        log.append(1, 1, b"before");
        log.flush();
        let good = std::mem::replace(&mut log.file, fs::open("/dev/full", OFlags::WRONLY, Mode::empty()).unwrap());
        log.append(2, 1, &[b'x'; 1000]);
        log.flush();
        log.file = good;
        // The last words tell it.
        log.finish(3);
        let mut log = LogFile::open(&store, "out", 10_000, 3).unwrap();
        assert_eq!(log.offset, 1006);
        log.append(4, 1, &vec![b'y'; 200_000]);
        log.flush();
        let (offset, rest) = read(&path, "out");
        assert_eq!(offset + rest.len() as u64, 201_006);
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_long_log_is_read_to_its_end() {
        let (path, store) = folder("long");
        // Records whose headers lie across the pieces that are read.
        let texts: Vec<Vec<u8>> = (0..40_000_usize).map(|number| vec![b'a'; 1 + number % 37]).collect();
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        write(&store, 100 << 20, &texts);
        write(&store, 100 << 20, &[&vec![b'b'; 3 * BATCH]]);
        let log = LogFile::open(&store, "out", 100 << 20, 3).unwrap();
        let bytes = std::fs::read(path.join("out")).unwrap();
        assert_eq!(log.size, bytes.len() as u64);
        assert_eq!(log.offset, (texts.iter().map(|text| text.len()).sum::<usize>() + 3 * BATCH) as u64);
        std::fs::remove_dir_all(path).unwrap();
    }
}
