//! Compression whose bytes depend on what is compressed alone.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::mpsc::{channel, sync_channel, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::{Compress, Crc, FlushCompress};

use crate::error::Error;
use crate::Result;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// By its name: `none`, `gzip` or `zstd`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Bytes that are compressed by themselves, so that several processors can be
/// at work. A block forgets the 32 KiB before it, which costs some 0.5 % here.
const BLOCK: usize = 1 << 20;
/// gzip's own default, and docker's.
const LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Takes bytes and hands compressed ones on.
pub(crate) enum Compressor {
    None,
    Gzip(Gzip),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    pub fn new(compression: Compression) -> Result<Self> {
        Ok(match compression {
            Compression::None => Self::None,
            Compression::Gzip => Self::Gzip(Gzip::new()?),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).map_err(broken)?;
                encoder.include_checksum(true).map_err(broken)?;
                Self::Zstd(encoder)
            }
        })
    }

    pub fn write(&mut self, data: &[u8], out: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match self {
            Self::None => out(data),
            Self::Gzip(gzip) => gzip.write(data, out),
            Self::Zstd(encoder) => {
                encoder.write_all(data).map_err(broken)?;
                let done = encoder.get_mut();
                out(done)?;
                done.clear();
                Ok(())
            }
        }
    }

    pub fn finish(self, out: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Gzip(gzip) => gzip.finish(out),
            Self::Zstd(encoder) => out(&encoder.finish().map_err(broken)?),
        }
    }
}

/// Neither compressor fails on memory that there is.
fn broken(_: std::io::Error) -> Error {
    Error::step("compress", b"the archive")(rustix::io::Errno::NOMEM)
}

type Job = (Vec<u8>, SyncSender<Vec<u8>>);

/// One gzip member; its deflate stream is made of blocks, each compressed by
/// itself and ended at a byte's end.
pub(crate) struct Gzip {
    block: Vec<u8>,
    crc: Crc,
    begun: bool,
    jobs: Option<Sender<Job>>,
    /// In the order of the blocks.
    results: VecDeque<Receiver<Vec<u8>>>,
    workers: Vec<JoinHandle<()>>,
}

impl Gzip {
    fn new() -> Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let mut workers = Vec::with_capacity(count);
        for _ in 0..count {
            let queue = queue.clone();
            let worker = std::thread::Builder::new().name("layer-gzip".to_owned()).spawn(move || work(&queue));
            workers.push(worker.map_err(|error| {
                let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::AGAIN);
                Error::step("start the thread", b"layer-gzip")(errno)
            })?);
        }
        let block = Vec::with_capacity(BLOCK);
        Ok(Self { block, crc: Crc::new(), begun: false, jobs: Some(jobs), results: VecDeque::new(), workers })
    }

    fn write(&mut self, mut data: &[u8], out: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.crc.update(data);
        while !data.is_empty() {
            let count = data.len().min(BLOCK - self.block.len());
            self.block.extend_from_slice(&data[..count]);
            data = &data[count..];
            if self.block.len() == BLOCK {
                self.send();
                while self.results.len() > 2 * self.workers.len() {
                    self.receive(out)?;
                }
            }
        }
        Ok(())
    }

    fn send(&mut self) {
        let (sender, receiver) = sync_channel(1);
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        if let Some(jobs) = &self.jobs {
            // The workers live as long as this does.
            let _ = jobs.send((block, sender));
        }
        self.results.push_back(receiver);
    }

    fn receive(&mut self, out: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if !self.begun {
            self.begun = true;
            // Deflate; no flags, no time; level and system unknown (RFC 1952).
            out(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
        }
        let Some(result) = self.results.pop_front() else { return Ok(()) };
        let data = result.recv().map_err(|_| Error::step("compress", b"the archive")(rustix::io::Errno::NOMEM))?;
        out(&data)
    }

    fn finish(mut self, out: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.send();
        while !self.results.is_empty() {
            self.receive(out)?;
        }
        // An empty last block of deflate.
        out(&[3, 0])?;
        out(&[self.crc.sum().to_le_bytes(), self.crc.amount().to_le_bytes()].concat())
    }
}

impl Drop for Gzip {
    fn drop(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            // They do not panic: the build aborts where one would.
            let _ = worker.join();
        }
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    let mut compress = Compress::new(flate2::Compression::new(LEVEL), false);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((block, result)) = job else { return };
        compress.reset();
        let mut out = Vec::with_capacity(block.len() / 2 + 4096);
        loop {
            let taken = compress.total_in() as usize;
            // A compressor of memory cannot fail; one that did would end the
            // whole, since nothing is sent.
            let Ok(_) = compress.compress_vec(&block[taken..], &mut out, FlushCompress::Sync) else { return };
            if compress.total_in() as usize == block.len() && out.len() < out.capacity() {
                break;
            }
            out.reserve(out.capacity());
        }
        // Nobody waits for it where the whole was given up.
        let _ = result.send(out);
    }
}
