//! cgroup v2: one folder for the container, entered by `CLONE_INTO_CGROUP`.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use super::devices::DevicePrograms;
use super::{controllers, files, io, trouble, Prepared};
use crate::error::{LaunchError, Step};
use crate::spec::{Cgroup, Io, Resources};

/// Makes the parent. Controllers come with the first limit ([`controllers`]).
pub(super) fn make_parent(base: &OwnedFd, parent: &str) -> Result<(), LaunchError> {
    files::mkdir_all(base, parent).map_err(|errno| trouble::make(parent, errno))
}

/// The group of a container's first process: `own`, or one beneath it. A
/// container whose control groups are writable may have put its processes into
/// groups beneath, so as to limit them, and then nobody may be in its own
/// (`EBUSY`). `groups` is /proc/PID/cgroup.
pub(super) fn group_of<'a>(groups: &'a str, own: &'a str) -> &'a str {
    let found = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    // One that was moved away from outside is no place for us.
    found.filter(|group| group.strip_prefix(own).is_some_and(|below| below.starts_with('/'))).unwrap_or(own)
}

/// cgroup v1 shares (2 to 262,144) as a v2 weight (1 to 10,000): the curve
/// through both ends and both defaults (1024 and 100) that runc has since
/// 1.3.2 and crun since 1.23 (opencontainers/cgroups, utils.go,
/// `ConvertCPUSharesToCgroupV2Value`; kubernetes issue 131216 has the reason).
fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = f64::from(shares as u32).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

fn writes(resources: &Resources) -> Result<Vec<(&'static str, String)>, LaunchError> {
    let mut writes = Vec::new();
    if let Some(memory) = resources.memory {
        writes.push(("memory.max", memory.to_string()));
    }
    match (resources.memory_swap, resources.memory) {
        (None, _) => {}
        (Some(swap), _) if swap < 0 => writes.push(("memory.swap.max", "max".into())),
        (Some(swap), Some(memory)) if swap as u64 >= memory => {
            // v2 limits swap alone, Docker's flag counts memory with it.
            writes.push(("memory.swap.max", (swap as u64 - memory).to_string()));
        }
        (Some(swap), memory) => {
            return Err(LaunchError::because(
                Step::Cgroup,
                format!("memory and swap limit of {swap} bytes"),
                format!("it must be at least the memory limit ({memory:?})"),
            ));
        }
    }
    // As runc has it (opencontainers/cgroups, fs2/memory.go): v1's soft limit is
    // what is taken from last, which v2 calls low.
    if let Some(low) = resources.memory_reservation {
        writes.push(("memory.low", low.to_string()));
    }
    if let Some(high) = resources.memory_high {
        writes.push(("memory.high", high.to_string()));
    }
    if resources.oom_group {
        writes.push(("memory.oom.group", "1".into()));
    }
    if let Some(pids) = resources.pids {
        writes.push(("pids.max", if pids < 0 { "max".into() } else { pids.to_string() }));
    }
    if resources.cpu_quota.is_some() || resources.cpu_period.is_some() {
        let quota = match resources.cpu_quota {
            Some(quota) if quota >= 0 => quota.to_string(),
            _ => "max".into(),
        };
        writes.push(("cpu.max", format!("{quota} {}", resources.cpu_period.unwrap_or(100_000))));
    }
    if let Some(shares) = resources.cpu_shares {
        writes.push(("cpu.weight", weight(shares).to_string()));
    }
    if let Some(cpus) = &resources.cpuset_cpus {
        writes.push(("cpuset.cpus", cpus.clone()));
    }
    if let Some(mems) = &resources.cpuset_mems {
        writes.push(("cpuset.mems", mems.clone()));
    }
    Ok(writes)
}

/// Sets limits of one container; enables what they need.
struct Limits<'a> {
    base: &'a OwnedFd,
    parent: &'a str,
    folder: &'a str,
}

