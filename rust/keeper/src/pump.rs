//! Output: from a program's pipes (or terminal) to its capture, its log and
//! whoever is attached.
//!
//! Where a log's queue is full or an attached reader is slow, that program's
//! pipe alone is not read. Descriptors that the engine has itself (`direct`)
//! are read only while no engine is there to do so.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{pipe_with, PipeFlags};

use crate::clock;
use crate::core::{Keeper, Kind};
use crate::slab::Key;
use crate::unit::{Phase, Unit};

/// Bytes read at once; a pipe's default size.
pub const CHUNK: usize = 64 * 1024;
/// Reads of one stream a wake-up, so that one loud program leaves the others
/// their turn.
const TURNS: usize = 4;
/// Reads of a terminal at its end: it holds 64 KiB at most and gives 4 at once.
const TERMINAL_TURNS: usize = 32;
/// Attached readers at once, one for each stream. Each may hold back a piece
/// of output in memory besides its pipe.
pub const MAX_TAPS: usize = 4096;

/// One output stream.
#[derive(Debug)]
pub struct Stream {
    /// The reading end, until its end.
    pub fd: Option<OwnedFd>,
    /// epoll waits for it.
    pub watched: bool,
    /// Bytes read.
    pub total: u64,
    /// The first of them.
    pub captured: Vec<u8>,
    /// How many of them.
    pub limit: u64,
    /// Who else reads it.
    pub taps: Vec<Key>,
}

impl Stream {
    /// A stream of a fresh program.
    #[must_use]
    pub fn new(fd: OwnedFd, limit: u64) -> Self {
        // The writing end is another open file and goes on blocking.
        let _ = rustix::fs::fcntl_setfl(&fd, OFlags::NONBLOCK);
        Self { fd: Some(fd), watched: false, total: 0, captured: Vec::new(), limit, taps: Vec::new() }
    }
}

/// A pipe to somebody who attached.
#[derive(Debug)]
pub struct Tap {
    unit: Key,
    stream: usize,
    fd: OwnedFd,
    /// What the pipe did not take.
    backlog: Vec<u8>,
    /// Nothing more will come.
    last: bool,
    /// Descriptors counted for it.
    reserved: u32,
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Data(usize),
    Nothing,
    End,
}

fn read(fd: &OwnedFd, buffer: &mut [u8]) -> Got {
    loop {
        return match rustix::io::read(fd, &mut *buffer) {
            Ok(0) => Got::End,
            Ok(count) => Got::Data(count),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Got::Nothing,
            // A terminal whose other side is closed says EIO.
            Err(_) => Got::End,
        };
    }
}

/// Whether the engine reads the unit's streams itself.
fn engine_reads(unit: &Unit) -> bool {
    unit.handed && unit.owner.is_some()
}

impl Keeper {
    /// Makes epoll wait for a stream exactly while it is to be read.
    pub fn watch_stream(&mut self, key: Key, index: usize) {
        let Some(unit) = self.units.get_mut(key) else { return };
        let stopped = engine_reads(unit) || unit.log_full;
        let Some(stream) = &mut unit.streams[index] else { return };
        let Some(fd) = &stream.fd else { return };
        let behind = stream.taps.iter().any(|tap| self.taps.get(*tap).is_some_and(|tap| !tap.backlog.is_empty()));
        let wanted = !stopped && !behind;
        if wanted == stream.watched {
            return;
        }
        let done = if wanted {
            self.poll.add(fd.as_fd(), Kind::Stream, key, index as u8, EventFlags::IN)
        } else {
            self.poll.remove(fd.as_fd())
        };
        if done.is_ok() {
            stream.watched = wanted;
        }
    }

    /// A stream has something.
    pub fn stream_ready(&mut self, key: Key, index: usize) {
        for _ in 0..TURNS {
            if self.read_stream(key, index) != Got::Data(CHUNK) {
                break;
            }
            let watched = self.units.get(key).and_then(|unit| unit.streams[index].as_ref()).is_some_and(|s| s.watched);
            if !watched {
                break;
            }
        }
    }

