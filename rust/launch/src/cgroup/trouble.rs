//! Why cgroupfs refuses, in words: what the host lacks, and how to mend it.

use crate::error::{LaunchError, Step};

/// The control groups as the user knows them: the launcher's own paths would
/// say nothing.
const PLACE: &str = "/sys/fs/cgroup";

/// A group could not be made, or not entered into the tree.
pub(super) fn make(path: &str, errno: i32) -> LaunchError {
    LaunchError::os(Step::Cgroup, path, errno).hint(match errno {
        libc::EROFS => format!(
            "{PLACE} is mounted read-only: mount -o remount,rw {PLACE}; in a container of ardock or another engine, \
             start that one with --privileged"
        ),
        libc::EACCES | libc::EPERM => {
            format!("{PLACE} belongs to others: run ardock as the machine's root, or have a group delegated to it")
        }
        libc::EAGAIN => {
            "no more groups may be made there: cgroup.max.descendants or cgroup.max.depth of a group above \
                         is reached"
                .to_owned()
        }
        libc::ENOSPC => "the kernel has no number left for another memory control group: it has 65,535".to_owned(),
        _ => String::new(),
    })
}

/// `+controller` could not be written into a `cgroup.subtree_control` (v2).
pub(super) fn enable(file: &str, controller: &str, errno: i32) -> LaunchError {
    LaunchError::os(Step::Cgroup, format!("{file} = +{controller}"), errno).hint(match errno {
        libc::EBUSY => {
            "processes stand in that group itself, and the kernel limits only those in groups beneath it: move them \
             into one (cgroup.procs)"
        }
        libc::EOPNOTSUPP => {
            "it or a group above is threaded (cgroup.type; processes have come into one with limits beneath it): start \
             ardock in one that is a domain"
        }
        libc::EROFS => "the control groups are mounted read-only; in a container, start that one with --privileged",
        libc::ENOENT => "the group above has not enabled it",
        _ => "",
    })
}

/// A limit whose controller is not there (v2).
pub(super) fn limit(controller: &str, asked: &str) -> LaunchError {
    LaunchError::because(
        Step::Cgroup,
        asked,
        format!(
            "the {controller} controller is not at hand (cgroup.controllers does not name it): leave the limit out; \
             ardock doctor says how to have it"
        ),
    )
}
