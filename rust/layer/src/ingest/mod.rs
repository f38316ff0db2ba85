//! One layer, as a stream of bytes, into a blob and a directory.
//!
//! Two threads share the work, with what costs most in each of them, and a
//! third one sees to it that the disk is at work meanwhile:
//!
//! ```text
//! feed -> [ digest, write the blob, decompress ] -> [ digest of the content, parse, write the files ]
//! ```
//!
//! Inflating takes about as long as hashing and writing the files (1.6 s and
//! 2.1 s of a processor for 1.5 GB in 47,000 files), so two processors have
//! about the same to do.

mod decompress;
mod early;
pub(crate) mod hash;
pub(crate) mod pipe;
mod summary;
mod unfold;

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use crate::error::Error;
use crate::tar::Parser;
use crate::write::{Limits, Whiteouts, Writer};
use crate::writing::own_umask;
use crate::{Cancelled, Result};

use decompress::Decompressor;
pub use decompress::Media;
use early::Written;
pub use hash::Algorithm;
use hash::Hash;
use pipe::{Broken, Pipe, BUFFER};
pub use summary::LayerSummary;
pub use unfold::decompress_file;

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
    /// The digest that the bytes are to have. Then what is wrong with them is
    /// told once all have come, as a wrong digest where it is one: a bit that
    /// fell over on the way is no bad archive.
    pub expected: Option<String>,
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
    written: Written,
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

    /// Ends it all; `late`: but for the hashing of what is to come.
    fn fail(&self, error: Error, late: bool) {
        let late = late && error.is_about_content();
        self.outcome().error.get_or_insert(error);
        if !late {
            self.raw.break_off();
        }
        self.plain.break_off();
    }

    /// Runs one of the threads.
    fn run(&self, late: bool, work: impl FnOnce() -> std::result::Result<(), End>) {
        if let Err(End::Failed(error)) = work() {
            self.fail(error, late);
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
            Some(target) => Some(Writer::new(target, plan.whiteouts, plan.limits)?),
            None => None,
        };
        let shared = Arc::new(Shared::default());
        let ingest = Self { shared: shared.clone(), threads: Mutex::default(), plan: plan.clone() };
        // Without a descriptor of its own for it, all of it is written in the end.
        let on = match (&writer, &blob) {
            (Some(writer), _) => writer.target.root.try_clone().ok(),
            (None, Some(blob)) => blob.try_clone().ok().map(OwnedFd::from),
            (None, None) => None,
        };
        if let Some(on) = on {
            let shared = shared.clone();
            ingest.spawn("layer-sync", move || {
                if let Err(errno) = shared.written.follow(&on) {
                    shared.fail(Error::step("write to the disk", b".")(errno), false);
                }
            })?;
        }
        let (unpacks, late) = (writer.is_some(), plan.expected.is_some());
        ingest.start("layer-read", {
            let (shared, plan) = (shared.clone(), plan.clone());
            move || shared.run(late, || read(&shared, &plan, blob, unpacks))
        })?;
        if let Some(writer) = writer {
            ingest.start("layer-write", move || shared.run(late, || write(&shared, &plan, writer)))?;
        }
        Ok(ingest)
    }

    /// Starts one of those that the end waits for.
    fn start(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        self.shared.outcome().running += 1;
        let started = self.spawn(name, work);
        if started.is_err() {
            self.shared.outcome().running -= 1;
        }
        started
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        match std::thread::Builder::new().name(name.to_owned()).spawn(work) {
            Ok(thread) => self.threads().push(thread),
            Err(error) => {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
                return Err(Error::step("start the thread", name.as_bytes())(errno));
            }
        }
        Ok(())
    }

    /// Takes the next bytes, of any number. Waits while the threads are behind.
    /// After an error every call gives it again, but for one about the content
    /// where a digest is expected.
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
                self.shared.fail(Error::Cancelled, false);
                self.join();
                return Err(Error::Cancelled);
            }
        }
        drop(outcome);
        self.join();
        let mut outcome = self.shared.outcome();
        let (error, blob, writer) = (outcome.error.clone(), outcome.blob.take(), outcome.writer.take());
        let mut summary = outcome.summary.clone();
        drop(outcome);
        if writer.is_some() && summary.diff_id.is_empty() {
            summary.diff_id.clone_from(&summary.digest);
        }
        let failed = error.as_ref().is_some_and(|error| !error.is_about_content());
        if let (Some(expected), false) = (&self.plan.expected, failed) {
            if *expected != summary.digest {
                return Err(Error::Digest { found: summary.digest, expected: expected.clone() });
            }
        }
        match error {
            Some(error) => Err(error),
            None => self.settle(blob.as_ref(), writer.as_ref()).map(|()| summary),
        }
    }

    /// On the disk: one call for a blob and a tree that lie on one file system.
    fn settle(&self, blob: Option<&File>, writer: Option<&Writer>) -> Result<()> {
        let path = self.plan.blob.as_deref().unwrap_or(Path::new("")).as_os_str().as_encoded_bytes();
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
        self.shared.fail(Error::Cancelled, false);
        self.join();
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self) {
        self.shared.written.end();
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
fn read(shared: &Shared, plan: &Plan, blob: Option<File>, unpacks: bool) -> std::result::Result<(), End> {
    let mut reader =
        Reader { shared, plan, hash: Hash::new(plan.algorithm), size: 0, blob, first: Vec::new(), unfolded: 0 };
    match reader.all(unpacks) {
        Ok(()) => {}
        Err(End::Failed(error)) => {
            shared.fail(error, plan.expected.is_some());
            reader.rest()?;
        }
        Err(End::Broken) => reader.rest()?,
    }
    let mut outcome = shared.outcome();
    outcome.summary.digest = reader.hash.finish();
    outcome.summary.size = reader.size;
    outcome.blob = reader.blob;
    Ok(())
}

struct Reader<'a> {
    shared: &'a Shared,
    plan: &'a Plan,
    hash: Hash,
    size: u64,
    blob: Option<File>,
    /// A first buffer that is too short to tell what it is.
    first: Vec<u8>,
    unfolded: u64,
}

