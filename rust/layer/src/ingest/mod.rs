//! One layer, as a stream of bytes, into a blob and a directory.
//!
//! Two threads share the work, with what costs most in each of them:
//!
//! ```text
//! feed -> [ digest, write the blob, decompress ] -> [ digest of the content, parse, write the files ]
//! ```
//!
//! On two processors that is the fastest of the ways to cut it that were
//! measured: inflating takes about as long as hashing and writing the files.

mod decompress;
mod hash;
mod pipe;
mod summary;

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::tar::Parser;
use crate::write::{Limits, Whiteouts, Writer};
use crate::{Cancelled, Result};

use decompress::Decompressor;
pub use decompress::Media;
pub use hash::Algorithm;
use hash::Hash;
use pipe::{Broken, Pipe, BUFFER};
pub use summary::LayerSummary;

/// What is to be done with a layer.
#[derive(Debug, Clone)]
pub struct Plan {
    /// A new file for the bytes as they come.
    pub blob: Option<PathBuf>,
    /// An existing directory to unpack into. Without it nothing is
    /// decompressed.
    pub target: Option<PathBuf>,
    /// What whiteouts become.
    pub whiteouts: Whiteouts,
    /// Of the digest of the bytes as they come.
    pub algorithm: Algorithm,
    /// What the layer may hold.
    pub limits: Limits,
    /// An uncompressed archive without its end mark is refused as one that was
    /// cut off. Where a digest tells that all of it is there, docker takes it.
    pub strict: bool,
}

/// A layer that comes by pieces. Dropped before its end, its threads end; the
/// blob and the directory are left as they are, as they are after an error.
#[derive(Debug)]
pub struct Ingest {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    plan: Plan,
}

/// What the threads and the caller share.
#[derive(Debug, Default)]
struct Shared {
    /// The bytes as they came.
    raw: Pipe,
    /// The uncompressed bytes.
    plain: Pipe,
    outcome: Mutex<Outcome>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Outcome {
    /// The first one, of whichever thread.
    error: Option<Error>,
    summary: LayerSummary,
    running: usize,
    blob: Option<File>,
    writer: Option<Writer>,
}

impl Shared {
    fn outcome(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: Error) {
        self.outcome().error.get_or_insert(error);
        self.raw.break_off();
        self.plain.break_off();
    }

    /// Runs one of the threads.
    fn run(&self, work: impl FnOnce() -> std::result::Result<(), End>) {
        if let Err(End::Failed(error)) = work() {
            self.fail(error);
        }
        self.outcome().running -= 1;
        self.changed.notify_all();
    }
}

/// Why a thread ends before the end of the stream.
enum End {
    Failed(Error),
    /// The other thread, or the caller, has given up.
    Broken,
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Broken> for End {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

impl Ingest {
    /// Makes the blob's file and starts the threads.
    pub fn new(plan: Plan) -> Result<Self> {
        let blob = match &plan.blob {
            Some(path) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let mode = Mode::from_raw_mode(0o600);
                Some(File::from(
                    fs::open(path, flags, mode).map_err(Error::step("make", path.as_os_str().as_encoded_bytes()))?,
                ))
            }
            None => None,
        };
        let writer = match &plan.target {
            Some(target) => Some(Writer::new(target, Some(plan.whiteouts), plan.limits, true)?),
            None => None,
        };
        let shared = Arc::new(Shared::default());
        let ingest = Self { shared: shared.clone(), threads: Mutex::default(), plan: plan.clone() };
        let unpacks = writer.is_some();
        ingest.start("layer-read", {
            let (shared, plan) = (shared.clone(), plan.clone());
            move || shared.run(|| read(&shared, &plan, blob, unpacks))
        })?;
        if let Some(writer) = writer {
            ingest.start("layer-write", move || shared.run(|| write(&shared, &plan, writer)))?;
        }
        Ok(ingest)
    }

    fn start(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        self.shared.outcome().running += 1;
        match std::thread::Builder::new().name(name.to_owned()).spawn(work) {
            Ok(thread) => self.threads().push(thread),
            Err(error) => {
                self.shared.outcome().running -= 1;
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
                return Err(Error::step("start the thread", name.as_bytes())(errno));
            }
        }
        Ok(())
    }

    /// Takes the next bytes, of any number. Waits while the threads are behind.
    /// After an error every call gives it again.
    pub fn feed(&self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let fed = self.shared.raw.last_or_buffer().and_then(|mut buffer| {
                let count = data.len().min(BUFFER - buffer.len());
                buffer.extend_from_slice(&data[..count]);
                data = &data[count..];
                self.shared.raw.write(buffer)
            });
            if fed == Err(Broken) {
                return Err(self.shared.outcome().error.clone().unwrap_or(Error::Cancelled));
            }
        }
        Ok(())
    }

    /// All bytes have come, and it is called once: waits until all is written and on the disk.
    pub fn finish(&self, cancelled: Cancelled<'_>) -> Result<LayerSummary> {
        self.shared.raw.end();
        let mut outcome = self.shared.outcome();
        while outcome.running > 0 {
            let (again, _) = self
                .shared
                .changed
                .wait_timeout(outcome, Duration::from_millis(50))
                .unwrap_or_else(PoisonError::into_inner);
            outcome = again;
            if outcome.running > 0 && cancelled() {
                drop(outcome);
                self.shared.fail(Error::Cancelled);
                self.join();
                return Err(Error::Cancelled);
            }
        }
        let (error, blob, writer) = (outcome.error.clone(), outcome.blob.take(), outcome.writer.take());
        let summary = outcome.summary.clone();
        drop(outcome);
        self.join();
        match error {
            Some(error) => Err(error),
            None => self.settle(blob.as_ref(), writer.as_ref()).map(|()| summary),
        }
    }

