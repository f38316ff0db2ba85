//! What an entry has besides its name, kind and content.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{lgetxattr, llistxattr, lsetxattr, XattrFlags};
use rustix::io::Errno;

use crate::error::{shown, Error};
use crate::Result;

/// A time; ns are counted upwards from s, also where s is negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// s since 1970.
    pub s: i64,
    /// 0 to 999,999,999.
    pub ns: u32,
}

/// Extended attributes by name.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Owner, permissions, time of last change, extended attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Permissions and set-id and sticky bits: 0o7777 at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: Time,
    /// Extended attributes, those of [`is_hosts`] left out.
    pub xattrs: Xattrs,
}

/// Labels that a host's security module gives its files: they mean nothing
/// elsewhere, and are neither copied nor part of a digest (nor does docker
/// pack them).
pub(crate) fn is_hosts(name: &[u8]) -> bool {
    matches!(name, b"security.selinux" | b"security.ima" | b"security.evm" | b"security.apparmor")
        || name.starts_with(b"security.SMACK64")
}

/// Refuses attributes by which a tree would tell the overlay file system above
/// it to show something else than what is in it.
pub(crate) fn check_xattr(entry: &[u8], name: &[u8]) -> Result<()> {
    if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
        return Err(Error::Unsupported {
            name: shown(entry),
            what: "has an extended attribute of the overlay file system's own (trusted.overlay.*, user.overlay.*)",
        });
    }
    Ok(())
}

/// The path of `last` in `dir`, for the calls that take no descriptor of a
/// link or device. Nothing is followed on the way: the descriptor is ours,
/// `last` is one component, and the calls do not follow the last one.
fn by_descriptor(dir: BorrowedFd<'_>, last: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    // The directory itself: not by its magic link's name, which would be the link.
    path.extend_from_slice(if last.is_empty() { b"." } else { last });
    path
}

/// What the overlay file system keeps at a layer's objects for itself and what
/// changes nothing of what they are.
fn is_overlays(name: &[u8]) -> bool {
    let Some(name) = name.strip_prefix(b"trusted.overlay.") else { return false };
    matches!(name, b"opaque" | b"origin" | b"impure" | b"nlink" | b"upper" | b"uuid" | b"whiteout" | b"protattr")
}

/// Whether it has this attribute.
pub(crate) fn has_xattr(dir: BorrowedFd<'_>, last: &[u8], name: &str) -> bool {
    lgetxattr(by_descriptor(dir, last), name, &mut [0u8; 0]).is_ok()
}

/// Reads all of them but the host's, and, in a layer of an overlay, those by
/// which it keeps count; `entry` is for errors.
pub(crate) fn read_xattrs(dir: BorrowedFd<'_>, last: &[u8], entry: &[u8], layer: bool) -> Result<Xattrs> {
    let path = by_descriptor(dir, last);
    let failed = || Error::step("read the extended attributes of", entry);
    let mut out = Xattrs::new();
    let names = match grown(|buffer| llistxattr(&path, buffer)) {
        Ok(names) => names,
        Err(Errno::NOTSUP) => return Ok(out),
        Err(errno) => return Err(failed()(errno)),
    };
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && !is_hosts(name)) {
        if layer && is_overlays(name) {
            continue;
        }
        check_xattr(entry, name)?;
        let value = grown(|buffer| lgetxattr(&path, name, buffer)).map_err(failed())?;
        out.insert(name.to_vec(), value);
    }
    Ok(out)
}

/// Sets them; `entry` is for errors.
pub(crate) fn write_xattrs(dir: BorrowedFd<'_>, last: &[u8], xattrs: &Xattrs, entry: &[u8]) -> Result<()> {
    if xattrs.is_empty() {
        return Ok(());
    }
    let path = by_descriptor(dir, last);
    for (name, value) in xattrs {
        lsetxattr(&path, &name[..], value, XattrFlags::empty()).map_err(|errno| Error::Step {
            step: "set an extended attribute of",
            name: format!("{}: {}", shown(entry), shown(name)),
            errno,
        })?;
    }
    Ok(())
}

/// Calls with a larger buffer until the result fits.
fn grown(mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    // 64 KiB is the kernel's own bound of a list and of a value (XATTR_LIST_MAX, XATTR_SIZE_MAX).
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 65_536 => buffer.resize(65_536, 0),
            Err(errno) => return Err(errno),
        }
    }
}