    /// Reads once and passes on what came.
    fn read_stream(&mut self, key: Key, index: usize) -> Got {
        let mut buffer = std::mem::take(&mut self.buffer);
        let fd = self.units.get(key).and_then(|unit| unit.streams[index].as_ref()?.fd.as_ref());
        let got = fd.map_or(Got::Nothing, |fd| read(fd, &mut buffer[..CHUNK]));
        match got {
            Got::Data(count) => self.feed(key, index, &buffer[..count]),
            Got::End => self.end_stream(key, index),
            Got::Nothing => {}
        }
        self.buffer = buffer;
        got
    }

    fn feed(&mut self, key: Key, index: usize, data: &[u8]) {
        let Some(unit) = self.units.get_mut(key) else { return };
        let ended = unit.exit.is_some();
        let Some(stream) = &mut unit.streams[index] else { return };
        stream.total += data.len() as u64;
        if !ended {
            let room = stream.limit.saturating_sub(stream.captured.len() as u64);
            let room = (room.min(data.len() as u64) as usize).min(self.captures.left());
            self.captures.used += room;
            stream.captured.extend_from_slice(&data[..room]);
        }
        let taps = std::mem::take(&mut stream.taps);
        if let Some(log) = &unit.log {
            log.write(clock::now(), index as u8 + 1, data);
            if log.is_full() {
                unit.log_full = true;
            }
        }
        let log_full = unit.log_full;
        let (kept, behind) = self.feed_taps(taps, data);
        if let Some(stream) = self.units.get_mut(key).and_then(|unit| unit.streams[index].as_mut()) {
            stream.taps = kept;
        }
        if log_full || behind {
            self.watch_stream(key, index);
            if behind && self.units.get(key).is_some_and(|unit| !unit.attached.is_empty()) {
                // Its reader is not told of yet and the pipe is full.
                self.tell_start(key);
            }
            if log_full {
                self.watch_stream(key, 1 - index);
            }
        }
    }

    fn feed_taps(&mut self, taps: Vec<Key>, data: &[u8]) -> (Vec<Key>, bool) {
        let mut behind = false;
        let kept = taps.into_iter().filter(|&tap_key| {
            let Some(tap) = self.taps.get_mut(tap_key) else { return false };
            let was_behind = !tap.backlog.is_empty();
            let taken = if was_behind { Ok(0) } else { rustix::io::write(&tap.fd, data) };
            match taken {
                Ok(count) => tap.backlog.extend_from_slice(&data[count..]),
                Err(Errno::AGAIN | Errno::INTR) => tap.backlog.extend_from_slice(data),
                Err(_) => {
                    self.drop_tap(tap_key);
                    return false;
                }
            }
            if tap.backlog.is_empty() {
                return true;
            }
            behind = true;
            if !was_behind {
                let _ = self.poll.modify(tap.fd.as_fd(), Kind::Tap, tap_key, EventFlags::OUT);
            }
            true
        });
        (kept.collect(), behind)
    }

