//! Control groups, v1 (one folder in each hierarchy) and v2 (one folder),
//! behind one seam.
//!
//! Everything is done by plain writes to cgroupfs, beneath directory
//! descriptors that are opened once. No D-Bus, no systemd: a launch waits for
//! nobody else's work.

mod controllers;
mod devices;
mod files;
mod io;
mod nested;
mod oom;
mod trouble;
mod v1;
mod v2;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{LaunchError, Step};
use crate::spec::Cgroup;

pub use oom::OomWatch;
pub use v1::Hierarchy;
pub use v2::Unified;

/// One mounted cgroup file system, as found in the host's mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `memory`, `cpu,cpuacct`, `unified`, ...: the folder's name beneath `/c`.
    pub name: String,
    /// Its controllers; empty for v2.
    pub controllers: Vec<String>,
    /// Where the host has it.
    pub mountpoint: String,
}

/// The machine's cgroup hierarchies.
#[derive(Debug)]
pub enum Hierarchies {
    /// cgroup v1 or hybrid: those v1 hierarchies that ardock uses.
    V1(Vec<Hierarchy>),
    /// Pure cgroup v2.
    V2(Unified),
}

/// What a launch needs of its control groups.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// `tasks` files into which the child writes "0", in this order (v1).
    pub tasks: Vec<OwnedFd>,
    /// The folder for `CLONE_INTO_CGROUP` (v2).
    pub into: Option<OwnedFd>,
    /// Names beneath `/sys/fs/cgroup` in the container, with the path in the
    /// launcher's namespace that is shown there.
    pub shown: Vec<(String, String)>,
    /// Device rules are enforced.
    pub devices: bool,
}

/// Finds the hierarchies in `/proc/self/mountinfo` text. On a hybrid host the
/// v1 hierarchies count, since the controllers are there.
#[must_use]
pub fn find(mountinfo: &str) -> Vec<Found> {
    let mut v1 = Vec::new();
    let mut v2 = None;
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(mountpoint) = left.split(' ').nth(4) else { continue };
        let mut right = right.split(' ');
        let (kind, options) = (right.next().unwrap_or_default(), right.nth(1).unwrap_or_default());
        match kind {
            "cgroup" => {
                let controllers: Vec<String> =
                    options.split(',').filter(|word| v1::CONTROLLERS.contains(word)).map(String::from).collect();
                if !controllers.is_empty() {
                    v1.push(Found { name: controllers.join(","), controllers, mountpoint: mountpoint.to_owned() });
                }
            }
            "cgroup2" if v2.is_none() => {
                v2 = Some(Found { name: "unified".into(), controllers: Vec::new(), mountpoint: mountpoint.to_owned() });
            }
            _ => {}
        }
    }
    if v1.is_empty() {
        v2.into_iter().collect()
    } else {
        v1.sort_by_key(|found| v1::order(&found.controllers));
        v1.dedup_by(|a, b| a.name == b.name);
        v1
    }
}

/// Whether the kernel takes the BPF programs from this process by which device
/// rules are enforced on v2; the reason where it does not. A container then has
/// no `CAP_MKNOD` and its root is mounted `nodev` (`docs/design.md`, rule 4).
pub fn device_programs() -> Result<(), String> {
    devices::device_programs_work().map_err(|errno| match errno {
        libc::EPERM => "this process may not load BPF programs (CAP_BPF and CAP_NET_ADMIN)".to_owned(),
        libc::EINVAL | libc::ENOSYS => "this kernel has no BPF programs for devices (CONFIG_CGROUP_BPF)".to_owned(),
        errno => format!("a BPF program for devices is refused: {}", std::io::Error::from_raw_os_error(errno)),
    })
}

impl Hierarchies {
    /// Opens the hierarchies that stand at `/c/<name>` of the calling thread's
    /// mount namespace.
    pub fn open(found: &[Found]) -> Result<Self, LaunchError> {
        let directory = |name: &str| {
            let path = format!("/c/{name}");
            open_directory(Path::new(&path))
        };
        if let [Found { controllers, name, .. }] = found {
            if controllers.is_empty() {
                return Ok(Self::V2(Unified::new(directory(name)?)));
            }
        }
        let mut hierarchies = Vec::new();
        for entry in found {
            hierarchies.push(Hierarchy {
                base: directory(&entry.name)?,
                name: entry.name.clone(),
                controllers: entry.controllers.clone(),
            });
        }
        Ok(Self::V1(hierarchies))
    }

    /// 1 or 2.
    #[must_use]
    pub fn version(&self) -> u8 {
        match self {
            Self::V1(_) => 1,
            Self::V2(_) => 2,
        }
    }

