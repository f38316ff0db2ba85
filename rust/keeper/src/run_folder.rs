//! A keeper's run folder: its socket, its lock, its journal.
//!
//! | name | what |
//! |---|---|
//! | `sock` | the control socket, mode 0600 |
//! | `lock` | locked (flock) as long as the keeper lives |
//! | `journal` | see [`crate::journal`]; a link to a file in /dev/shm where the folder is on a disk |

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{self as rfs, AtFlags, FlockOperation, Mode, OFlags, CWD};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::boot::{because, BootError};
use crate::config::Config;
use crate::store::{is_tmpfs, Journal};

/// A keeper's run folder, held while its path is not seen any more.
#[derive(Debug)]
pub struct RunFolder {
    folder: OwnedFd,
    parent: OwnedFd,
    name: String,
    /// Locked as long as the keeper lives.
    lock: OwnedFd,
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl RunFolder {
    /// Opens and locks it.
    pub fn open(path: &Path) -> Result<Self, BootError> {
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
    pub fn bind(&self) -> Result<OwnedFd, BootError> {
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
    pub fn journal(&self, config: &Config) -> Result<Journal, BootError> {
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

    /// What no process but the keeper itself is to hold: the lock, above all.
    #[must_use]
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.folder.as_fd(), self.parent.as_fd(), self.lock.as_fd()]
    }

    /// Whether nobody can find it any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        rfs::fstat(&self.folder).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Takes the socket away.
    pub fn close(&self) {
        let _ = rfs::unlinkat(&self.folder, "sock", AtFlags::empty());
    }

    /// Removes it.
    pub fn remove(&self) {
        for name in ["journal", "lock"] {
            let _ = rfs::unlinkat(&self.folder, name, AtFlags::empty());
        }
        let _ = rfs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR);
    }
}

/// Whether the keeper of a run folder lives, by the lock that it holds. A
/// folder without a lock file has none.
pub fn is_alive(run: &Path) -> io::Result<bool> {
    let lock = match rfs::openat(CWD, run.join("lock"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(lock) => lock,
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    match rfs::flock(&lock, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Removes the run folder of a dead keeper, its journal included, once that is
/// read and what it tells is safe. A living keeper's is refused (`EBUSY`).
pub fn tidy(run: &Path) -> io::Result<()> {
    if is_alive(run)? {
        return Err(Errno::BUSY.into());
    }
    let journal = run.join("journal");
    if let Ok(target) = std::fs::read_link(&journal) {
        // The run folder is root's alone, but /dev/shm is everybody's: only a
        // root's file of our name goes.
        let ours = target.parent() == Some(Path::new("/dev/shm"))
            && target.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ardock-"))
            && target.symlink_metadata().is_ok_and(|data| data.is_file() && data.uid() == 0);
        if ours {
            std::fs::remove_file(&target)?;
        }
    }
    for name in ["sock", "journal", "journal.new", "lock"] {
        match std::fs::remove_file(run.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match std::fs::remove_dir(run) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
