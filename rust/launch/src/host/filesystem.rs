//! Mounting a file system that is to be seen nowhere but in containers.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::error::{LaunchError, Step};
use crate::home::c_path;
use crate::sys;

/// Mounts a file system as a detached mount: in no mount table, and gone with
/// its last descriptor and copy.
///
/// `options` are the file system's own and the super block's (`ro`, `sync`),
/// with a value or without; `attributes` are `MOUNT_ATTR_*`. An option that the
/// kernel refuses is named by the error, which ends with what the kernel has
/// logged of the mount.
pub fn mount_filesystem(
    kind: &str,
    source: &str,
    options: &[(String, Option<String>)],
    attributes: u64,
) -> Result<OwnedFd, LaunchError> {
    let c = |text: &str| c_path(Step::Mount, text);
    let opened = sys::fsopen(&c(kind)?).map_err(|errno| match errno {
        libc::ENODEV => LaunchError::because(Step::Mount, "", format!("this kernel has no file system {kind:?}")),
        _ => LaunchError::os(Step::Mount, kind, errno),
    })?;
    let context = sys::owned(opened);
    let failed = |subject: String, errno: i32| {
        let log = kernel_log(&context);
        LaunchError::os(Step::Mount, subject, errno).hint(log)
    };
    if !source.is_empty() {
        sys::fsconfig_string(context.as_raw_fd(), c"source", &c(source)?)
            .map_err(|errno| failed(format!("{kind} of {source:?}"), errno))?;
    }
    for (key, value) in options {
        let name: CString = c(key)?;
        match value {
            None => sys::fsconfig_flag(context.as_raw_fd(), &name)
                .map_err(|errno| failed(format!("{kind} with the option {key:?}"), errno))?,
            Some(value) => sys::fsconfig_string(context.as_raw_fd(), &name, &c(value)?)
                .map_err(|errno| failed(format!("{kind} with the option {:?}", format!("{key}={value}")), errno))?,
        };
    }
    let told = || if source.is_empty() { kind.to_owned() } else { format!("{kind} of {source:?}") };
    sys::fsconfig_create(context.as_raw_fd()).map_err(|errno| failed(told(), errno))?;
    sys::fsmount(context.as_raw_fd(), attributes).map(sys::owned).map_err(|errno| failed(told(), errno))
}

/// What the kernel has to say of a mount that failed, in one line. Each
/// message is one read, and begins with its level: `e tmpfs: Bad value for 'size'`.
fn kernel_log(context: &OwnedFd) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut buffer = [0u8; 1024];
    while let Ok(length) = rustix::io::read(context, &mut buffer) {
        if length == 0 || lines.len() == 8 {
            break;
        }
        let text = String::from_utf8_lossy(&buffer[..length]);
        lines.push(text.split_once(' ').map_or(text.as_ref(), |(_, message)| message).trim().to_owned());
    }
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(given: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
        given.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
    }

    #[test]
    fn an_unknown_file_system_is_named() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let error = mount_filesystem("no-such-fs", "x", &[], 0).unwrap_err();
        assert!(error.to_string().contains("no file system \"no-such-fs\""), "{error}");
    }

    #[test]
    fn a_refused_option_is_named_with_what_the_kernel_says() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let error = mount_filesystem("tmpfs", "tmpfs", &options(&[("size", Some("many"))]), 0).unwrap_err();
        assert!(error.to_string().contains("size=many"), "{error}");
        let error = mount_filesystem("tmpfs", "tmpfs", &options(&[("colour", Some("blue"))]), 0).unwrap_err();
        assert!(error.to_string().contains("colour=blue"), "{error}");
        assert!(error.hint.contains("Unknown parameter"), "{error}");
    }

    #[test]
    fn a_mount_is_in_no_table() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mount_filesystem("tmpfs", "tmpfs", &options(&[("size", Some("1m"))]), sys::ATTR_NOSUID).unwrap();
        assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
        drop(mount);
    }
}