    fn bases(&self) -> Vec<&OwnedFd> {
        match self {
            Self::V1(all) => all.iter().map(|hierarchy| &hierarchy.base).collect(),
            Self::V2(unified) => vec![&unified.base],
        }
    }

    /// Makes `parent` (such as `ardock-0123abcd/k1`) in every hierarchy, with
    /// what containers beneath it need. It may exist.
    pub fn make_parent(&self, parent: &str) -> Result<(), LaunchError> {
        check_path(parent)?;
        match self {
            Self::V1(all) => all.iter().try_for_each(|hierarchy| hierarchy.make_parent(parent)),
            Self::V2(unified) => v2::make_parent(&unified.base, parent),
        }
    }

    /// Makes and limits one container's folders; `writable` as the spec has it
    /// for its kernel file systems.
    pub(crate) fn prepare(&self, spec: &Cgroup, writable: bool, joined: &[&OwnedFd]) -> Result<Prepared, LaunchError> {
        check_path(&spec.parent)?;
        check_path(&spec.name)?;
        let mut prepared = match self {
            Self::V1(all) => v1::prepare(all, spec)?,
            Self::V2(unified) => unified.prepare(spec, writable)?,
        };
        for folder in joined {
            let tasks = files::open_write(folder, "tasks")
                .or_else(|_| files::open_write(folder, "cgroup.procs"))
                .map_err(|errno| LaunchError::os(Step::Cgroup, "tasks of the joined control group", errno))?;
            // Before cpu, which stays last: what follows it is throttled.
            let place = prepared.tasks.len().saturating_sub(1);
            prepared.tasks.insert(place, tasks);
        }
        Ok(prepared)
    }

    /// The `tasks` (v1) or `cgroup.procs` (v2) files of a container that runs
    /// already, for a program that joins it. `groups` is /proc/PID/cgroup of
    /// the container's first process.
    pub(crate) fn tasks_of(&self, parent: &str, name: &str, groups: &str) -> Result<Vec<OwnedFd>, LaunchError> {
        check_path(parent)?;
        check_path(name)?;
        match self {
            Self::V1(all) => v1::tasks_of(all, parent, name, groups),
            Self::V2(unified) => {
                let file = format!("{}/cgroup.procs", v2::group_of(groups, &format!("{parent}/{name}")));
                files::open_write(&unified.base, &file)
                    .map(|fd| vec![fd])
                    .map_err(|errno| LaunchError::os(Step::Cgroup, file, errno))
            }
        }
    }