    /// Somebody's pipe has room, or that somebody is gone.
    pub fn tap_ready(&mut self, key: Key, flags: EventFlags) {
        let Some(tap) = self.taps.get_mut(key) else { return };
        let mut gone = flags.intersects(EventFlags::ERR);
        if !gone && !tap.backlog.is_empty() {
            match rustix::io::write(&tap.fd, &tap.backlog) {
                Ok(count) => drop(tap.backlog.drain(..count)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => gone = true,
            }
        }
        let (unit, stream) = (tap.unit, tap.stream);
        if gone || (tap.backlog.is_empty() && tap.last) {
            self.drop_tap(key);
        } else if tap.backlog.is_empty() {
            tap.backlog.shrink_to(CHUNK);
            let _ = self.poll.modify(tap.fd.as_fd(), Kind::Tap, key, EventFlags::empty());
        } else {
            return;
        }
        self.watch_stream(unit, stream);
    }

    fn drop_tap(&mut self, key: Key) {
        if let Some(mut tap) = self.taps.remove(key) {
            let _ = self.poll.remove(tap.fd.as_fd());
            self.descriptors.set(&mut tap.reserved, 0);
        }
    }

    /// Reads what was written before the exit, whatever is full, and no more:
    /// a descendant that goes on writing must not hold up the report.
    pub fn drain_at_exit(&mut self, key: Key) {
        for index in 0..2 {
            let Some(unit) = self.units.get(key) else { return };
            if engine_reads(unit) || unit.streams[index].is_none() {
                continue;
            }
            let terminal = unit.terminal;
            if terminal {
                for _ in 0..TERMINAL_TURNS {
                    if !matches!(self.read_stream(key, index), Got::Data(_)) {
                        break;
                    }
                }
                continue;
            }
            match self.read_stream(key, index) {
                Got::Data(CHUNK) => {
                    let fd = self.units.get(key).and_then(|unit| unit.streams[index].as_ref()?.fd.as_ref());
                    let mut left = fd.and_then(|fd| rustix::io::ioctl_fionread(fd).ok()).unwrap_or(0) as usize;
                    while let (true, Got::Data(count)) = (left > 0, self.read_stream(key, index)) {
                        left = left.saturating_sub(count);
                    }
                }
                // A pipe gives less than was asked for only when it is empty.
                Got::Data(_) => {}
                Got::Nothing | Got::End => continue,
            }
            // Usually the end is here as well, and closing now saves a wake-up.
            self.read_stream(key, index);
        }
    }

    /// The end of a stream: nobody holds its other end any more, or nobody
    /// here cares.
    pub fn end_stream(&mut self, key: Key, index: usize) {
        let Some(unit) = self.units.get_mut(key) else { return };
        let Some(stream) = &mut unit.streams[index] else { return };
        if let Some(fd) = stream.fd.take() {
            if stream.watched || unit.output.direct {
                // A copy elsewhere would keep it in epoll.
                let _ = self.poll.remove(fd.as_fd());
            }
            stream.watched = false;
            self.descriptors.free(&mut unit.reserved, 1);
        }
        let taps = std::mem::take(&mut stream.taps);
        self.end_taps(taps);
        self.end_lingering(key);
    }

    /// Nothing more will come for these: each ends once it has all.
    pub fn end_taps(&mut self, taps: Vec<Key>) {
        for key in taps {
            let Some(tap) = self.taps.get_mut(key) else { continue };
            tap.last = true;
            if tap.backlog.is_empty() {
                self.drop_tap(key);
            }
        }
    }

    /// Forgets a unit that was kept for its pipes alone, once they are done.
    pub fn end_lingering(&mut self, key: Key) {
        let Some(unit) = self.units.get(key) else { return };
        let open = unit.streams.iter().flatten().any(|stream| stream.fd.is_some());
        if matches!(unit.phase, Phase::Lingering) && !open {
            self.drop_unit(key);
        }
    }

    /// A log has room again, or is written.
    pub fn log_relieved(&mut self, key: Key) {
        let Some(unit) = self.units.get_mut(key) else { return };
        let Some(log) = &unit.log else { return };
        if unit.log_full && !log.is_full() {
            unit.log_full = false;
        }
        let unit_awaits = unit.awaits_log && log.is_written();
        for index in 0..2 {
            self.watch_stream(key, index);
        }
        if unit_awaits {
            self.record_exit(key);
        }
    }

    /// A pipe that gets a copy of a stream from now on.
    pub fn tap(&mut self, key: Key, index: usize) -> Result<OwnedFd, Errno> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let open = self.units.get(key).and_then(|unit| unit.streams[index].as_ref()).is_some_and(|s| s.fd.is_some());
        if !open {
            // The writing end closes here: the reader finds the end.
            return Ok(reader);
        }
        rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK)?;
        let mut tap = Tap { unit: key, stream: index, fd: writer, backlog: Vec::new(), last: false, reserved: 0 };
        self.descriptors.set(&mut tap.reserved, 1);
        let tap_key = self.taps.insert(tap);
        let added = self.taps.get(tap_key).map_or(Ok(()), |tap| {
            // Without a flag epoll still tells that the reader has gone.
            self.poll.add(tap.fd.as_fd(), Kind::Tap, tap_key, 0, EventFlags::empty())
        });
        if let Err(error) = added {
            self.drop_tap(tap_key);
            return Err(error);
        }
        if let Some(stream) = self.units.get_mut(key).and_then(|unit| unit.streams[index].as_mut()) {
            stream.taps.push(tap_key);
        }
        Ok(reader)
    }
}
