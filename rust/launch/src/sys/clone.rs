//! clone3 with a stack of the child's own.
//!
//! # Safety
//!
//! With `CLONE_VM` the child runs in its parent's memory. A child that
//! returned through its parent's frames would tear them down, so it starts on
//! a stack of its own, in a function that never returns, and with
//! `CLONE_VFORK` the parent (this thread of it) stands still until the child
//! has called execve or has ended.
#![allow(unsafe_code)]

use core::arch::asm;

/// `struct clone_args` of clone3(2), version 2 (88 bytes, Linux 5.7).
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct CloneArgs {
    /// `CLONE_*`.
    pub flags: u64,
    /// Where to store the pidfd (`CLONE_PIDFD`).
    pub pidfd: u64,
    /// Where to store the child's tid in its own memory.
    pub child_tid: u64,
    /// Where to store the child's tid in the parent's memory (`CLONE_PARENT_SETTID`).
    pub parent_tid: u64,
    /// Signal sent to the parent at exit; 0 with `CLONE_PARENT`.
    pub exit_signal: u64,
    /// Lowest address of the stack.
    pub stack: u64,
    /// Its size.
    pub stack_size: u64,
    /// Thread-local storage (`CLONE_SETTLS`).
    pub tls: u64,
    /// Process ids to give (`CLONE_SETTID`).
    pub set_tid: u64,
    /// How many.
    pub set_tid_size: u64,
    /// Directory descriptor of a v2 cgroup (`CLONE_INTO_CGROUP`).
    pub cgroup: u64,
}

/// What the child runs; it never returns.
pub type Entry = extern "C" fn(*mut core::ffi::c_void) -> !;

/// Clones; the child calls `entry(argument)` on the stack of `args`.
/// Returns the child's process id or the errno.
///
/// # Safety
///
/// `args.stack` must name memory that is valid for the child's whole run and
/// used by nobody else, `args.parent_tid` and `args.pidfd` valid places where
/// the flags use them. `entry` must not unwind, and with `CLONE_VM` it must
/// leave the parent's memory in a state the parent can go on with.
pub unsafe fn clone3(args: &CloneArgs, entry: Entry, argument: *mut core::ffi::c_void) -> Result<i32, i32> {
    let result: isize;
    // SAFETY: clone3's arguments are as the caller vouches. In the child all
    // registers but rax and rsp are the parent's, so entry and argument are
    // still in theirs; the child never comes back out of this block.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") core::ptr::from_ref(args),
            in("rsi") core::mem::size_of::<CloneArgs>(),
            in("r8") argument,
            in("r9") entry,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    // SAFETY: as on x86-64, with x9 and x10 as the registers that keep entry
    // and argument.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x10",
            "blr x9",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") core::ptr::from_ref(args) => result,
            in("x1") core::mem::size_of::<CloneArgs>(),
            in("x9") entry,
            in("x10") argument,
            options(nostack),
        );
    }
    super::raw::check(result).map(|pid| pid as i32)
}
