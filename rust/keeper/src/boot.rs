#![allow(unsafe_code)]
//! From a fresh process to a running keeper.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fmt::Display;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use ardock_launch::{Home, HomeConfig, Slots};
use rustix::fs::{self as rfs, AtFlags, FlockOperation, Mode, OFlags, CWD};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use crate::config::Config;
use crate::core::{Captures, Counters, Descriptors, Keeper};
use crate::janitor::Janitor;
use crate::own_cgroup::OwnCgroup;
use crate::packet::write_all;
use crate::poll::Poll;
use crate::pool::{Pool, SLOTS};
use crate::slab::Slab;
use crate::store::{is_tmpfs, Journal};
use crate::wake::Wake;
use crate::writers::Writers;
use crate::zygote;

/// Why a keeper could not start: what it was doing, and the reason.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {reason}")]
pub struct BootError {
    doing: &'static str,
    reason: String,
}

fn because<E: Display>(doing: &'static str) -> impl FnOnce(E) -> BootError {
    move |error| BootError { doing, reason: error.to_string() }
}

/// A keeper's run folder, held while its path is not seen any more.
#[derive(Debug)]
struct RunFolder {
    folder: OwnedFd,
    parent: OwnedFd,
    name: String,
    /// Locked as long as the keeper lives.
    lock: OwnedFd,
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl RunFolder {
    fn open(path: &Path) -> Result<Self, BootError> {
        let doing = "open the run folder";
        let folder = rfs::openat(CWD, path, FOLDER, Mode::empty()).map_err(because(doing))?;
        let parent = rfs::openat(&folder, "..", FOLDER, Mode::empty()).map_err(because(doing))?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_string();
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = rfs::openat(&folder, "lock", flags, Mode::from_raw_mode(0o600)).map_err(because(doing))?;
        rfs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(because("lock the run folder, which another keeper has"))?;
        Ok(Self { folder, parent, name, lock })
    }

    /// The socket, bound but not yet listening.
    fn bind(&self) -> Result<OwnedFd, BootError> {
        let doing = "make the control socket";
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(because(doing))?;
        let _ = rfs::unlinkat(&self.folder, "sock", AtFlags::empty());
        // By descriptor: a socket's path has 108 characters at most.
        let path = format!("/proc/self/fd/{}/sock", self.folder.as_raw_fd());
        let address = SocketAddrUnix::new(path).map_err(because(doing))?;
        let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = net::bind(&socket, &address);
        rustix::process::umask(mask);
        bound.map_err(because(doing))?;
        Ok(socket)
    }

    /// Where the journal goes: the run folder if it is in memory, else
    /// /dev/shm if that is, else the run folder all the same.
    fn journal(&self, config: &Config) -> Result<Journal, BootError> {
        let doing = "make the journal";
        let own = self.folder.try_clone().map_err(because(doing))?;
        let _ = rfs::unlinkat(&own, "journal", AtFlags::empty());
        let shm = rfs::openat(CWD, "/dev/shm", FOLDER, Mode::empty()).ok().filter(|shm| is_tmpfs(shm));
        if let (false, Some(shm)) = (is_tmpfs(&own), shm) {
            let name = format!("ardock-{}-k{}-{}", config.engine, config.number, std::process::id());
            let target = format!("/dev/shm/{name}");
            // Made anew (O_EXCL): the folder is everybody's.
            if let Ok(journal) = Journal::create(shm, name) {
                rfs::symlinkat(target, &own, "journal").map_err(because(doing))?;
                return Ok(journal);
            }
        }
        Journal::create(own, "journal".into()).map_err(because(doing))
    }

    fn remove(&self) {
        for name in ["journal", "lock"] {
            let _ = rfs::unlinkat(&self.folder, name, AtFlags::empty());
        }
        let _ = rfs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR);
    }
}

/// The lowest OOM score that is allowed, as its distance from -1000. Lowering
/// it below where it started takes CAP_SYS_RESOURCE.
fn protect_from_oom() -> u64 {
    for above in (0..=1000).step_by(100) {
        if fs::write("/proc/self/oom_score_adj", (above - 1000).to_string()).is_ok() {
            return above as u64;
        }
    }
    1000
}

/// As many descriptors as are allowed.
fn raise_descriptors() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)
}

