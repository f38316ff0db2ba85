//! The journal as the loop writes it: everything of a wake-up in one write, on
//! a tmpfs by the loop itself, on a disk by a writer thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, Mode, OFlags};

use crate::journal::{encode, Record, MAGIC};
use crate::packet::write_all;
use crate::writers::Writers;

/// A journal is rewritten when it is longer than this and than four times
/// what was left of it at the last rewriting.
const COMPACT: u64 = 4 * 1024 * 1024;
/// And than this when nothing is left: a fresh file for each short container
/// would cost more than it saves.
const EMPTY: u64 = 256 * 1024;
/// `TMPFS_MAGIC` of statfs(2).
const TMPFS: i64 = 0x0102_1994;

/// Whether a folder is in memory, so that the loop may write there.
#[must_use]
pub fn is_tmpfs(folder: impl AsFd) -> bool {
    fs::fstatfs(folder).is_ok_and(|stat| stat.f_type == TMPFS)
}

/// See the module.
#[derive(Debug)]
pub struct Journal {
    folder: OwnedFd,
    name: String,
    file: Arc<OwnedFd>,
    in_memory: bool,
    buffer: Vec<u8>,
    size: u64,
    compacted: u64,
    /// Tickets given and, for a journal in memory, done.
    ticket: u64,
    /// Writes that failed.
    pub errors: u64,
}

impl Journal {
    /// Makes a fresh one in `folder`.
    pub fn create(folder: OwnedFd, name: String) -> io::Result<Self> {
        let in_memory = is_tmpfs(&folder);
        let file = open(&folder, &name)?;
        write_all(file.as_fd(), &MAGIC)?;
        let size = MAGIC.len() as u64;
        Ok(Self {
            folder,
            name,
            file: Arc::new(file),
            in_memory,
            buffer: Vec::new(),
            size,
            compacted: 0,
            ticket: 0,
            errors: 0,
        })
    }

    /// Adds a record to this wake-up's.
    pub fn push(&mut self, record: &Record) {
        encode(record, &mut self.buffer);
    }

    /// The ticket that what is pushed now will have.
    #[must_use]
    pub fn next_ticket(&self) -> u64 {
        self.ticket + 1
    }

    /// Writes what was pushed. The ticket is done when it is written.
    pub fn commit(&mut self, writers: &Writers) -> u64 {
        if self.buffer.is_empty() {
            return self.ticket;
        }
        self.ticket += 1;
        let length = self.buffer.len() as u64;
        if self.in_memory {
            if write_all(self.file.as_fd(), &self.buffer).is_err() {
                // A part of a record would hide all later ones.
                let _ = fs::ftruncate(&*self.file, self.size);
                self.errors += 1;
            } else {
                self.size += length;
            }
            self.buffer.clear();
        } else {
            writers.journal(self.file.clone(), std::mem::take(&mut self.buffer), self.ticket);
            self.size += length;
        }
        self.ticket
    }

    /// The last ticket that is done.
    #[must_use]
    pub fn done(&self, writers: &Writers) -> u64 {
        if self.in_memory {
            self.ticket
        } else {
            writers.ticket()
        }
    }

    /// Bytes in it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the loop writes it itself.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// Whether most of it is probably about what is long forgotten.
    #[must_use]
    pub fn wants_compaction(&self, nothing_left: bool) -> bool {
        self.size > if nothing_left { EMPTY } else { COMPACT.max(4 * self.compacted) }
    }

    /// Puts these records in the place of all written ones. The new file takes
    /// the name once it is whole.
    pub fn rewrite(&mut self, records: &mut dyn Iterator<Item = Record>) {
        let fresh = format!("{}.new", self.name);
        let mut bytes = MAGIC.to_vec();
        records.for_each(|record| encode(&record, &mut bytes));
        let _ = fs::unlinkat(&self.folder, &fresh, AtFlags::empty());
        let written = open(&self.folder, &fresh).and_then(|file| {
            write_all(file.as_fd(), &bytes)?;
            fs::renameat(&self.folder, &fresh, &self.folder, &self.name)?;
            Ok(file)
        });
        if let Ok(file) = written {
            self.file = Arc::new(file);
            self.size = bytes.len() as u64;
            self.compacted = self.size;
        } else {
            self.errors += 1;
            // Not again before it has doubled.
            self.compacted = self.size / 2;
        }
    }

    /// Removes the file.
    pub fn remove(&self) {
        let _ = fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
    }
}

fn open(folder: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{read_journal, Record};
    use crate::wake::Wake;
    use serde_bytes::ByteBuf;

    fn launch(id: &str) -> Record {
        Record::Launch { id: id.into(), exec: None, blob: ByteBuf::new(), cgroup: None, scratch: None }
    }

    fn folder(parent: &str, name: &str) -> (std::path::PathBuf, OwnedFd) {
        let path = std::path::Path::new(parent).join(format!("ardock-store-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        let fd = fs::open(&path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (path, fd)
    }

    fn names(path: &std::path::Path) -> Vec<String> {
        read_journal(&path.join("journal")).unwrap().into_iter().map(|container| container.id).collect()
    }

    #[test]
    fn a_ticket_is_done_when_its_records_are_in_the_file() {
        for (parent, in_memory) in [("/dev/shm", true), ("/var/tmp", false)] {
            let (path, fd) = folder(parent, "ticket");
            if is_tmpfs(&fd) != in_memory {
                eprintln!("SKIPPED: {parent} is not as on most machines");
                std::fs::remove_dir_all(path).unwrap();
                continue;
            }
            let writers = Writers::start(None, Arc::new(Wake::new().unwrap())).unwrap();
            let mut journal = Journal::create(fd, "journal".into()).unwrap();
            for number in 0..50 {
                journal.push(&launch(&format!("c{number:02}")));
                let expected = journal.next_ticket();
                assert_eq!(journal.commit(&writers), expected);
                while journal.done(&writers) < expected {
                    std::thread::yield_now();
                }
                assert_eq!(names(&path).len(), number + 1);
            }
            // Nothing to write is done at once.
            assert_eq!(journal.commit(&writers), journal.done(&writers));
            std::fs::remove_dir_all(path).unwrap();
        }
    }

    #[test]
    fn rewriting_keeps_what_is_left_and_goes_on() {
        let (path, fd) = folder("/dev/shm", "rewrite");
        let writers = Writers::start(None, Arc::new(Wake::new().unwrap())).unwrap();
        let mut journal = Journal::create(fd, "journal".into()).unwrap();
        assert!(!journal.wants_compaction(true));
        for number in 0..10_000 {
            journal.push(&launch(&format!("c{number}")));
        }
        journal.commit(&writers);
        assert!(journal.wants_compaction(true) && !journal.wants_compaction(false));
        journal.rewrite(&mut [launch("a")].into_iter());
        assert!(!journal.wants_compaction(true));
        journal.push(&launch("b"));
        journal.commit(&writers);
        assert_eq!(names(&path), ["a", "b"]);
        assert_eq!(journal.errors, 0);
        std::fs::remove_dir_all(path).unwrap();
    }
}
