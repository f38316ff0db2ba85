//! The keeper's own control group, in each hierarchy of the host's:
//! `ardock-<engine id>/keeper-<number>`. In its starter's it would count
//! against that one's limits and be killed with it.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{openat, Mode, OFlags, CWD};

use crate::config::Config;
use crate::packet::write_all;
use std::os::fd::{AsFd, OwnedFd};

/// A hierarchy that the keeper has entered.
#[derive(Debug)]
struct Entered {
    /// The hierarchy's root, since the host's paths are not seen later.
    base: OwnedFd,
}

/// See the module.
#[derive(Debug)]
pub struct OwnCgroup {
    entered: Vec<Entered>,
    engine: String,
    name: String,
}

fn put(base: &OwnedFd, path: &str, value: &str) -> bool {
    let file = openat(base, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    file.is_ok_and(|file| write_all(file.as_fd(), value.as_bytes()).is_ok())
}

fn get(base: &Path, path: &str) -> Option<String> {
    fs::read_to_string(base.join(path)).ok()
}

/// The mount points of cgroup hierarchies that show their whole tree.
fn hierarchies(mountinfo: &str) -> Vec<PathBuf> {
    let lines = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let kind = right.split(' ').next()?;
        let mut fields = left.split(' ').skip(3);
        let (root, mountpoint) = (fields.next()?, fields.next()?);
        (matches!(kind, "cgroup" | "cgroup2") && root == "/").then(|| PathBuf::from(mountpoint))
    });
    lines.collect()
}

impl OwnCgroup {
    /// Enters wherever it can; where it can not, the keeper stays where its
    /// starter is. To be called while there is one thread.
    #[must_use]
    pub fn enter(config: &Config) -> Self {
        let (engine, name) = (config.engine_cgroup(), format!("keeper-{}", config.number));
        let own = format!("{engine}/{name}");
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut entered = Vec::new();
        for path in hierarchies(&mountinfo) {
            let _ = fs::create_dir(path.join(&engine));
            let _ = fs::create_dir(path.join(&own));
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(base) = openat(CWD, &path, flags, Mode::empty()) else { continue };
            // A v1 cpuset takes nobody before it has processors and memory.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                for folder in [&engine, &own] {
                    let empty = get(&path, &format!("{folder}/{file}")).is_some_and(|value| value.trim().is_empty());
                    if let (true, Some(value)) = (empty, get(&path, file)) {
                        put(&base, &format!("{folder}/{file}"), value.trim());
                    }
                }
            }
            // A task that moves itself, alone, spares the machine the lock
            // that `cgroup.procs` takes. Only v1 has the file.
            if put(&base, &format!("{own}/tasks"), "0") || put(&base, &format!("{own}/cgroup.procs"), "0") {
                entered.push(Entered { base });
            }
        }
        Self { entered, engine, name }
    }

    /// Goes to the hierarchies' roots and removes what is then empty. The
    /// process is about to end, and has no other left of its own.
    pub fn leave(&self) {
        for Entered { base } in &self.entered {
            let own = format!("{}/{}", self.engine, self.name);
            put(base, "cgroup.procs", "0");
            let _ = rustix::fs::unlinkat(base, own.as_str(), rustix::fs::AtFlags::REMOVEDIR);
            let _ = rustix::fs::unlinkat(base, self.engine.as_str(), rustix::fs::AtFlags::REMOVEDIR);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_whole_hierarchies_are_found() {
        let mountinfo = "\
30 29 0:26 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
31 29 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 29 0:28 /docker/x /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
33 29 0:29 / /tmp rw - tmpfs tmpfs rw";
        let found: Vec<_> = super::hierarchies(mountinfo).into_iter().map(|path| path.display().to_string()).collect();
        assert_eq!(found, ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"]);
    }
}
