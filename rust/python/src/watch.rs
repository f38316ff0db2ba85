//! inotify, for those who follow logs.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use pyo3::prelude::*;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::error;

/// What is told of. Of a file that is removed while somebody has it open only
/// ATTRIB is: it has one name less.
const CHANGES: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CREATE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DELETE_SELF);
/// Bytes read at once: some hundred events.
const BUFFER: usize = 16 * 1024;

/// See `_core.pyi`.
#[pyclass(module = "ardock._core")]
#[derive(Debug)]
pub struct LogWatch(Option<OwnedFd>);

impl LogWatch {
    fn fd(&self) -> PyResult<&OwnedFd> {
        self.0.as_ref().ok_or_else(|| error::os(Errno::BADF))
    }
}

#[pymethods]
impl LogWatch {
    #[new]
    fn new() -> PyResult<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(error::os)?;
        Ok(Self(Some(fd)))
    }

    fn add(&self, path: PathBuf) -> PyResult<i32> {
        inotify::add_watch(self.fd()?, &path, CHANGES).map_err(error::os)
    }

    fn remove(&self, wd: i32) -> PyResult<()> {
        match inotify::remove_watch(self.fd()?, wd) {
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(failed) => Err(error::os(failed)),
        }
    }

    fn read(&self) -> PyResult<Vec<i32>> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(self.fd()?, &mut buffer);
        let mut changed = Vec::new();
        loop {
            match reader.next() {
                // The last word on a watch that has ended; its number is not
                // used again.
                Ok(event) if event.events() == ReadFlags::IGNORED => {}
                Ok(event) => changed.push(event.wd()),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(failed) => return Err(error::os(failed)),
            }
        }
        changed.sort_unstable();
        changed.dedup();
        Ok(changed)
    }

    fn fileno(&self) -> i32 {
        self.0.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    fn close(&mut self) {
        self.0 = None;
    }
}