impl Limits<'_> {
    fn set(&self, file: &str, value: &str) -> Result<(), LaunchError> {
        let write = || files::write(self.base, &format!("{}/{file}", self.folder), value);
        let asked = || format!("{file} = {value}");
        match write() {
            Ok(()) => return Ok(()),
            // Without the controller there is no limit to be lifted.
            Err(libc::ENOENT) if value == "max" => return Ok(()),
            Err(libc::ENOENT) => {}
            Err(errno) => return Err(LaunchError::os(Step::Cgroup, asked(), errno)),
        }
        controllers::enable(self.base, self.parent, file.split('.').next().unwrap_or_default(), &asked())?;
        match write() {
            Ok(()) => Ok(()),
            // A kernel that does not account swap: where there is none to be
            // had, nothing is asked of it (as runc does).
            Err(libc::ENOENT) if (file, value) == ("memory.swap.max", "0") => Ok(()),
            Err(errno @ libc::ENOENT) => {
                let error = LaunchError::os(Step::Cgroup, asked(), errno);
                Err(error.hint(match file {
                    "memory.swap.max" => "this kernel does not account swap (boot it with swapaccount=1)",
                    _ => "this kernel has no such limit",
                }))
            }
            Err(errno) => Err(LaunchError::os(Step::Cgroup, asked(), errno)),
        }
    }

    fn set_io(&self, wanted: &Io) -> Result<(), LaunchError> {
        // Seen only when enabled: which of the files for weights there are.
        if files::open_write(self.base, &format!("{}/io.max", self.folder)).is_err() {
            controllers::enable(self.base, self.parent, "io", "a limit on block devices")?;
        }
        let (weights, rates) = io::v2(wanted);
        io::set(weights, rates, |file, value| files::write(self.base, &format!("{}/{file}", self.folder), value))
    }
}

/// The one hierarchy, and what was loaded for its groups.
#[derive(Debug)]
pub struct Unified {
    /// The root's directory.
    pub(super) base: OwnedFd,
    pub(super) programs: DevicePrograms,
}

impl Unified {
    pub(super) fn new(base: OwnedFd) -> Self {
        Self { base, programs: DevicePrograms::default() }
    }

    /// Makes and limits the container's folder; on failure none is left.
    /// `writable`: the container may make groups beneath it.
    pub(super) fn prepare(&self, spec: &Cgroup, writable: bool) -> Result<Prepared, LaunchError> {
        let base = &self.base;
        let folder = format!("{}/{}", spec.parent, spec.name);
        let writes = writes(&spec.resources)?;
        files::mkdir(base, &folder).map_err(|errno| trouble::make(&folder, errno))?;
        let outcome = (|| {
            if writable {
                controllers::delegate(base, &spec.parent, &folder);
            }
            let limits = Limits { base, parent: &spec.parent, folder: &folder };
            for (file, value) in writes {
                limits.set(file, &value)?;
            }
            if let Some(io) = &spec.resources.io {
                limits.set_io(io)?;
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let into = rustix::fs::openat(base, folder.as_str(), flags, Mode::empty())
                .map_err(|error| LaunchError::os(Step::Cgroup, folder.clone(), error.raw_os_error()))?;
            let devices = match &spec.resources.devices {
                Some(rules) => self.programs.enforce(base, &spec.parent, &into, rules)?,
                None => false,
            };
            Ok((into, devices))
        })();
        match outcome {
            Ok((into, devices)) => Ok(Prepared {
                tasks: Vec::new(),
                into: Some(into),
                shown: vec![(String::new(), format!("/c/unified/{folder}"))],
                devices,
            }),
            Err(error) => {
                let _kept_by_the_first_error = files::rmdir(base, &folder);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_convert_to_weights_at_both_ends_and_the_default() {
        assert_eq!([2, 1024, 262_144].map(weight), [1, 100, 10_000]);
        // Around the ends, as opencontainers/cgroups tests them; what runc issue 4896 shows.
        assert_eq!([1, 3, 262_143, 262_145].map(weight), [1, 2, 10_000, 10_000]);
        assert_eq!([512, 2000].map(weight), [59, 170]);
    }

    #[test]
    fn a_program_joins_the_group_of_the_first_one_beneath_the_containers_own() {
        let own = "ardock-1/k1/abc";
        assert_eq!(group_of("0::/ardock-1/k1/abc/init\n", own), "ardock-1/k1/abc/init");
        for elsewhere in ["0::/ardock-1/k1/abc\n", "0::/ardock-1/k1/abcd/init\n", "0::/\n", "", "3:pids:/a\n"] {
            assert_eq!(group_of(elsewhere, own), own);
        }
    }

    #[test]
    fn swap_is_what_exceeds_memory() {
        let resources = Resources { memory: Some(64), memory_swap: Some(100), ..Resources::default() };
        assert!(writes(&resources).unwrap().contains(&("memory.swap.max", "36".into())));
        let less = Resources { memory: Some(64), memory_swap: Some(10), ..Resources::default() };
        assert!(writes(&less).is_err());
    }
}
