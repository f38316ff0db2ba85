//! What is left of a container once its exit is told: its mount namespace,
//! its control groups, its scratch directory; and of an engine, the root file
//! systems that it brought. None of it is on anybody's path,
//! all of it is bounded: when too much is dying, launches wait.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ardock_launch::Home;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use crate::wake::Wake;

/// Threads. They mostly wait for the kernel (a namespace's last reference
/// waits for RCU), so there are more of them than processors.
pub const THREADS: usize = 3;
/// Launches wait while more than this many containers are being tidied away.
/// Dying namespaces and control groups cost memory, and slow every new one.
pub const MAX_DYING: usize = 512;
/// Pauses between attempts at a control group that is still busy, doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// After so many attempts (some 10 minutes) a folder is given up and counted;
/// the engine finds it when it next tidies.
const MAX_ATTEMPTS: u32 = 300;

/// What is to be tidied away.
#[derive(Debug, Default)]
pub struct Remains {
    /// Let go of.
    pub mount_ns: Option<OwnedFd>,
    /// Parent and name; removed.
    pub cgroup: Option<(String, String)>,
    /// Kill what is left in the control group first: its process id namespace
    /// did not end with it.
    pub kill: bool,
    /// Directory below `/store/scratch`, removed with all in it.
    pub scratch: Option<String>,
    /// A root file system, by its key; let go of.
    pub root: Option<u32>,
}

impl Remains {
    /// Nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.mount_ns.is_none() && self.cgroup.is_none() && self.scratch.is_none() && self.root.is_none()
    }
}

#[derive(Debug)]
struct Task {
    remains: Remains,
    attempts: u32,
    not_before: Option<Instant>,
}

#[derive(Debug, Default)]
struct Queue {
    ready: VecDeque<Task>,
    later: Vec<Task>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    some: Condvar,
    dying: AtomicUsize,
    given_up: AtomicU64,
    /// The loop is to be woken when no more than so many are dying; -1: not.
    awaited: AtomicIsize,
    wake: Arc<Wake>,
}

/// The janitors, from the loop's side.
#[derive(Debug)]
pub struct Janitor {
    shared: Arc<Shared>,
}

impl Janitor {
    /// Starts the threads. They share the keeper's mount namespace.
    pub fn start(home: &Arc<Home>, store: Option<OwnedFd>, wake: Arc<Wake>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            some: Condvar::new(),
            dying: AtomicUsize::new(0),
            given_up: AtomicU64::new(0),
            awaited: AtomicIsize::new(-1),
            wake,
        });
        let store = store.map(Arc::new);
        for _ in 0..THREADS {
            let (shared, home, store) = (shared.clone(), home.clone(), store.clone());
            thread::Builder::new()
                .name("ardock-janitor".into())
                .stack_size(256 * 1024)
                .spawn(move || run(&shared, &home, store.as_deref()))?;
        }
        Ok(Self { shared })
    }

    /// Hands over what a wake-up has left.
    pub fn take(&self, remains: Vec<Remains>) {
        if remains.is_empty() {
            return;
        }
        self.shared.dying.fetch_add(remains.len(), Ordering::AcqRel);
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let one = remains.len() == 1;
        let tasks = remains.into_iter().map(|remains| Task { remains, attempts: 0, not_before: None });
        queue.ready.extend(tasks);
        drop(queue);
        if one {
            self.shared.some.notify_one();
        } else {
            self.shared.some.notify_all();
        }
    }

    /// How many containers are being tidied away.
    #[must_use]
    pub fn dying(&self) -> usize {
        self.shared.dying.load(Ordering::Acquire)
    }

    /// Whether more than `most` are dying. If so, the loop is woken when it is
    /// no longer so.
    #[must_use]
    pub fn has_more_than(&self, most: usize) -> bool {
        if self.dying() <= most {
            return false;
        }
        self.shared.awaited.store(most as isize, Ordering::SeqCst);
        self.shared.dying.load(Ordering::SeqCst) > most
    }

    /// How many control groups or scratch directories were given up.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.shared.given_up.load(Ordering::Relaxed)
    }
}

