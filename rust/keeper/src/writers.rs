//! The writer threads: whatever touches a disk.
//!
//! A log belongs to one thread, so its records stay in order. The queue of each
//! log is bounded: the loop asks [`LogHandle::is_full`] after each piece and, if
//! so, stops reading that one container's pipe until the thread says that
//! there is room again ([`Writers::relieved`]).

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::clock;
use crate::log::LogFile;
use crate::message::Log;
use crate::packet::write_all;
use crate::slab::Key;
use crate::wake::Wake;

/// Threads. Log writing is copying into the page cache; two keep one slow
/// disk from holding the other logs.
pub const THREADS: usize = 2;
/// Output bytes of one log that may wait for the disk. Two full pipes: enough
/// to keep the disk busy, little enough for thousands of containers.
pub const QUEUE: usize = 128 * 1024;

/// What a log shares between the loop and its thread.
#[derive(Debug)]
struct Shared {
    number: u64,
    owner: Key,
    queued: AtomicUsize,
    /// The loop has stopped reading for this log's sake.
    stopped: AtomicBool,
    /// The loop waits for all of it to be written.
    awaited: AtomicBool,
}

/// A log as the loop sees it. Dropping it closes the log once all is written.
#[derive(Debug)]
pub struct LogHandle {
    shared: Arc<Shared>,
    thread: Sender<Job>,
}

#[derive(Debug)]
enum Job {
    Open(Arc<Shared>, Log),
    Write {
        shared: Arc<Shared>,
        time: i64,
        stream: u8,
        data: Vec<u8>,
    },
    Close(u64),
    /// An exit journal that lies on a disk: bytes at an offset and the ticket
    /// that is then done.
    Journal {
        file: Arc<OwnedFd>,
        bytes: Vec<u8>,
        ticket: u64,
    },
}

/// The threads, from the loop's side.
#[derive(Debug)]
pub struct Writers {
    threads: Vec<Sender<Job>>,
    back: Arc<Back>,
    next: u64,
}

#[derive(Debug)]
struct Back {
    wake: Arc<Wake>,
    relieved: Mutex<Vec<Key>>,
    ticket: AtomicU64,
    errors: AtomicU64,
}

impl Writers {
    /// Starts them. `store` is the folder that logs are beneath.
    pub fn start(store: Option<OwnedFd>, wake: Arc<Wake>) -> io::Result<Self> {
        let store = store.map(Arc::new);
        let back = Arc::new(Back {
            wake,
            relieved: Mutex::new(Vec::new()),
            ticket: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        });
        let mut threads = Vec::new();
        for _ in 0..THREADS {
            let (sender, receiver) = mpsc::channel();
            let (store, back) = (store.clone(), back.clone());
            thread::Builder::new().name("ardock-writer".into()).stack_size(256 * 1024).spawn(move || {
                run(&receiver, store.as_deref(), &back);
            })?;
            threads.push(sender);
        }
        Ok(Self { threads, back, next: 0 })
    }

    /// A log for the container or exec `owner`.
    pub fn open(&mut self, owner: Key, log: Log) -> LogHandle {
        self.next += 1;
        // By the path: a container's next log is opened after its last one is
        // closed, since both are the same thread's.
        let place = log.path.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let thread = self.threads[place % self.threads.len()].clone();
        let shared = Arc::new(Shared {
            number: self.next,
            owner,
            queued: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
        });
        let _ = thread.send(Job::Open(shared.clone(), log));
        LogHandle { shared, thread }
    }

    /// Whose logs have room again, or are written as was asked for.
    #[must_use]
    pub fn relieved(&self) -> Vec<Key> {
        std::mem::take(&mut self.back.relieved.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Appends to a journal that lies on a disk.
    pub fn journal(&self, file: Arc<OwnedFd>, bytes: Vec<u8>, ticket: u64) {
        let _ = self.threads[0].send(Job::Journal { file, bytes, ticket });
    }

    /// The last journal ticket that is done.
    #[must_use]
    pub fn ticket(&self) -> u64 {
        self.back.ticket.load(Ordering::Acquire)
    }

    /// Logs that could not be opened and journal writes that failed.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.back.errors.load(Ordering::Relaxed)
    }
}

impl LogHandle {
    /// Queues output.
    pub fn write(&self, time: i64, stream: u8, data: &[u8]) {
        self.shared.queued.fetch_add(data.len(), Ordering::AcqRel);
        let job = Job::Write { shared: self.shared.clone(), time, stream, data: data.to_vec() };
        let _ = self.thread.send(job);
    }

    /// Whether the pipe is to be left alone for now. If so, the thread will
    /// say when there is room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        if self.shared.queued.load(Ordering::Acquire) <= QUEUE {
            return false;
        }
        self.shared.stopped.store(true, Ordering::SeqCst);
        // The thread may have drained it before it could see the flag.
        self.shared.queued.load(Ordering::SeqCst) > QUEUE / 2
    }

    /// Whether all that was queued is in the file. If not, the thread will say
    /// when it is.
    #[must_use]
    pub fn is_written(&self) -> bool {
        if self.shared.queued.load(Ordering::Acquire) == 0 {
            return true;
        }
        self.shared.awaited.store(true, Ordering::SeqCst);
        self.shared.queued.load(Ordering::SeqCst) == 0
    }
}

impl Drop for LogHandle {
    fn drop(&mut self) {
        let _ = self.thread.send(Job::Close(self.shared.number));
    }
}

fn run(jobs: &Receiver<Job>, store: Option<&OwnedFd>, back: &Back) {
    let mut logs: HashMap<u64, LogFile> = HashMap::new();
    while let Ok(first) = jobs.recv() {
        let mut written: Vec<(Arc<Shared>, usize)> = Vec::new();
        let mut next = Some(first);
        // What has come together is one write a log.
        while let Some(job) = next {
            match job {
                Job::Open(shared, log) => {
                    let opened = store
                        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
                        .and_then(|store| LogFile::open(store, &log.path, log.max_size, log.max_files));
                    match opened {
                        Ok(file) => drop(logs.insert(shared.number, file)),
                        Err(_) => drop(back.errors.fetch_add(1, Ordering::Relaxed)),
                    }
                }
                Job::Write { shared, time, stream, data } => {
                    if let Some(log) = logs.get_mut(&shared.number) {
                        log.append(time, stream, &data);
                    }
                    written.push((shared, data.len()));
                }
                Job::Close(number) => {
                    if let Some(log) = logs.remove(&number) {
                        log.finish(clock::now());
                    }
                }
                Job::Journal { file, bytes, ticket } => {
                    if write_all(file.as_fd(), &bytes).is_err() {
                        back.errors.fetch_add(1, Ordering::Relaxed);
                    }
                    back.ticket.store(ticket, Ordering::Release);
                    back.wake.ring();
                }
            }
            next = if written.len() < 256 { jobs.try_recv().ok() } else { None };
        }
        for (shared, length) in written {
            if let Some(log) = logs.get_mut(&shared.number) {
                log.flush();
            }
            let left = shared.queued.fetch_sub(length, Ordering::SeqCst) - length;
            let room = left <= QUEUE / 2 && shared.stopped.swap(false, Ordering::SeqCst);
            let written = left == 0 && shared.awaited.swap(false, Ordering::SeqCst);
            if room || written {
                back.relieved.lock().unwrap_or_else(PoisonError::into_inner).push(shared.owner);
                back.wake.ring();
            }
        }
    }
}
