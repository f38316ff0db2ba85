//! How long each part of a launch took.

use serde::{Deserialize, Serialize};

/// µs spent in each part of a launch. The parts add up to `total`, which runs
/// from the launcher's reading of the request to the execve (as seen by the
/// return of the clone call).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// Waiting in the keeper and in the launcher's queue (filled in by the
    /// keeper; not part of `total`).
    pub queue: u32,
    /// Reading and preparing the specification.
    pub prepare: u32,
    /// Making and limiting control groups.
    pub cgroup: u32,
    /// Scratch directories, pipes, terminal.
    pub stdio: u32,
    /// clone3 until the child's first instruction: most namespaces are made here.
    pub clone: u32,
    /// Entering control groups and making the cgroup namespace.
    pub join: u32,
    /// The root: tmpfs and overlay.
    pub root: u32,
    /// Everything mounted on it, masks, pivot_root.
    pub mounts: u32,
    /// Host name, loopback, ids, limits, capabilities, seccomp.
    pub process: u32,
    /// execve (and the launcher's waking up).
    pub exec: u32,
    /// All of it.
    pub total: u32,
}