/// Starts, runs to the end and tidies up. To be called on the main thread
/// while it is the only one.
pub fn run(mut config: Config) -> Result<(), BootError> {
    // SAFETY: the starter has made this descriptor for us, and nothing else
    // in this process, which has just begun, has it.
    let ready = config.ready.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    if let Some(ready) = &ready {
        let _ = rustix::io::fcntl_setfd(ready, rustix::io::FdFlags::CLOEXEC);
    }
    let started = start(&mut config, ready.as_ref());
    if let (Err(error), Some(ready)) = (&started, &ready) {
        let _ = write_all(ready.as_fd(), error.to_string().as_bytes());
    }
    let (mut keeper, run, own) = started?;
    drop(ready);
    keeper.run();
    keeper.end(&run, &own);
    Ok(())
}

fn start(config: &mut Config, ready: Option<&OwnedFd>) -> Result<(Keeper, RunFolder, OwnCgroup), BootError> {
    let _ = rustix::thread::set_name(c"ardock-keeper");
    let _ = rustix::process::setsid();
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(because("become non-dumpable"))?;
    config.oom_score_above_lowest = protect_from_oom();
    let own = OwnCgroup::enter(config);
    let run = RunFolder::open(&config.run)?;
    let listener = run.bind()?;
    let journal = run.journal(config)?;
    let home = HomeConfig { store: Some(config.root.clone()) };
    let home = Home::enter(&home).map_err(because("make the mount namespace"))?;
    home.cgroups().make_parent(&config.cgroup_parent()).map_err(because("make the control groups"))?;
    let slots = Slots::map(SLOTS).map_err(because("map shared memory"))?;
    let mut not_its_own = vec![listener.as_fd(), run.lock.as_fd(), run.folder.as_fd(), run.parent.as_fd()];
    not_its_own.extend(ready.map(AsFd::as_fd));
    // SAFETY: no thread has been made yet.
    let zygote = unsafe { zygote::start(&home, &slots, &not_its_own) }.map_err(because("fork the zygote"))?;
    drop(not_its_own);

    let descriptors = raise_descriptors();
    let wake = Arc::new(Wake::new().map_err(because("make an eventfd"))?);
    let home = Arc::new(home);
    let store = || rfs::openat(CWD, "/store", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok();
    let threads = "start the threads";
    let writers = Writers::start(store(), wake.clone()).map_err(because(threads))?;
    let janitor = Janitor::start(&home, store(), wake.clone()).map_err(because(threads))?;
    let poll = Poll::new().map_err(because("make an epoll"))?;
    net::listen(&listener, 64).map_err(because("listen"))?;
    if let Some(ready) = ready {
        write_all(ready.as_fd(), b"ready").map_err(because("say that it is ready"))?;
    }
    let keeper = Keeper {
        config: config.clone(),
        home,
        poll,
        listener,
        wake,
        connections: Slab::default(),
        units: Slab::default(),
        ids: HashMap::new(),
        taps: Slab::default(),
        orphans: Slab::default(),
        search: None,
        searches_left: 0,
        pool: Pool::new(zygote, slots),
        writers,
        janitor,
        remains: Vec::new(),
        journal,
        recording: VecDeque::new(),
        fresh: Vec::new(),
        held_back: BinaryHeap::new(),
        descriptors: Descriptors::new(descriptors),
        captures: Captures::default(),
        counters: Counters::default(),
        last_seq: 0,
        lingering: 0,
        alone: None,
        buffer: Vec::new(),
    };
    Ok((keeper, run, own))
}

impl Keeper {
    /// Leaves nothing behind.
    fn end(&mut self, run: &RunFolder, own: &OwnCgroup) {
        // First the socket: an engine that comes now starts another keeper.
        let _ = rfs::unlinkat(&run.folder, "sock", AtFlags::empty());
        self.pool.end();
        let _ = self.home.cgroups().remove_parent(&self.config.cgroup_parent());
        own.leave();
        self.journal.remove();
        run.remove();
    }
}

/// Whether the keeper of a run folder lives, by the lock that it holds. A
/// folder without a lock file has none.
pub fn is_alive(run: &Path) -> io::Result<bool> {
    let lock = match rfs::openat(CWD, run.join("lock"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(lock) => lock,
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    match rfs::flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
