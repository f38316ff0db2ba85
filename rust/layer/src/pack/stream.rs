//! The archive on its way: one thread makes it, the other hashes, compresses
//! and writes it.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::ingest::hash::Hash;
use crate::ingest::pipe::{Broken, Pipe, BUFFER};
use crate::ingest::{Algorithm, LayerSummary, Media};
use crate::{Cancelled, Result};

use super::compress::{Compression, Compressor};

/// Where the archive's bytes go.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    pipe: &'a Pipe,
    buffer: Vec<u8>,
}

/// What the making has counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub content: u64,
    pub files: u64,
}

impl Stream<'_> {
    /// Runs `make` in a thread, and the rest in this one.
    pub fn run(
        compression: Compression,
        out: Option<BorrowedFd<'_>>,
        cancelled: Cancelled<'_>,
        make: impl FnOnce(&mut Stream<'_>) -> Result<Counts> + Send,
    ) -> Result<LayerSummary> {
        let pipe = Pipe::default();
        std::thread::scope(|scope| {
            let maker = std::thread::Builder::new()
                .name("layer-pack".to_owned())
                .spawn_scoped(scope, || {
                    let mut stream = Stream { pipe: &pipe, buffer: pipe.buffer().unwrap_or_default() };
                    let made = make(&mut stream).and_then(|counts| stream.end().map(|()| counts));
                    if made.is_err() {
                        pipe.break_off();
                    }
                    made
                })
                .map_err(|error| {
                    Error::step("start the thread", b"layer-pack")(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))
                })?;
            let taken = take(&pipe, compression, out, cancelled);
            if taken.is_err() {
                pipe.break_off();
            }
            let made = maker.join().unwrap_or(Err(Error::Cancelled));
            match taken {
                // The making was broken off by what failed here.
                Err(Some(error)) => Err(error),
                Err(None) => Err(made.err().unwrap_or(Error::Cancelled)),
                Ok(summary) => {
                    made.map(|counts| LayerSummary { content: counts.content, files: counts.files, ..summary })
                }
            }
        })
    }

    pub fn write(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let count = data.len().min(BUFFER - self.buffer.len());
            self.buffer.extend_from_slice(&data[..count]);
            data = &data[count..];
            self.pass()?;
        }
        Ok(())
    }

    pub fn zeros(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let piece = count.min((BUFFER - self.buffer.len()) as u64);
            self.buffer.resize(self.buffer.len() + piece as usize, 0);
            count -= piece;
            self.pass()?;
        }
        Ok(())
    }

    fn pass(&mut self) -> Result<()> {
        if self.buffer.len() < BUFFER {
            return Ok(());
        }
        let full = std::mem::take(&mut self.buffer);
        let next = self.pipe.write(full).and_then(|()| self.pipe.buffer());
        self.buffer = next.map_err(|Broken| Error::Cancelled)?;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.pipe.write(std::mem::take(&mut self.buffer)).map_err(|Broken| Error::Cancelled)?;
        self.pipe.end();
        Ok(())
    }
}

/// The taking thread; an error without one says that the making thread has it.
fn take(
    pipe: &Pipe,
    compression: Compression,
    out: Option<BorrowedFd<'_>>,
    cancelled: Cancelled<'_>,
) -> std::result::Result<LayerSummary, Option<Error>> {
    let mut diff = Hash::new(Algorithm::Sha256);
    let mut packed = Hash::new(Algorithm::Sha256);
    let (mut diff_size, mut size) = (0, 0);
    let mut compressor = Compressor::new(compression)?;
    let compressed = compression != Compression::None;
    let mut pass = |data: &[u8]| {
        if compressed {
            packed.update(data);
        }
        size += data.len() as u64;
        out.map_or(Ok(()), |out| write_all(out, data, cancelled))
    };
    while let Some(data) = pipe.read().map_err(|Broken| None)? {
        diff.update(&data);
        diff_size += data.len() as u64;
        compressor.write(&data, &mut pass)?;
        pipe.give_back(data);
    }
    compressor.finish(&mut pass)?;
    let diff_id = diff.finish();
    let media = match compression {
        Compression::None => Media::Plain,
        Compression::Gzip => Media::Gzip,
        Compression::Zstd => Media::Zstd,
    };
    let digest = if compressed { packed.finish() } else { diff_id.clone() };
    Ok(LayerSummary { digest, size, diff_id, diff_size, media, ..LayerSummary::default() })
}

/// To a file, a pipe or a socket, blocking or not.
fn write_all(out: BorrowedFd<'_>, mut data: &[u8], cancelled: Cancelled<'_>) -> Result<()> {
    while !data.is_empty() {
        match rustix::io::write(out, data) {
            Ok(count) => data = &data[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                if cancelled() {
                    return Err(Error::Cancelled);
                }
                let wait = rustix::time::Timespec { tv_sec: 0, tv_nsec: Duration::from_millis(50).as_nanos() as _ };
                let mut polled = [PollFd::from_borrowed_fd(out, PollFlags::OUT)];
                match poll(&mut polled, Some(&wait)) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(errno) => return Err(Error::step("wait to write", b"the archive")(errno)),
                }
            }
            Err(errno) => return Err(Error::step("write", b"the archive")(errno)),
        }
    }
    Ok(())
}
