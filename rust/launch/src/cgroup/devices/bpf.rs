#![allow(unsafe_code)]
//! The four bpf(2) commands that device programs take.
//!
//! Each passes the beginning of `union bpf_attr` that its command knows; the
//! kernel takes the rest of the union as zero. Descriptors that bpf(2) makes
//! are close-on-exec.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::program::Insn;

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_GET_FD_BY_ID: i32 = 13;
const PROG_QUERY: i32 = 16;
/// `BPF_PROG_TYPE_CGROUP_DEVICE`.
const TYPE_CGROUP_DEVICE: u32 = 15;
/// The attach type `BPF_CGROUP_DEVICE`.
const CGROUP_DEVICE: u32 = 6;
/// Groups beneath may have programs of their own; all of them must allow.
const ALLOW_MULTI: u32 = 2;
/// Room for what the verifier says.
const LOG: usize = 64 * 1024;
/// As `bpftool prog` shows it; 15 characters at most.
const NAME: &[u8; 16] = b"ardock_devices\0\0";

#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

#[repr(C)]
struct ById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct Query {
    target: u32,
    kind: u32,
    flags: u32,
    their_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// # Safety
/// Addresses in `attributes` must be valid for what the command does there.
unsafe fn bpf<T>(command: i32, attributes: &mut T) -> Result<i32, i32> {
    let attributes = std::ptr::from_mut(attributes);
    // SAFETY: a record of this size; the caller vouches for what it points at.
    match unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) } {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)),
        value => Ok(value as i32),
    }
}

fn own(fd: i32) -> OwnedFd {
    // SAFETY: a descriptor that the call just before has returned.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Loads a program; on failure the errno, and what the verifier said of it.
pub(super) fn load(code: &[Insn]) -> Result<OwnedFd, (i32, String)> {
    let mut attributes = Load {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        prog_name: *NAME,
        ..Load::default()
    };
    // SAFETY: code, license and name outlive the call, which reads them.
    let errno = match unsafe { bpf(PROG_LOAD, &mut attributes) } {
        Ok(fd) => return Ok(own(fd)),
        Err(errno) => errno,
    };
    // Again for the words: they cost time, so nobody asks for them at first.
    let mut log = vec![0u8; LOG];
    (attributes.log_level, attributes.log_size) = (1, LOG as u32);
    attributes.log_buf = log.as_mut_ptr() as u64;
    // SAFETY: idem, and the kernel writes at most `log_size` bytes of `log`.
    if let Ok(fd) = unsafe { bpf(PROG_LOAD, &mut attributes) } {
        return Ok(own(fd));
    }
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(LOG);
    Err((errno, String::from_utf8_lossy(&log[..end]).into_owned()))
}

/// Attaches a program to a group.
pub(super) fn attach(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), i32> {
    let mut attributes = Attach {
        target: group.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: no addresses.
    unsafe { bpf(PROG_ATTACH, &mut attributes) }.map(|_| ())
}

/// The program that is attached to a group itself, if it is exactly one.
pub(super) fn attached(group: BorrowedFd<'_>) -> Option<OwnedFd> {
    let mut ids = [0u32; 2];
    let mut query = Query {
        target: group.as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        flags: 0,
        their_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        padding: 0,
    };
    // SAFETY: the kernel writes at most `count` numbers to `ids`.
    unsafe { bpf(PROG_QUERY, &mut query) }.ok()?;
    if query.count != 1 {
        return None;
    }
    let mut attributes = ById { prog_id: ids[0], next_id: 0, open_flags: 0 };
    // SAFETY: no addresses.
    unsafe { bpf(PROG_GET_FD_BY_ID, &mut attributes) }.ok().map(own)
}
