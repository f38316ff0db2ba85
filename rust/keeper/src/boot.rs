#![allow(unsafe_code)]
//! From a fresh process to a running keeper.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fmt::Display;
use std::fs;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use ardock_launch::{Home, HomeConfig, Slots};
use rustix::fs::{Mode, OFlags, CWD};
use rustix::net;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use crate::config::Config;
use crate::core::{Captures, Counters, Descriptors, Keeper};
use crate::janitor::Janitor;
use crate::own_cgroup::OwnCgroup;
use crate::packet::write_all;
use crate::poll::Poll;
use crate::pool::{Pool, SLOTS};
use crate::roots::Roots;
pub use crate::run_folder::is_alive;
use crate::run_folder::RunFolder;
use crate::slab::Slab;
use crate::wake::Wake;
use crate::writers::Writers;
use crate::zygote;

/// How long an ending keeper waits for its control groups to become empty.
const LAST_GROUPS: Duration = Duration::from_secs(5);

/// Why a keeper could not start: what it was doing, and the reason.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {reason}")]
pub struct BootError {
    pub(crate) doing: &'static str,
    pub(crate) reason: String,
}

pub(crate) fn because<E: Display>(doing: &'static str) -> impl FnOnce(E) -> BootError {
    move |error| BootError { doing, reason: error.to_string() }
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
    let (mut keeper, own) = started?;
    drop(ready);
    keeper.run();
    keeper.end(&own);
    Ok(())
}

fn start(config: &mut Config, ready: Option<&OwnedFd>) -> Result<(Keeper, OwnCgroup), BootError> {
    let _ = rustix::thread::set_name(c"ardock-keeper");
    let _ = rustix::process::setsid();
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(because("become non-dumpable"))?;
    config.oom_score_above_lowest = protect_from_oom();
    let own = OwnCgroup::enter(config);
    let run = RunFolder::open(&config.run)?;
    let listener = run.bind()?;
    let journal = run.journal(config)?;
    let equipped = (|| {
        let home = HomeConfig { store: Some(config.root.clone()), absent: config.absent };
        let home = Home::enter(&home).map_err(because("make the mount namespace"))?;
        home.cgroups().make_parent(&config.cgroup_parent()).map_err(because("make the control groups"))?;
        let slots = Slots::map(SLOTS).map_err(because("map shared memory"))?;
        let mut not_its_own = vec![listener.as_fd()];
        not_its_own.extend(run.descriptors());
        not_its_own.extend(ready.map(AsFd::as_fd));
        // SAFETY: no thread has been made yet.
        let zygote =
            unsafe { zygote::start(&home, &slots, config, &not_its_own) }.map_err(because("fork the zygote"))?;
        drop(not_its_own);

        let descriptors = raise_descriptors();
        let wake = Arc::new(Wake::new().map_err(because("make an eventfd"))?);
        let home = Arc::new(home);
        let store = || {
            rustix::fs::openat(CWD, "/store", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
        };
        let threads = "start the threads";
        let writers = Writers::start(store(), wake.clone()).map_err(because(threads))?;
        let janitor = Janitor::start(&home, store(), wake.clone()).map_err(because(threads))?;
        let poll = Poll::new().map_err(because("make an epoll"))?;
        net::listen(&listener, 64).map_err(because("listen"))?;
        if let Some(ready) = ready {
            write_all(ready.as_fd(), b"ready").map_err(because("say that it is ready"))?;
        }
        Ok((home, slots, zygote, descriptors, wake, writers, janitor, poll))
    })();
    let (home, slots, zygote, descriptors, wake, writers, janitor, poll) = match equipped {
        Ok(equipment) => equipment,
        Err(error) => {
            // Nobody looks for what a keeper that never served has written.
            journal.remove();
            run.close();
            run.remove();
            return Err(error);
        }
    };
    let keeper = Keeper {
        config: config.clone(),
        run_folder: run,
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
        roots: Roots::default(),
        looks: Vec::new(),
        journal,
        recording: VecDeque::new(),
        fresh: Vec::new(),
        held_back: BinaryHeap::new(),
        descriptors: Descriptors::new(descriptors),
        captures: Captures::default(),
        counters: Counters::default(),
        last_seq: 0,
        lingering: 0,
        served: false,
        alone: None,
        next_look: None,
        buffer: Vec::new(),
    };
    Ok((keeper, own))
}

impl Keeper {
    /// Leaves nothing behind.
    fn end(&mut self, own: &OwnCgroup) {
        // First the socket: an engine that comes now starts another keeper.
        self.run_folder.close();
        self.pool.end();
        self.remove_groups();
        own.leave();
        self.journal.remove();
        self.run_folder.remove();
    }

    /// A process that is dead holds its group until it has been collected: a
    /// launcher just ended by us, or an orphan by init. Nobody waits for this
    /// keeper any more, so it takes its time, but not for ever.
    fn remove_groups(&self) {
        let _left_to_the_next_engine =
            self.home.cgroups().remove_parent_patiently(&self.config.cgroup_parent(), LAST_GROUPS);
    }
}