    /// On the disk: one call for a blob and a tree that lie on one file system.
    fn settle(&self, blob: Option<&File>, writer: Option<&Writer>) -> Result<()> {
        let path = self.plan.blob.as_deref().unwrap_or(std::path::Path::new("")).as_os_str().as_encoded_bytes();
        let step = || Error::step("write to the disk", path);
        if let Some(blob) = blob {
            let device = fs::fstat(blob).map_err(step())?.st_dev;
            if writer.map(|writer| writer.target.device()).transpose()? != Some(device) {
                fs::fsync(blob).map_err(step())?;
            }
        }
        writer.map_or(Ok(()), |writer| writer.target.sync())
    }

    /// Ends the threads, wherever they are.
    pub fn abort(&self) {
        self.shared.fail(Error::Cancelled);
        self.join();
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self) {
        let threads = std::mem::take(&mut *self.threads());
        for thread in threads {
            // They do not panic: the build aborts where one would.
            let _ = thread.join();
        }
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.abort();
    }
}

/// The first thread.
fn read(shared: &Shared, plan: &Plan, mut blob: Option<File>, unpacks: bool) -> std::result::Result<(), End> {
    let mut hash = Hash::new(plan.algorithm);
    let (mut size, mut unfolded) = (0u64, 0u64);
    let mut first = Vec::new();
    let mut stage: Option<(Media, Decompressor)> = None;
    let mut output = if unpacks { Some(shared.plain.buffer()?) } else { None };
    loop {
        let input = shared.raw.read()?;
        if let Some(input) = &input {
            hash.update(input);
            size += input.len() as u64;
            if let Some(blob) = &mut blob {
                use std::io::Write;
                blob.write_all(input).map_err(|error| {
                    let path = plan.blob.as_deref().unwrap_or(std::path::Path::new(""));
                    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                    Error::step("write", path.as_os_str().as_encoded_bytes())(errno)
                })?;
            }
        }
        let last = input.is_none();
        // A short first buffer is kept until it can be told what it is.
        let mut data: &[u8] = input.as_deref().unwrap_or_default();
        let held;
        if stage.is_none() {
            if !first.is_empty() || data.len() < Media::TELLING {
                first.extend_from_slice(data);
                held = std::mem::take(&mut first);
                data = &held;
            }
            if data.len() < Media::TELLING && !last {
                first = data.to_vec();
                if let Some(input) = input {
                    shared.raw.give_back(input);
                }
                continue;
            }
            let media = match Media::of(data) {
                Err(_) if !unpacks => Media::Plain,
                other => other?,
            };
            shared.outcome().summary.media = media;
            stage = Some((media, Decompressor::new(media)?));
        }
        if let (Some((_, decompressor)), Some(output)) = (&mut stage, &mut output) {
            loop {
                let had = output.len();
                let read = decompressor.step(data, output)?;
                data = &data[read..];
                unfolded += (output.len() - had) as u64;
                check_ratio(size, unfolded, &plan.limits)?;
                // With room left it has given all that it has.
                if output.len() < output.capacity() && data.is_empty() {
                    break;
                }
                shared.plain.write(std::mem::replace(output, shared.plain.buffer()?))?;
            }
        }
        match input {
            Some(input) => shared.raw.give_back(input),
            None => break,
        }
    }
    if let (Some((_, decompressor)), Some(output)) = (&stage, output.take()) {
        decompressor.finish()?;
        shared.plain.write(output)?;
        shared.plain.end();
    }
    let mut outcome = shared.outcome();
    outcome.summary.digest = hash.finish();
    outcome.summary.size = size;
    outcome.blob = blob;
    Ok(())
}

/// The second thread.
fn write(shared: &Shared, plan: &Plan, mut writer: Writer) -> std::result::Result<(), End> {
    own_umask(&mut writer);
    let mut hash = Hash::new(Algorithm::Sha256);
    let mut parser = Parser::default();
    let mut size = 0u64;
    while let Some(data) = shared.plain.read()? {
        hash.update(&data);
        size += data.len() as u64;
        check_size(size, &plan.limits)?;
        parser.feed(&data, &mut writer)?;
        shared.plain.give_back(data);
    }
    let media = shared.outcome().summary.media;
    let unmarked = parser.is_between() && !(plan.strict && media == Media::Plain);
    if !unmarked {
        parser.finish()?;
    }
    writer.finish()?;
    let mut outcome = shared.outcome();
    outcome.summary.diff_id = hash.finish();
    outcome.summary.diff_size = size;
    outcome.summary.content = writer.content;
    outcome.summary.files = writer.files;
    outcome.writer = Some(writer);
    Ok(())
}

fn check_ratio(size: u64, unfolded: u64, limits: &Limits) -> Result<()> {
    if unfolded > Limits::JUDGED && unfolded / limits.ratio > size {
        return Err(Error::Bomb {
            what: format!("{size} bytes unfold to {unfolded} and more, {} times as many", unfolded / size.max(1)),
            limit: limits.ratio,
        });
    }
    Ok(())
}

fn check_size(size: u64, limits: &Limits) -> Result<()> {
    if size > limits.size {
        return Err(Error::Bomb { what: format!("it unfolds to {size} bytes and more"), limit: limits.size });
    }
    Ok(())
}

/// Gives this thread, which is ours, a umask of its own: what is made has the
/// permissions that it is made with, and no call is needed to set them.
fn own_umask(writer: &mut Writer) {
    // Refused by some seccomp filters; then the calls are made.
    #[allow(unsafe_code)]
    // SAFETY: only the descriptor table must stay shared, and FS is about umask and working directory.
    let unshared = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) };
    writer.target.options.exact = unshared.is_ok();
    if unshared.is_ok() {
        rustix::process::umask(Mode::empty());
    }
}
