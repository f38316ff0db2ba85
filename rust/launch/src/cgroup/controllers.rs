//! Which controllers of v2 are enabled, and when.
//!
//! A group that enables a controller for those beneath it costs each of them:
//! its mkdir, its rmdir and, with some, every fork or charge in it. So nothing
//! is enabled for a container that asks for nothing: at the first limit that
//! needs a controller, it is enabled from the root down to the containers'
//! parent, and stays. Processes that run by then are not disturbed; memory
//! that they have is not charged anew (cgroup-v2.rst, "Enabling and
//! Disabling", "Memory Ownership").

use std::os::fd::OwnedFd;

use super::{files, nested, trouble};
use crate::error::LaunchError;

/// What a container that may make groups of its own is given.
const DELEGATED: [&str; 5] = ["cpuset", "cpu", "io", "memory", "pids"];
/// Times that a controller is enabled before it is taken for not to be had.
const ATTEMPTS: usize = 3;

/// Enables whatever the host has, for a container whose control groups are
/// writable: what it has not been given, it cannot limit by. `folder` is its
/// own group.
pub(super) fn delegate(base: &OwnedFd, parent: &str, folder: &str) {
    let names = |group: &str| files::read(base, &format!("{group}cgroup.controllers")).unwrap_or_default();
    let (offered, had) = (names(""), names(&format!("{folder}/")));
    let has = |list: &str, name: &str| list.split_whitespace().any(|one| one == name);
    for controller in DELEGATED {
        if has(&offered, controller) && !has(&had, controller) {
            // What cannot be enabled, a limit inside will name.
            let _left_out = enable(base, parent, controller, "");
        }
    }
}

/// Enables a controller for the groups beneath `parent`. `asked` is the limit
/// that needs it, for the error that names both.
pub(super) fn enable(base: &OwnedFd, parent: &str, controller: &str, asked: &str) -> Result<(), LaunchError> {
    for _ in 0..ATTEMPTS {
        if enable_down_to(base, parent, controller, asked)? {
            return Ok(());
        }
    }
    Err(trouble::limit(controller, asked))
}

/// False where it has gone again meanwhile: systemd takes a controller away
/// from the root that no group beneath has yet enabled for its own.
fn enable_down_to(base: &OwnedFd, parent: &str, controller: &str, asked: &str) -> Result<bool, LaunchError> {
    let ends = parent.match_indices('/').map(|(at, _)| at).chain([parent.len()]);
    for level in std::iter::once("").chain(ends.map(|end| &parent[..end])) {
        let at = |name: &str| if level.is_empty() { name.to_owned() } else { format!("{level}/{name}") };
        let file = at("cgroup.subtree_control");
        let enable = || files::write(base, &file, &format!("+{controller}"));
        let enabled = match enable() {
            Err(libc::EBUSY) if level.is_empty() && nested::make_room(base) => enable(),
            other => other,
        };
        match enabled {
            Ok(()) => {}
            // Not offered here: by the kernel, or by the group above.
            Err(libc::ENOENT | libc::EINVAL) if level.is_empty() => return Err(trouble::limit(controller, asked)),
            Err(libc::ENOENT | libc::EINVAL) => return Ok(false),
            Err(errno) => return Err(trouble::enable(&file, controller, errno)),
        }
    }
    Ok(true)
}
