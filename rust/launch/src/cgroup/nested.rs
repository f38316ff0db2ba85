//! ardock inside of a container, on v2: its tree's root is a group like any
//! other, shown as the root by a cgroup namespace. The kernel's "no internal
//! process constraint" (cgroup-v2.rst) allows limits beneath such a group only
//! where no process stands in itself, and the container's own do.

use std::os::fd::OwnedFd;

use super::files;

/// Where they go: the name that Docker's and podman's images for this use.
const LEAF: &str = "init";
/// Rounds until none is left: whatever is there may fork meanwhile.
const ROUNDS: usize = 10;

/// Moves all processes of a namespace's root into a group beneath it. On the
/// machine's own root, which may hold processes, nothing is done.
///
/// Returns whether something has changed, so that what was refused (`EBUSY`)
/// is worth another attempt.
pub(super) fn make_room(base: &OwnedFd) -> bool {
    // Only the machine's own root has no type.
    if files::read(base, "cgroup.type").map_or(true, |kind| kind.trim() != "domain") {
        return false;
    }
    if !matches!(files::mkdir(base, LEAF), Ok(()) | Err(libc::EEXIST)) {
        return false;
    }
    let mut moved = false;
    for _ in 0..ROUNDS {
        let found = files::procs(base, ".");
        if found.is_empty() {
            break;
        }
        for pid in found {
            // One that has ended meanwhile is no matter.
            moved |= files::write(base, &format!("{LEAF}/cgroup.procs"), &pid.to_string()).is_ok();
        }
    }
    moved
}
