//! Waiting for the kernel to kill for want of memory.
//!
//! v1: an eventfd that is registered with `cgroup.event_control`
//! (Documentation/admin-guide/cgroup-v1/memory.rst, section 10). It is told
//! when the group runs out of memory, a moment before the kill is counted.
//! v2: `memory.events`, which is urgent to poll(2) when a count in it has
//! grown since it was last read (cgroup-v2.rst), a moment after.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::fs::{Mode, OFlags};

use super::{check_path, files, Hierarchies};
use crate::error::{LaunchError, Step};

/// One container's. Dropping it ends the waiting.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    events: bool,
}

impl Hierarchies {
    /// Begins to wait for kills in a container's memory control group; none
    /// where there is no memory controller.
    pub fn watch_oom(&self, parent: &str, name: &str) -> Result<Option<OomWatch>, LaunchError> {
        check_path(parent)?;
        check_path(name)?;
        let folder = format!("{parent}/{name}");
        let failed = |errno| LaunchError::os(Step::Cgroup, format!("the OOM notice of {folder}"), errno);
        let open = |base: &OwnedFd, file: &str| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::openat(base, format!("{folder}/{file}"), flags, Mode::empty())
        };
        let base = match self {
            Self::V1(all) => all.iter().find(|hierarchy| hierarchy.has("memory")).map(|hierarchy| &hierarchy.base),
            Self::V2(unified) => {
                return match open(&unified.base, "memory.events") {
                    Ok(fd) => {
                        let watch = OomWatch { fd, events: true };
                        watch.clear();
                        Ok(Some(watch))
                    }
                    Err(rustix::io::Errno::NOENT) => Ok(None),
                    Err(error) => Err(failed(error.raw_os_error())),
                }
            }
        };
        let Some(base) = base else { return Ok(None) };
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let fd = rustix::event::eventfd(0, flags).map_err(|error| failed(error.raw_os_error()))?;
        let control = open(base, "memory.oom_control").map_err(|error| failed(error.raw_os_error()))?;
        let pair = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
        files::write(base, &format!("{folder}/cgroup.event_control"), &pair).map_err(failed)?;
        Ok(Some(OomWatch { fd, events: false }))
    }
}

impl OomWatch {
    /// To be waited on.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Wait until it is urgent (POLLPRI), not until it is readable.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.events
    }

    /// Takes the notice. How many kills there were is
    /// [`Hierarchies::oom_kills`]; on v1 it may not have grown yet.
    pub fn clear(&self) {
        let mut buffer = [0; 4096];
        // memory.events is told as read once its beginning was.
        let _nothing_new = if self.events {
            rustix::io::pread(&self.fd, &mut buffer, 0)
        } else {
            rustix::io::read(&self.fd, &mut buffer[..8])
        };
    }
}
