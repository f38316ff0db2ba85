//! What a user reads beside the kernel's errno.

use crate::error::{LaunchError, Step};

/// The error of a child that has ended before its execve and told no reason.
pub(super) fn killed(step: Step) -> LaunchError {
    LaunchError::because(step, "", "the process was killed; if nobody did that, its memory limit is too small")
}

/// The exit code and the advice that go with an errno.
pub(super) fn explain(mut error: LaunchError) -> LaunchError {
    let advice = match (error.step, error.errno) {
        (Step::Exec, errno) => {
            error.exit_code = if matches!(errno, libc::ENOENT | libc::ENOTDIR) { 127 } else { 126 };
            match errno {
                libc::ENOENT => "no such program in the container, or the interpreter it names is missing",
                libc::ENOEXEC => "it is neither a binary for this machine nor a script that begins with #!",
                libc::E2BIG => {
                    "arguments and environment are too long together, or the memory limit is too small for them"
                }
                _ => "",
            }
        }
        (Step::Rlimit, libc::EPERM) => "raising a hard limit needs CAP_SYS_RESOURCE, which this engine does not have",
        (Step::OomScore, libc::EACCES) => "lowering it needs CAP_SYS_RESOURCE, which this engine does not have",
        (Step::Sys | Step::Proc, libc::EPERM) => "the host's own is not visible whole",
        (Step::Proc | Step::Dev | Step::Sys, libc::ENOTDIR | libc::ELOOP) => {
            "it is not a folder in the root file system; it must be one, or missing"
        }
        (Step::Tmpfs | Step::Root | Step::Mount, libc::ENOSPC) => "a namespace may hold no more mounts (fs.mount-max)",
        (Step::Proc | Step::Dev | Step::Sys, libc::EROFS) => {
            "the folder is missing and the root file system is read-only; make it there first"
        }
        (Step::File | Step::Mount, libc::EROFS) => {
            "the target is missing and the root file system is read-only; make it there first"
        }
        (Step::File | Step::Mount, libc::ENOTDIR | libc::EINVAL) => {
            "source and target must both be folders or both be files, and options be the file system's"
        }
        (Step::File | Step::Mount, libc::ENOENT) => "a symbolic link on the way to the target leads nowhere",
        (Step::File | Step::Mount | Step::Cwd, libc::ELOOP) => {
            "a link such as /proc/self/fd/0, or a circle of links, is on the way"
        }
        (Step::Cwd, libc::ENOENT) => "it is missing, or a symbolic link that leads nowhere",
        (Step::Hostname, libc::EINVAL) => "a name has 64 characters at most",
        (Step::Sysctl, libc::ENOENT) => "there is no such kernel parameter in the container's namespaces",
        (Step::Sysctl, libc::EACCES | libc::EROFS) => "it belongs to the host, not to a namespace of the container's",
        (Step::Cwd, libc::ENOTDIR) => "it is not a folder",
        (Step::JoinNamespace, libc::ESRCH) => "the container has ended",
        (Step::Apparmor, libc::EACCES | libc::EPERM) => {
            "the profile that this engine itself runs under does not allow it"
        }
        (Step::Apparmor, libc::ENOENT | libc::EINVAL) => "AppArmor is not enabled, or has no such profile loaded",
        (Step::Root, libc::EINVAL) => {
            "an overlay takes no scratch on another overlay, on a network or a FAT file system (--scratch memory needs \
             none), and no layers that are overlays of overlays"
        }
        (Step::Seccomp, libc::EINVAL | libc::ENOSYS) => {
            "the kernel has no system call filters (CONFIG_SECCOMP_FILTER); --security-opt seccomp=unconfined runs without"
        }
        (Step::JoinCgroup, libc::EBUSY) => {
            "the container has put its processes into groups of its own, and the kernel lets none stand beside them"
        }
        (Step::JoinCgroup, libc::ENOSPC) => "the cpuset has no cpus or memory nodes",
        (Step::JoinCgroup | Step::Clone, libc::EAGAIN) => "the limit on processes leaves no room",
        _ => "",
    };
    if !advice.is_empty() {
        advice.clone_into(&mut error.hint);
    }
    error
}