    /// How many processes of the container the kernel has killed for want of
    /// memory. 0 where it has no memory control group.
    #[must_use]
    pub fn oom_kills(&self, parent: &str, name: &str) -> u64 {
        let (base, file) = match self {
            Self::V1(all) => match all.iter().find(|hierarchy| hierarchy.has("memory")) {
                Some(hierarchy) => (&hierarchy.base, "memory.oom_control"),
                None => return 0,
            },
            Self::V2(unified) => (&unified.base, "memory.events"),
        };
        let Ok(text) = files::read(base, &format!("{parent}/{name}/{file}")) else { return 0 };
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Removes what a launch has made for a container. Looks only where it can
    /// have made some: a call that finds nothing takes as long as one that
    /// does. Otherwise as [`Self::remove`].
    pub fn remove_container(&self, parent: &str, name: &str) -> Result<(), LaunchError> {
        let bases = match self {
            Self::V1(all) => {
                all.iter().filter(|hierarchy| hierarchy.limits()).map(|hierarchy| &hierarchy.base).collect()
            }
            Self::V2(unified) => vec![&unified.base],
        };
        Self::remove_in(&bases, parent, name)
    }

    /// Removes a folder in every hierarchy: a container's, one of device rules
    /// or a keeper's. Missing ones are no error; one that still holds a process
    /// is (`EBUSY`): call again later.
    pub fn remove(&self, parent: &str, name: &str) -> Result<(), LaunchError> {
        Self::remove_in(&self.bases(), parent, name)
    }

    fn remove_in(bases: &[&OwnedFd], parent: &str, name: &str) -> Result<(), LaunchError> {
        check_path(parent)?;
        check_path(name)?;
        let mut first = Ok(());
        for base in bases {
            let path = format!("{parent}/{name}");
            match files::rmdir_tree(base, &path) {
                Ok(()) | Err(libc::ENOENT) => {}
                Err(errno) => {
                    first = first.and(Err(LaunchError::os(Step::Cgroup, path, errno)));
                }
            }
        }
        first
    }

    /// [`Self::remove`], and again for as long as `patience` while it is busy: a
    /// process that is dead holds its group until its parent has collected it.
    pub fn remove_patiently(&self, parent: &str, name: &str, patience: Duration) -> Result<(), LaunchError> {
        patiently(patience, || self.remove(parent, name))
    }

    /// Kills every process of a container by one write, which no security
    /// module is asked about. False where control groups are of version 1, or
    /// it fails.
    #[must_use]
    pub fn kill_at_once(&self, parent: &str, name: &str) -> bool {
        let named = check_path(parent).and_then(|()| check_path(name)).is_ok();
        match self {
            Self::V2(unified) if named => {
                files::write(&unified.base, &format!("{parent}/{name}/cgroup.kill"), "1").is_ok()
            }
            _ => false,
        }
    }

    /// Sends SIGKILL to every process of a container, and goes on until none
    /// is left or a second has passed. Returns how many were seen.
    pub fn kill(&self, parent: &str, name: &str) -> Result<usize, LaunchError> {
        check_path(parent)?;
        check_path(name)?;
        let folder = format!("{parent}/{name}");
        if let Self::V2(unified) = self {
            // One write kills all of them, forks under way included.
            if files::write(&unified.base, &format!("{folder}/cgroup.kill"), "1").is_ok() {
                return Ok(files::count_procs(&unified.base, &folder));
            }
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut seen = 0;
        loop {
            let mut alive = 0;
            for base in self.bases() {
                for pid in files::procs_below(base, &folder) {
                    alive += 1;
                    files::kill(pid);
                }
            }
            seen = seen.max(alive);
            if alive == 0 || Instant::now() > deadline {
                return Ok(seen);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// [`Self::remove_parent`], and again for as long as `patience` while
    /// something in it is busy.
    pub fn remove_parent_patiently(&self, parent: &str, patience: Duration) -> Result<(), LaunchError> {
        patiently(patience, || self.remove_parent(parent))
    }

    /// Removes `parent` and whatever folders are left beneath it (the device
    /// groups of [`v1`], containers that are gone).
    pub fn remove_parent(&self, parent: &str) -> Result<(), LaunchError> {
        check_path(parent)?;
        let mut first = Ok(());
        for base in self.bases() {
            for child in files::folders(base, parent) {
                let _busy = files::rmdir_tree(base, &format!("{parent}/{child}"));
            }
            match files::rmdir(base, parent) {
                Ok(()) | Err(libc::ENOENT) => {}
                Err(errno) => first = first.and(Err(LaunchError::os(Step::Cgroup, parent, errno))),
            }
        }
        first
    }

    /// Names of the folders beneath `parent`, of all hierarchies together.
    #[must_use]
    pub fn children(&self, parent: &str) -> Vec<String> {
        let mut names: Vec<String> = self.bases().into_iter().flat_map(|base| files::folders(base, parent)).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Pause between two attempts at a busy group: a parent collects within it,
/// unless the machine is overloaded.
const PAUSE: Duration = Duration::from_millis(5);

fn patiently(patience: Duration, remove: impl Fn() -> Result<(), LaunchError>) -> Result<(), LaunchError> {
    let deadline = Instant::now() + patience;
    loop {
        match remove() {
            Err(error) if error.errno == libc::EBUSY && Instant::now() < deadline => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
}

/// Only plain names separated by single slashes: what is made here must lie
/// beneath the hierarchy's root.
fn check_path(path: &str) -> Result<(), LaunchError> {
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if path.len() <= 255 && path.split('/').all(plain) {
        Ok(())
    } else {
        Err(LaunchError::because(
            Step::Spec,
            format!("control group {path:?}"),
            "a name may hold letters, digits, '-', '_' and '.' only",
        ))
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, LaunchError> {
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
        .open(path)
        .map(|file: File| OwnedFd::from(file))
        .map_err(|error| LaunchError::os(Step::Cgroup, path.display().to_string(), error.raw_os_error().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 20 0:20 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:21 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
32 30 0:22 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:23 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
34 30 0:24 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn a_hybrid_host_counts_as_v1_with_memory_first_and_cpu_last() {
        let names: Vec<String> = find(HYBRID).into_iter().map(|found| found.name).collect();
        assert_eq!(names, ["memory", "cpu"]);
    }

    #[test]
    fn a_host_with_only_the_unified_hierarchy_counts_as_v2() {
        let found = find("31 30 0:21 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].controllers.is_empty());
    }

    #[test]
    fn joined_controllers_are_one_hierarchy() {
        let found = find("31 30 0:21 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n");
        assert_eq!(found[0].name, "cpu,cpuacct");
        assert_eq!(found[0].controllers, ["cpu", "cpuacct"]);
    }

    #[test]
    fn a_name_that_leaves_the_hierarchy_is_refused() {
        for bad in ["", "..", "a/../b", "/a", "a//b", "a b", "a/"] {
            assert!(check_path(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(check_path("ardock-01234567/k1").is_ok());
    }
}
