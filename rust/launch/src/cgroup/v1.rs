//! cgroup v1: a folder for the container in each hierarchy that limits it.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{files, io, trouble, Prepared};
use crate::error::{LaunchError, Step};
use crate::spec::{Cgroup, DeviceRule, Io, Resources};

/// Controllers that ardock uses, in the order in which a child enters them:
/// memory first, so that what the launch allocates is the container's; cpu
/// last, because a small quota throttles all that follows (DESIGN 3.4).
pub(super) const CONTROLLERS: &[&str] = &["memory", "pids", "devices", "cpuset", "blkio", "freezer", "cpuacct", "cpu"];

/// A hierarchy's place in that order.
pub(super) fn order(controllers: &[String]) -> usize {
    CONTROLLERS
        .iter()
        .enumerate()
        .filter(|(_, name)| controllers.iter().any(|controller| controller == *name))
        .map(|(place, _)| place)
        .max()
        .unwrap_or(usize::MAX)
}

/// One mounted v1 hierarchy.
#[derive(Debug)]
pub struct Hierarchy {
    pub(super) base: OwnedFd,
    pub(super) name: String,
    pub(super) controllers: Vec<String>,
}

type Writes = Vec<(&'static str, String)>;

impl Hierarchy {
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// Containers may have folders of their own here, see [`Self::writes`].
    pub(super) fn limits(&self) -> bool {
        ["memory", "pids", "cpuset", "blkio", "cpu"].into_iter().any(|controller| self.has(controller))
    }

    pub(super) fn make_parent(&self, parent: &str) -> Result<(), LaunchError> {
        let failed = |errno| LaunchError::os(Step::Cgroup, format!("{}:{parent}", self.name), errno);
        files::mkdir_all(&self.base, parent)
            .map_err(|errno| trouble::make(&format!("{}:{parent}", self.name), errno))?;
        if self.has("cpuset") {
            // A new cpuset is empty and takes no task: each level gets what
            // the level above it has.
            let mut above = String::new();
            for part in parent.split('/') {
                let level = if above.is_empty() { part.to_owned() } else { format!("{above}/{part}") };
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let from = if above.is_empty() { file.to_owned() } else { format!("{above}/{file}") };
                    let value = files::read(&self.base, &from).map_err(failed)?;
                    files::write(&self.base, &format!("{level}/{file}"), value.trim()).map_err(failed)?;
                }
                above = level;
            }
        }
        Ok(())
    }

    /// The weights and rates of block devices, if they are set here.
    fn io<'a>(&self, resources: &'a Resources) -> Option<&'a Io> {
        resources.io.as_ref().filter(|_| self.has("blkio"))
    }

    /// What is written into this hierarchy's folder, in order; `None`: the
    /// container gets no folder here.
    fn writes(&self, resources: &Resources) -> Option<Writes> {
        let mut writes = Writes::new();
        let mut put = |file, value: Option<String>| {
            if let Some(value) = value {
                writes.push((file, value));
            }
        };
        if self.has("memory") {
            put("memory.limit_in_bytes", resources.memory.map(|bytes| bytes.to_string()));
            put("memory.memsw.limit_in_bytes", resources.memory_swap.map(|bytes| bytes.to_string()));
            put("memory.soft_limit_in_bytes", resources.memory_reservation.map(|bytes| bytes.to_string()));
        }
        if self.has("pids") {
            put("pids.max", resources.pids.map(|n| if n < 0 { "max".to_owned() } else { n.to_string() }));
        }
        if self.has("cpuset") && (resources.cpuset_cpus.is_some() || resources.cpuset_mems.is_some()) {
            put("cpuset.cpus", resources.cpuset_cpus.clone());
            put("cpuset.mems", resources.cpuset_mems.clone());
        }
        if self.has("cpu") {
            put("cpu.cfs_period_us", resources.cpu_period.map(|us| us.to_string()));
            put("cpu.cfs_quota_us", resources.cpu_quota.map(|us| us.to_string()));
            put("cpu.shares", resources.cpu_shares.map(|shares| shares.to_string()));
        }
        (!writes.is_empty() || self.io(resources).is_some()).then_some(writes)
    }

    /// The container's folder. One that exists is another container's.
    fn make(&self, spec: &Cgroup) -> Result<(), LaunchError> {
        let folder = format!("{}/{}", spec.parent, spec.name);
        files::mkdir(&self.base, &folder).map_err(|errno| trouble::make(&format!("{}:{folder}", self.name), errno))
    }

    /// Limits it; returns its `tasks` file.
    fn limit(&self, spec: &Cgroup, writes: &Writes) -> Result<OwnedFd, LaunchError> {
        let folder = format!("{}/{}", spec.parent, spec.name);
        let failed = |what: String| move |errno| LaunchError::os(Step::Cgroup, what, errno);
        if self.has("cpuset") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if !writes.iter().any(|(name, _)| *name == file) {
                    let above = files::read(&self.base, &format!("{}/{file}", spec.parent))
                        .map_err(failed(format!("{}/{file}", spec.parent)))?;
                    files::write(&self.base, &format!("{folder}/{file}"), above.trim())
                        .map_err(failed(format!("{folder}/{file}")))?;
                }
            }
        }
        for (file, value) in writes {
            files::write(&self.base, &format!("{folder}/{file}"), value).map_err(|errno| {
                let error = LaunchError::os(Step::Cgroup, format!("{file} = {value}"), errno);
                match (*file, errno) {
                    ("memory.memsw.limit_in_bytes", libc::ENOENT) => error.hint(
                        "this kernel does not account swap (boot it with swapaccount=1), leave --memory-swap out",
                    ),
                    _ => error,
                }
            })?;
        }
        if let Some(io) = self.io(&spec.resources) {
            let (weights, rates) = io::v1(io);
            io::set(weights, rates, |file, value| files::write(&self.base, &format!("{folder}/{file}"), value))?;
        }
        let tasks = format!("{folder}/tasks");
        files::open_write(&self.base, &tasks).map_err(failed(tasks.clone()))
    }

    /// One folder for each distinct set of device rules, shared by all
    /// containers that have it. It appears under its name only when its rules
    /// stand, since another launcher may be making the same one.
    fn devices(&self, parent: &str, rules: &[DeviceRule]) -> Result<OwnedFd, LaunchError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = format!("{parent}/devices-{:016x}", fingerprint(rules));
        let tasks = format!("{folder}/tasks");
        if let Ok(found) = files::open_write(&self.base, &tasks) {
            return Ok(found);
        }
        // A launcher may have threads that launch (a Python process).
        let making = format!("{folder}.{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let failed = |errno| LaunchError::os(Step::Cgroup, format!("{}:{folder}", self.name), errno);
        files::mkdir(&self.base, &making).map_err(failed)?;
        for rule in rules {
            let file = if rule.allow { "devices.allow" } else { "devices.deny" };
            let line = rule_line(rule);
            if let Err(errno) = files::write(&self.base, &format!("{making}/{file}"), &line) {
                let _left = files::rmdir(&self.base, &making);
                return Err(LaunchError::os(Step::Cgroup, format!("{file} = {line}"), errno));
            }
        }
        if let Err(error) = rustix::fs::renameat(&self.base, &making, &self.base, &folder) {
            let _left = files::rmdir(&self.base, &making);
            if error != rustix::io::Errno::EXIST {
                return Err(failed(error.raw_os_error()));
            }
        }
        files::open_write(&self.base, &tasks).map_err(failed)
    }
}

