//! cgroup v2: one folder for the container, entered by `CLONE_INTO_CGROUP`.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use super::{files, Prepared};
use crate::error::{LaunchError, Step};
use crate::spec::{Cgroup, Resources};

/// Makes the parent and enables the controllers along the way.
pub(super) fn make_parent(base: &OwnedFd, parent: &str) -> Result<(), LaunchError> {
    let failed = |what: String| move |errno| LaunchError::os(Step::Cgroup, what, errno);
    files::mkdir_all(base, parent).map_err(failed(parent.to_owned()))?;
    let mut level = String::new();
    for part in std::iter::once("").chain(parent.split('/')) {
        if !part.is_empty() {
            level = if level.is_empty() { part.to_owned() } else { format!("{level}/{part}") };
        }
        let prefix = if level.is_empty() { String::new() } else { format!("{level}/") };
        let available = files::read(base, &format!("{prefix}cgroup.controllers")).map_err(failed(level.clone()))?;
        for controller in ["memory", "pids", "cpu", "cpuset"] {
            if available.split_whitespace().any(|name| name == controller) {
                let file = format!("{prefix}cgroup.subtree_control");
                files::write(base, &file, &format!("+{controller}")).map_err(failed(file.clone()))?;
            }
        }
    }
    Ok(())
}

/// cgroup v1 shares (2 to 262,144) as a v2 weight (1 to 10,000), as runc and
/// the kernel documents convert them.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
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
    if let Some(low) = resources.memory_reservation {
        writes.push(("memory.low", low.to_string()));
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

/// Makes and limits the container's folder; on failure none is left.
pub(super) fn prepare(base: &OwnedFd, spec: &Cgroup) -> Result<Prepared, LaunchError> {
    let folder = format!("{}/{}", spec.parent, spec.name);
    let failed = |what: String| move |errno| LaunchError::os(Step::Cgroup, what, errno);
    let writes = writes(&spec.resources)?;
    files::mkdir(base, &folder).map_err(failed(folder.clone()))?;
    let outcome = (|| {
        for (file, value) in writes {
            files::write(base, &format!("{folder}/{file}"), &value).map_err(failed(format!("{file} = {value}")))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(base, folder.as_str(), flags, Mode::empty())
            .map_err(|error| LaunchError::os(Step::Cgroup, folder.clone(), error.raw_os_error()))
    })();
    match outcome {
        Ok(into) => Ok(Prepared {
            tasks: Vec::new(),
            into: Some(into),
            shown: vec![(String::new(), format!("/c/unified/{folder}"))],
            // One BPF program for each rule set comes with the work on v2
            // hosts; until then the launcher takes CAP_MKNOD away and mounts
            // the root nodev (DESIGN 3.4).
            devices: false,
        }),
        Err(error) => {
            let _kept_by_the_first_error = files::rmdir(base, &folder);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_convert_to_weights_at_both_ends_and_the_default() {
        assert_eq!([weight(2), weight(1024), weight(262_144)], [1, 39, 10_000]);
    }

    #[test]
    fn swap_is_what_exceeds_memory() {
        let resources = Resources { memory: Some(64), memory_swap: Some(100), ..Resources::default() };
        assert!(writes(&resources).unwrap().contains(&("memory.swap.max", "36".into())));
        let less = Resources { memory: Some(64), memory_swap: Some(10), ..Resources::default() };
        assert!(writes(&less).is_err());
    }
}