impl Reader<'_> {
    fn all(&mut self, unpacks: bool) -> std::result::Result<(), End> {
        let mut stage: Option<Decompressor> = None;
        let mut output = if unpacks { Some(self.shared.plain.buffer()?) } else { None };
        while let Some(input) = self.shared.raw.read()? {
            self.take(&input)?;
            if self.first.is_empty() && (stage.is_some() || input.len() >= Media::TELLING) {
                self.pass(&input, &mut stage, &mut output)?;
            } else {
                self.first.extend_from_slice(&input);
                if self.first.len() >= Media::TELLING {
                    let first = std::mem::take(&mut self.first);
                    self.pass(&first, &mut stage, &mut output)?;
                }
            }
            self.shared.raw.give_back(input);
        }
        if stage.is_none() {
            let first = std::mem::take(&mut self.first);
            self.pass(&first, &mut stage, &mut output)?;
        }
        if let (Some(stage), Some(output)) = (stage, output) {
            stage.finish()?;
            self.shared.plain.write(output)?;
            self.shared.plain.end();
        }
        Ok(())
    }

    fn take(&mut self, input: &[u8]) -> Result<()> {
        self.hash.update(input);
        self.size += input.len() as u64;
        let Some(blob) = &mut self.blob else { return Ok(()) };
        self.shared.written.add(input.len());
        blob.write_all(input).map_err(|error| {
            let path = self.plan.blob.as_deref().unwrap_or(Path::new("")).as_os_str().as_encoded_bytes();
            Error::step("write", path)(Errno::from_io_error(&error).unwrap_or(Errno::IO))
        })
    }

    fn pass(
        &mut self,
        mut data: &[u8],
        stage: &mut Option<Decompressor>,
        output: &mut Option<Vec<u8>>,
    ) -> std::result::Result<(), End> {
        let stage = if let Some(stage) = stage {
            stage
        } else {
            let media = match Media::of(data) {
                // Bytes that are only kept may be anything.
                Err(_) if output.is_none() => Media::Plain,
                other => other?,
            };
            self.shared.outcome().summary.media = media;
            stage.insert(Decompressor::new(media)?)
        };
        let Some(output) = output else { return Ok(()) };
        loop {
            let had = output.len();
            let read = stage.step(data, output)?;
            data = &data[read..];
            self.unfolded += (output.len() - had) as u64;
            check_ratio(self.size, self.unfolded, &self.plan.limits)?;
            // With room left it has given all that it has.
            if output.len() < output.capacity() && data.is_empty() {
                return Ok(());
            }
            self.shared.plain.write(std::mem::replace(output, self.shared.plain.buffer()?))?;
        }
    }

    /// Hashes what is still to come, unless the whole was given up.
    fn rest(&mut self) -> std::result::Result<(), End> {
        while let Some(input) = self.shared.raw.read()? {
            self.hash.update(&input);
            self.size += input.len() as u64;
            self.shared.raw.give_back(input);
        }
        Ok(())
    }
}

/// The second thread.
fn write(shared: &Shared, plan: &Plan, mut writer: Writer) -> std::result::Result<(), End> {
    writer.target.options.exact = own_umask();
    let mut hash = Hash::new(Algorithm::Sha256);
    let mut hashed = None;
    let mut parser = Parser::default();
    let mut size = 0u64;
    while let Some(data) = shared.plain.read()? {
        // The digest of what is not compressed is taken already.
        if !*hashed.get_or_insert_with(|| plan.algorithm == Algorithm::Sha256 && is_plain(shared)) {
            hash.update(&data);
        }
        shared.written.add(data.len());
        size += data.len() as u64;
        check_size(size, &plan.limits)?;
        parser.feed(&data, &mut writer)?;
        shared.plain.give_back(data);
    }
    let unmarked = parser.is_between() && !(plan.strict && is_plain(shared));
    if !unmarked {
        parser.finish()?;
    }
    writer.finish()?;
    let mut outcome = shared.outcome();
    if hashed == Some(false) {
        outcome.summary.diff_id = hash.finish();
    }
    outcome.summary.diff_size = size;
    outcome.summary.content = writer.content;
    outcome.summary.files = writer.files;
    outcome.writer = Some(writer);
    Ok(())
}

fn is_plain(shared: &Shared) -> bool {
    shared.outcome().summary.media == Media::Plain
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