fn next(shared: &Shared) -> Task {
    let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let now = Instant::now();
        if let Some(at) = queue.later.iter().position(|task| task.not_before.is_none_or(|time| time <= now)) {
            return queue.later.swap_remove(at);
        }
        if let Some(task) = queue.ready.pop_front() {
            return task;
        }
        let soonest = queue.later.iter().filter_map(|task| task.not_before).min();
        queue = match soonest {
            None => shared.some.wait(queue).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let pause = time.saturating_duration_since(now);
                shared.some.wait_timeout(queue, pause).unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

fn run(shared: &Shared, home: &Home, store: Option<&OwnedFd>) {
    loop {
        let mut task = next(shared);
        if tidy(&mut task.remains, home, store) {
            finish(shared);
            continue;
        }
        task.attempts += 1;
        if task.attempts > MAX_ATTEMPTS {
            shared.given_up.fetch_add(1, Ordering::Relaxed);
            finish(shared);
            continue;
        }
        let pause = (FIRST_PAUSE * 2_u32.pow(task.attempts.min(12))).min(LONGEST_PAUSE);
        task.not_before = Some(Instant::now() + pause);
        shared.queue.lock().unwrap_or_else(PoisonError::into_inner).later.push(task);
    }
}

fn finish(shared: &Shared) {
    let left = shared.dying.fetch_sub(1, Ordering::SeqCst) as isize - 1;
    let awaited = shared.awaited.load(Ordering::SeqCst);
    if left <= awaited && shared.awaited.swap(-1, Ordering::SeqCst) >= 0 {
        shared.wake.ring();
    }
}

/// One attempt; what is done is taken out of `remains`.
fn tidy(remains: &mut Remains, home: &Home, store: Option<&OwnedFd>) -> bool {
    // First the namespace: it may hold mounts of the scratch directory.
    drop(remains.mount_ns.take());
    if let Some(root) = remains.root.take() {
        // It fails only where there is none.
        let _ = home.remove_root(root);
    }
    let mut done = true;
    if let Some((parent, name)) = &remains.cgroup {
        if remains.kill {
            let _ = home.cgroups().kill(parent, name);
        }
        if home.cgroups().remove_container(parent, name).is_ok() {
            remains.cgroup = None;
        } else {
            done = false;
        }
    }
    if let Some(scratch) = &remains.scratch {
        match store.map(|store| remove_tree(store, scratch)) {
            Some(Err(_)) => done = false,
            Some(Ok(())) | None => remains.scratch = None,
        }
    }
    done
}

/// Directories deeper than this are first moved up: each level of the walk
/// holds a descriptor and a stack frame, and a container nests as it likes.
const MAX_DEPTH: u32 = 100;

/// Removes a directory beneath the store with all in it, following no link.
pub fn remove_tree(store: impl AsFd, path: &str) -> Result<(), Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match fs::openat2(store, parent, flags, Mode::empty(), resolve) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut moved = 0;
    loop {
        match remove_in(&parent, OsStr::new(name), 0, None, &mut moved) {
            // What was moved up came after the walk had read its new place.
            Err(Errno::NOTEMPTY | Errno::EXIST) if moved > 0 => moved = 0,
            result => return result,
        }
    }
}

fn remove_in(parent: &OwnedFd, name: &OsStr, depth: u32, top: Option<&OwnedFd>, moved: &mut u32) -> Result<(), Errno> {
    match fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR) => return fs::unlinkat(parent, name, AtFlags::empty()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    if let (true, Some(top)) = (depth >= MAX_DEPTH, top) {
        *moved += 1;
        return match fs::renameat_with(parent, name, top, format!("deep-{moved}"), RenameFlags::NOREPLACE) {
            // The container has made a file of that name: the next one.
            Err(Errno::EXIST) => remove_in(parent, name, depth, Some(top), moved),
            result => result,
        };
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = fs::openat(parent, name, flags, Mode::empty())?;
    let mut entries = fs::Dir::read_from(&folder)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        if entry.file_name() == c"." || entry.file_name() == c".." {
            continue;
        }
        let entry_name = OsStr::from_bytes(entry.file_name().to_bytes());
        if entry.file_type() != FileType::Directory && fs::unlinkat(&folder, entry_name, AtFlags::empty()).is_ok() {
            continue;
        }
        remove_in(&folder, entry_name, depth + 1, Some(top.unwrap_or(&folder)), moved)?;
    }
    fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_goes_without_following_links() {
        let top = std::env::temp_dir().join(format!("ardock-janitor-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&top);
        std::fs::create_dir_all(top.join("scratch/c1/upper/a/b/c")).unwrap();
        std::fs::create_dir_all(top.join("kept")).unwrap();
        std::fs::write(top.join("kept/file"), "x").unwrap();
        std::fs::write(top.join("scratch/c1/upper/a/file"), "x").unwrap();
        std::os::unix::fs::symlink(top.join("kept"), top.join("scratch/c1/upper/link")).unwrap();
        std::os::unix::fs::symlink(top.join("kept"), top.join("scratch/c2")).unwrap();
        let store = fs::open(&top, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        // Deeper than a walk may hold, and than a path may be long.
        let mut deep = fs::open(top.join("scratch/c1"), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..1000 {
            fs::mkdirat(&deep, "d", Mode::RWXU).unwrap();
            fs::mkdirat(&deep, "deep-1", Mode::RWXU).unwrap();
            deep = fs::openat(&deep, "d", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        remove_tree(&store, "scratch/c1").unwrap();
        remove_tree(&store, "scratch/c2").unwrap();
        remove_tree(&store, "scratch/c3").unwrap();
        assert!(!top.join("scratch/c1").exists());
        assert!(top.join("scratch/c2").symlink_metadata().is_err());
        assert!(top.join("kept/file").exists());
        assert!(remove_tree(&store, "../x").is_err());
        std::fs::remove_dir_all(top).unwrap();
    }
}
