//! One safe function for each system call that the child makes.
//!
//! # Safety
//!
//! Pointers come from references (`&CStr`, slices, records) that outlive the
//! call; the kernel reads or writes no more than their length. Descriptors
//! are plain numbers here because the child can own nothing: what it opens is
//! closed for it by execve or exit.
#![allow(unsafe_code)]

use core::ffi::CStr;
use std::os::fd::{FromRawFd, OwnedFd};

use super::raw::{check, syscall6};

/// The result of a system call: its value or the errno.
pub type Outcome = Result<usize, i32>;

/// Owns a descriptor that a system call has just returned to the caller: for
/// code outside of the child.
pub fn owned(fd: usize) -> OwnedFd {
    // SAFETY: just returned, so nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// `struct open_how` of openat2(2).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct OpenHow {
    /// `O_*`.
    pub flags: u64,
    /// Permission bits with `O_CREAT`.
    pub mode: u64,
    /// `RESOLVE_*`.
    pub resolve: u64,
}

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_PRIVATE`, ... or 0.
    pub propagation: u64,
    /// User namespace for `MOUNT_ATTR_IDMAP`.
    pub userns: u64,
}

/// Symbolic links are resolved within the directory as if it were the root.
pub const RESOLVE_IN_ROOT: u64 = 0x10;
/// No links such as /proc/self/fd/N.
pub const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
/// `MOUNT_ATTR_RDONLY`.
pub const ATTR_RDONLY: u64 = 0x1;
/// `MOUNT_ATTR_NOSUID`.
pub const ATTR_NOSUID: u64 = 0x2;
/// `MOUNT_ATTR_NODEV`.
pub const ATTR_NODEV: u64 = 0x4;
/// `MOUNT_ATTR_NOEXEC`.
pub const ATTR_NOEXEC: u64 = 0x8;
/// `MOUNT_ATTR_IDMAP`.
pub const ATTR_IDMAP: u64 = 0x0010_0000;
/// `OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC`.
pub const TREE_CLONE: usize = 1 | libc::O_CLOEXEC as usize;
/// `AT_RECURSIVE`.
pub const AT_RECURSIVE: usize = 0x8000;
/// `AT_EMPTY_PATH`.
pub const AT_EMPTY: usize = libc::AT_EMPTY_PATH as usize;

macro_rules! call {
    ($number:expr $(, $argument:expr)*) => {{
        let mut arguments = [0usize; 6];
        let given = [$($argument as usize),*];
        arguments[..given.len()].copy_from_slice(&given);
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: the module's header: each pointer is made from a reference
        // in the function below that gives it, and outlives the call.
        check(unsafe { syscall6($number as usize, a, b, c, d, e, f) })
    }};
}

fn text(path: &CStr) -> usize {
    path.as_ptr() as usize
}

fn text_or_null(path: Option<&CStr>) -> usize {
    path.map_or(0, text)
}

/// How often a lookup is begun anew that somebody else's mount or rename has
/// disturbed. One who does nothing but rename, in another container, say,
/// disturbs nine of ten; this many take a second, and a launch may take ten.
pub const LOOKUPS: usize = 200_000;

/// openat2(2).
///
/// Where a `..` is resolved beneath a root, a mount, unmount or rename anywhere
/// on the machine during the lookup is EAGAIN: the kernel cannot tell whether
/// the `..` has led out. Containers being launched mount all the time.
pub fn openat2(dir: i32, path: &CStr, how: &OpenHow) -> Outcome {
    let mut outcome = Err(libc::EAGAIN);
    for _ in 0..LOOKUPS {
        outcome = call!(libc::SYS_openat2, dir, text(path), core::ptr::from_ref(how), core::mem::size_of::<OpenHow>());
        if outcome != Err(libc::EAGAIN) {
            break;
        }
    }
    outcome
}

/// openat(2).
pub fn openat(dir: i32, path: &CStr, flags: i32, mode: u32) -> Outcome {
    call!(libc::SYS_openat, dir, text(path), flags | libc::O_CLOEXEC, mode)
}

/// close(2).
pub fn close(fd: i32) -> Outcome {
    call!(libc::SYS_close, fd)
}

/// write(2).
pub fn write(fd: i32, data: &[u8]) -> Outcome {
    call!(libc::SYS_write, fd, data.as_ptr(), data.len())
}

/// mkdirat(2).
pub fn mkdirat(dir: i32, path: &CStr, mode: u32) -> Outcome {
    call!(libc::SYS_mkdirat, dir, text(path), mode)
}

/// mknodat(2).
pub fn mknodat(dir: i32, path: &CStr, mode: u32, device: u64) -> Outcome {
    call!(libc::SYS_mknodat, dir, text(path), mode, device)
}

/// symlinkat(2).
pub fn symlinkat(target: &CStr, dir: i32, path: &CStr) -> Outcome {
    call!(libc::SYS_symlinkat, text(target), dir, text(path))
}

/// unlinkat(2).
pub fn unlinkat(dir: i32, path: &CStr, flags: i32) -> Outcome {
    call!(libc::SYS_unlinkat, dir, text(path), flags)
}

/// memfd_create(2).
pub fn memfd_create(name: &CStr, flags: u32) -> Outcome {
    call!(libc::SYS_memfd_create, text(name), flags)
}

/// fchownat(2) without following a link.
pub fn lchownat(dir: i32, path: &CStr, uid: u32, gid: u32) -> Outcome {
    call!(libc::SYS_fchownat, dir, text(path), uid, gid, libc::AT_SYMLINK_NOFOLLOW)
}

/// fchownat(2) of the descriptor itself (also `O_PATH`).
pub fn fchownat_empty(fd: i32, uid: u32, gid: u32) -> Outcome {
    call!(libc::SYS_fchownat, fd, text(c""), uid, gid, libc::AT_EMPTY_PATH)
}

/// mount(2). No data is NULL, never "": for that the kernel copies a page.
pub fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: u64, data: Option<&CStr>) -> Outcome {
    call!(libc::SYS_mount, text(source), text(target), text(kind), flags, text_or_null(data))
}

/// umount2(2).
pub fn umount2(target: &CStr, flags: i32) -> Outcome {
    call!(libc::SYS_umount2, text(target), flags)
}

/// pivot_root(2).
pub fn pivot_root(new: &CStr, old: &CStr) -> Outcome {
    call!(libc::SYS_pivot_root, text(new), text(old))
}

/// open_tree(2) with `OPEN_TREE_CLONE`: a detached copy of a mount.
pub fn clone_tree(dir: i32, path: &CStr, flags: usize) -> Outcome {
    call!(libc::SYS_open_tree, dir, text(path), TREE_CLONE | flags)
}

/// open_tree_attr(2) with `OPEN_TREE_CLONE`: a detached copy of a mount with
/// these attributes.
pub fn clone_tree_attr(dir: i32, path: &CStr, flags: usize, attr: &MountAttr) -> Outcome {
    // No name in libc yet; numbers from 424 on are every machine's.
    const OPEN_TREE_ATTR: usize = 467;
    let size = core::mem::size_of::<MountAttr>();
    call!(OPEN_TREE_ATTR, dir, text(path), TREE_CLONE | flags, core::ptr::from_ref(attr), size)
}

/// move_mount(2) of a detached mount onto `path` beneath `dir` (or onto the
/// descriptor itself where `path` is empty).
pub fn attach(tree: i32, dir: i32, path: &CStr) -> Outcome {
    // MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
    let flags = if path.is_empty() { 0x04 | 0x40 } else { 0x04 };
    call!(libc::SYS_move_mount, tree, text(c""), dir, text(path), flags)
}

/// mount_setattr(2).
pub fn mount_setattr(dir: i32, path: &CStr, flags: usize, attr: &MountAttr) -> Outcome {
    call!(libc::SYS_mount_setattr, dir, text(path), flags, core::ptr::from_ref(attr), core::mem::size_of::<MountAttr>())
}

/// fsopen(2).
pub fn fsopen(kind: &CStr) -> Outcome {
    call!(libc::SYS_fsopen, text(kind), 1)
}

/// fsconfig(2) with a key alone.
pub fn fsconfig_flag(fs: i32, key: &CStr) -> Outcome {
    call!(libc::SYS_fsconfig, fs, 0, text(key), 0, 0)
}

/// fsconfig(2) with a string.
pub fn fsconfig_string(fs: i32, key: &CStr, value: &CStr) -> Outcome {
    call!(libc::SYS_fsconfig, fs, 1, text(key), text(value), 0)
}

/// fsconfig(2) with a descriptor.
pub fn fsconfig_fd(fs: i32, key: &CStr, value: i32) -> Outcome {
    call!(libc::SYS_fsconfig, fs, 5, text(key), 0, value)
}

/// fsconfig(2): create the superblock.
pub fn fsconfig_create(fs: i32) -> Outcome {
    call!(libc::SYS_fsconfig, fs, 6, 0, 0, 0)
}

/// fsmount(2): a detached mount.
pub fn fsmount(fs: i32, attributes: u64) -> Outcome {
    call!(libc::SYS_fsmount, fs, 1, attributes)
}

/// fchdir(2).
pub fn fchdir(fd: i32) -> Outcome {
    call!(libc::SYS_fchdir, fd)
}

/// chdir(2).
pub fn chdir(path: &CStr) -> Outcome {
    call!(libc::SYS_chdir, text(path))
}

/// fstat's `st_mode`.
pub fn mode_of(fd: i32) -> Result<u32, i32> {
    let mut stat = core::mem::MaybeUninit::<libc::stat>::zeroed();
    call!(libc::SYS_fstat, fd, stat.as_mut_ptr())?;
    // SAFETY: all-zero bytes are a valid `stat`, and the kernel has filled it.
    Ok(unsafe { stat.assume_init() }.st_mode)
}

/// fstatfs(2)'s `f_type`.
pub fn fs_type_of(fd: i32) -> Result<i64, i32> {
    let mut stat = core::mem::MaybeUninit::<libc::statfs>::zeroed();
    call!(libc::SYS_fstatfs, fd, stat.as_mut_ptr())?;
    // SAFETY: all-zero bytes are a valid `statfs`, and the kernel has filled it.
    Ok(unsafe { stat.assume_init() }.f_type)
}

/// setns(2).
pub fn setns(fd: i32, kind: i32) -> Outcome {
    call!(libc::SYS_setns, fd, kind)
}

/// unshare(2).
pub fn unshare(flags: i32) -> Outcome {
    call!(libc::SYS_unshare, flags)
}

/// sethostname(2).
pub fn sethostname(name: &[u8]) -> Outcome {
    call!(libc::SYS_sethostname, name.as_ptr(), name.len())
}

/// setdomainname(2).
pub fn setdomainname(name: &[u8]) -> Outcome {
    call!(libc::SYS_setdomainname, name.as_ptr(), name.len())
}

/// socket(2), close-on-exec.
pub fn socket(family: i32, kind: i32) -> Outcome {
    call!(libc::SYS_socket, family, kind | libc::SOCK_CLOEXEC, 0)
}

/// ioctl(2) with an address.
pub fn ioctl<T>(fd: i32, request: u64, argument: &mut T) -> Outcome {
    call!(libc::SYS_ioctl, fd, request, core::ptr::from_mut(argument))
}

/// ioctl(2) with a number.
pub fn ioctl_number(fd: i32, request: u64, argument: usize) -> Outcome {
    call!(libc::SYS_ioctl, fd, request, argument)
}

/// keyctl(2): a new session keyring without a name.
pub fn new_session_keyring() -> Outcome {
    const JOIN_SESSION_KEYRING: i32 = 1;
    call!(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0)
}

/// setsid(2).
pub fn setsid() -> Outcome {
    call!(libc::SYS_setsid)
}

/// dup3(2) without flags: the copy outlives execve.
pub fn dup2(old: i32, new: i32) -> Outcome {
    if old == new {
        // dup3 refuses this; what is wanted is that it outlives execve.
        return call!(libc::SYS_fcntl, old, libc::F_SETFD, 0);
    }
    call!(libc::SYS_dup3, old, new, 0)
}

/// fcntl(F_DUPFD_CLOEXEC): a copy numbered `least` or above.
pub fn dup_above(fd: i32, least: i32) -> Outcome {
    call!(libc::SYS_fcntl, fd, libc::F_DUPFD_CLOEXEC, least)
}

/// prlimit64(2) on itself.
pub fn setrlimit(resource: u32, soft: u64, hard: u64) -> Outcome {
    let limit = [soft, hard];
    call!(libc::SYS_prlimit64, 0, resource, limit.as_ptr(), 0)
}

/// umask(2).
pub fn umask(mask: u32) -> Outcome {
    call!(libc::SYS_umask, mask)
}

/// prctl(2).
pub fn prctl(option: i32, a: usize, b: usize) -> Outcome {
    call!(libc::SYS_prctl, option, a, b, 0, 0)
}

/// setgroups(2).
pub fn setgroups(groups: &[u32]) -> Outcome {
    call!(libc::SYS_setgroups, groups.len(), groups.as_ptr())
}

/// setresgid(2), all three.
pub fn setgid(gid: u32) -> Outcome {
    call!(libc::SYS_setresgid, gid, gid, gid)
}

/// setresuid(2), all three.
pub fn setuid(uid: u32) -> Outcome {
    call!(libc::SYS_setresuid, uid, uid, uid)
}

/// capset(2), version 3.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Outcome {
    let header = [0x2008_0522u32, 0];
    let low = |set: u64| set as u32;
    let high = |set: u64| (set >> 32) as u32;
    let data = [low(effective), low(permitted), low(inheritable), high(effective), high(permitted), high(inheritable)];
    call!(libc::SYS_capset, header.as_ptr(), data.as_ptr())
}

/// seccomp(2): load a filter, `struct sock_filter` array.
pub fn seccomp_filter(code: &[libc::sock_filter]) -> Outcome {
    let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_ptr().cast_mut() };
    call!(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, core::ptr::from_ref(&program))
}

/// close_range(2).
pub fn close_range(first: u32, flags: u32) -> Outcome {
    call!(libc::SYS_close_range, first, u32::MAX, flags)
}

/// rt_sigaction(2): the default disposition.
pub fn default_signal(signal: i32) -> Outcome {
    // The kernel's struct sigaction: handler, flags, restorer, mask; all zero
    // is SIG_DFL.
    let action = [0u64; 4];
    call!(libc::SYS_rt_sigaction, signal, action.as_ptr(), 0, 8)
}

/// rt_sigprocmask(2): set the whole mask.
pub fn set_signal_mask(mask: u64) -> Outcome {
    call!(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, core::ptr::from_ref(&mask), 0, 8)
}

/// ppoll(2) on one descriptor without waiting: is it readable?
pub fn is_readable(fd: i32) -> Result<bool, i32> {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let now = [0i64; 2];
    let ready = call!(libc::SYS_ppoll, core::ptr::from_mut(&mut poll), 1, now.as_ptr(), 0, 8)?;
    Ok(ready > 0)
}

/// execve(2); comes back only with an errno. `path` is a C string, `argv` and
/// `env` are NULL-terminated arrays of such, that the caller keeps alive; a
/// wrong address among them is EFAULT.
pub fn execve(path: *const libc::c_char, argv: &[*const libc::c_char], env: &[*const libc::c_char]) -> i32 {
    debug_assert!(argv.last().is_some_and(|last| last.is_null()) && env.last().is_some_and(|last| last.is_null()));
    match call!(libc::SYS_execve, path, argv.as_ptr(), env.as_ptr()) {
        Err(errno) => errno,
        Ok(_) => 0,
    }
}

/// pipe2(2), close-on-exec.
pub fn pipe() -> Result<[i32; 2], i32> {
    let mut ends = [0i32; 2];
    call!(libc::SYS_pipe2, ends.as_mut_ptr(), libc::O_CLOEXEC)?;
    Ok(ends)
}

/// read(2).
pub fn read(fd: i32, data: &mut [u8]) -> Outcome {
    call!(libc::SYS_read, fd, data.as_mut_ptr(), data.len())
}

/// A descriptor just opened, numbered above the standard streams, so that
/// these can be put in their places.
pub fn above_streams(fd: usize) -> Result<i32, i32> {
    let fd = fd as i32;
    if fd > 2 {
        return Ok(fd);
    }
    dup_above(fd, 3).map(|above| above as i32)
}

/// dup3(2), close-on-exec.
pub fn dup3_cloexec(old: i32, new: i32) -> Outcome {
    call!(libc::SYS_dup3, old, new, libc::O_CLOEXEC)
}

/// madvise(`MADV_DONTFORK`): a fork gets none of the pages of this range. The
/// kernel marks what is mapped there and tells by ENOMEM that not all is.
///
/// # Safety
///
/// No child forked later may touch them.
pub unsafe fn dont_fork(range: &core::ops::Range<usize>) -> Result<(), i32> {
    match call!(libc::SYS_madvise, range.start, range.end - range.start, libc::MADV_DONTFORK) {
        Ok(_) | Err(libc::ENOMEM) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// madvise(`MADV_WIPEONFORK`): a fork gets zeros for this range, which must
/// be private and of no file.
///
/// # Safety
///
/// No child forked later may rely on what is in it.
pub unsafe fn wipe_on_fork(range: &core::ops::Range<usize>) -> Outcome {
    call!(libc::SYS_madvise, range.start, range.end - range.start, libc::MADV_WIPEONFORK)
}

/// The address in the thread's register for it.
pub fn thread_pointer() -> usize {
    let pointer: usize;
    // SAFETY: on x86-64 the word at fs:0 is the thread pointer itself (the
    // ABI for thread-local storage); on arm64 it is a register.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, readonly));
        #[cfg(target_arch = "aarch64")]
        core::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, preserves_flags, nomem));
    }
    pointer
}

/// fork by the plain clone(2), with these flags and `parent_tid`.
/// clone3 would be refused by Docker's seccomp policy (ENOSYS).
///
/// # Safety
///
/// `flags` must not hold `CLONE_VM`: the child comes back from here, too.
pub unsafe fn fork(flags: u64, parent_tid: &core::sync::atomic::AtomicI32) -> Outcome {
    // x86-64 and arm64 differ in the place of the last two arguments, which
    // are 0 here.
    call!(libc::SYS_clone, flags, 0, parent_tid.as_ptr(), 0, 0)
}

/// exit_group(2).
pub fn exit(code: i32) -> ! {
    loop {
        let _ = call!(libc::SYS_exit_group, code);
    }
}

/// ns on `CLOCK_MONOTONIC`, from the vDSO.
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing; this clock always exists, so errno
    // is never touched.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, core::ptr::from_mut(&mut time)) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// sendmsg(2) of one byte with a descriptor.
pub fn send_fd(socket: i32, fd: i32) -> Outcome {
    #[repr(C, align(8))]
    struct Control {
        header: libc::cmsghdr,
        fd: i32,
    }
    let mut byte = 0u8;
    let mut vector = libc::iovec { iov_base: core::ptr::from_mut(&mut byte).cast(), iov_len: 1 };
    // SAFETY: all-zero bytes are a valid `cmsghdr` and `msghdr`.
    let (mut control, mut message) =
        unsafe { (Control { header: core::mem::zeroed(), fd }, core::mem::zeroed::<libc::msghdr>()) };
    let length = size_of::<libc::cmsghdr>() + size_of::<i32>();
    control.header.cmsg_len = length as _;
    control.header.cmsg_level = libc::SOL_SOCKET;
    control.header.cmsg_type = libc::SCM_RIGHTS;
    message.msg_iov = core::ptr::from_mut(&mut vector);
    message.msg_iovlen = 1;
    message.msg_control = core::ptr::from_mut(&mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    call!(libc::SYS_sendmsg, socket, core::ptr::from_ref(&message), libc::MSG_NOSIGNAL)
}