/// Devices' kernel form: `c 1:3 rwm`; a rule on everything is `a`.
pub(super) fn rule_line(rule: &DeviceRule) -> String {
    let number = |part: Option<u32>| part.map_or_else(|| "*".to_owned(), |number| number.to_string());
    if rule.kind == 'a' {
        "a".to_owned()
    } else {
        format!("{} {}:{} {}", rule.kind, number(rule.major), number(rule.minor), rule.access)
    }
}

/// FNV-1a of the rules' lines: a name, not a secret; two sets that differ
/// would have to be made on purpose to collide, by the engine itself.
fn fingerprint(rules: &[DeviceRule]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for rule in rules {
        for byte in [u8::from(rule.allow)].into_iter().chain(rule_line(rule).into_bytes()).chain([b'\n']) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// Makes and limits the container's folders; on failure none is left.
pub(super) fn prepare(all: &[Hierarchy], spec: &Cgroup) -> Result<Prepared, LaunchError> {
    let mut prepared = Prepared::default();
    let mut made: Vec<&Hierarchy> = Vec::new();
    let outcome = (|| {
        unsupported(all, &spec.resources)?;
        for hierarchy in all {
            if hierarchy.has("devices") {
                if let Some(rules) = &spec.resources.devices {
                    prepared.tasks.push(hierarchy.devices(&spec.parent, rules)?);
                    prepared.devices = true;
                }
            }
            let Some(writes) = hierarchy.writes(&spec.resources) else { continue };
            hierarchy.make(spec)?;
            made.push(hierarchy);
            prepared.tasks.push(hierarchy.limit(spec, &writes)?);
            let folder = format!("/c/{}/{}/{}", hierarchy.name, spec.parent, spec.name);
            prepared.shown.push((hierarchy.name.clone(), folder));
        }
        Ok(())
    })();
    match outcome {
        Ok(()) => Ok(prepared),
        Err(error) => {
            for hierarchy in made {
                let _kept_by_the_first_error = files::rmdir(&hierarchy.base, &format!("{}/{}", spec.parent, spec.name));
            }
            Err(error)
        }
    }
}

/// A limit whose controller is not there is refused, never ignored.
fn unsupported(all: &[Hierarchy], resources: &Resources) -> Result<(), LaunchError> {
    for (name, wanted) in [("memory.high", resources.memory_high.is_some()), ("memory.oom.group", resources.oom_group)]
    {
        if wanted {
            return Err(LaunchError::because(
                Step::Cgroup,
                name,
                "control groups of version 1 have nothing like it, and this host's are; leave it out",
            ));
        }
    }
    let asked = [
        (
            "memory",
            resources.memory.is_some() || resources.memory_swap.is_some() || resources.memory_reservation.is_some(),
        ),
        ("pids", resources.pids.is_some()),
        ("cpuset", resources.cpuset_cpus.is_some() || resources.cpuset_mems.is_some()),
        ("blkio", resources.io.is_some()),
        ("cpu", resources.cpu_quota.is_some() || resources.cpu_period.is_some() || resources.cpu_shares.is_some()),
    ];
    for (controller, wanted) in asked {
        if wanted && !all.iter().any(|hierarchy| hierarchy.has(controller)) {
            return Err(LaunchError::because(
                Step::Cgroup,
                format!("limit of the {controller} controller"),
                format!(
                    "no {controller} hierarchy is mounted on this host: leave the limit out; ardock doctor says how to \
                     have it"
                ),
            ));
        }
    }
    Ok(())
}

/// The `tasks` files of a running container, in the order of entering.
/// `groups` is /proc/PID/cgroup of its first process: the group of its device
/// rules is shared by all containers that have the same and is found there.
pub(super) fn tasks_of(all: &[Hierarchy], parent: &str, name: &str, groups: &str) -> Result<Vec<OwnedFd>, LaunchError> {
    let mut tasks = Vec::new();
    for hierarchy in all {
        let folder = if hierarchy.has("devices") {
            match group_of(groups, &hierarchy.controllers) {
                Some(group) => group.to_owned(),
                // Not to be guessed: outside of it, every device is open.
                None => {
                    return Err(LaunchError::because(
                        Step::Cgroup,
                        "of the container's device rules",
                        "it is not found in /proc; has the container ended?",
                    ));
                }
            }
        } else {
            format!("{parent}/{name}")
        };
        let file = format!("{folder}/tasks");
        match files::open_write(&hierarchy.base, file.trim_start_matches('/')) {
            Ok(fd) => tasks.push(fd),
            Err(libc::ENOENT) if !hierarchy.has("devices") => {}
            Err(errno) => return Err(LaunchError::os(Step::Cgroup, file, errno)),
        }
    }
    Ok(tasks)
}

/// The path that /proc/PID/cgroup has for a hierarchy.
fn group_of<'a>(groups: &'a str, controllers: &[String]) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next()?, parts.next()?);
        names.split(',').any(|name| controllers.iter().any(|controller| controller == name)).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: char, major: Option<u32>, minor: Option<u32>) -> DeviceRule {
        DeviceRule { allow, kind, major, minor, access: "rwm".into() }
    }

    #[test]
    fn a_group_is_found_by_any_of_its_controllers() {
        let groups = "9:name=systemd:/\n5:devices:/ardock-1/k1/devices-2\n1:cpu,cpuacct:/a:b\n0::/\n";
        assert_eq!(group_of(groups, &["devices".into()]), Some("/ardock-1/k1/devices-2"));
        assert_eq!(group_of(groups, &["cpu".into(), "cpuacct".into()]), Some("/a:b"));
        assert_eq!(group_of(groups, &["pids".into()]), None);
    }

    #[test]
    fn rules_have_the_kernels_form() {
        assert_eq!(rule_line(&rule(false, 'a', None, None)), "a");
        assert_eq!(rule_line(&rule(true, 'c', Some(1), Some(3))), "c 1:3 rwm");
        assert_eq!(rule_line(&rule(true, 'c', Some(136), None)), "c 136:* rwm");
    }

    #[test]
    fn rule_sets_that_differ_in_anything_have_folders_of_their_own() {
        let sets = [
            vec![rule(false, 'a', None, None)],
            vec![rule(true, 'a', None, None)],
            vec![rule(false, 'a', None, None), rule(true, 'c', Some(1), Some(3))],
            vec![rule(false, 'a', None, None), rule(true, 'c', Some(1), Some(5))],
        ];
        let mut prints: Vec<u64> = sets.iter().map(|set| fingerprint(set)).collect();
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), sets.len());
    }
}
