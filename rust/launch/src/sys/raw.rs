//! The trap instruction.
//!
//! # Safety
//!
//! A system call can do anything to memory that its arguments name. Each
//! caller in [`super::call`] gives the kernel pointers made from references
//! that outlive the call, with lengths taken from the same references.
#![allow(unsafe_code)]
#![allow(clippy::many_single_char_names)] // the kernel numbers its arguments

use core::arch::asm;

/// A system call with six arguments; the raw result, `-errno` on failure.
///
/// # Safety
///
/// The arguments must be valid for system call `number`: every pointer among
/// them must be valid for what the kernel does with it.
#[cfg(target_arch = "x86_64")]
#[inline]
pub unsafe fn syscall6(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize {
    let result: isize;
    // SAFETY: the x86-64 system call convention: arguments in rdi, rsi, rdx,
    // r10, r8, r9; rcx and r11 are clobbered; the caller vouches for them.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// A system call with six arguments; the raw result, `-errno` on failure.
///
/// # Safety
///
/// As on x86-64.
#[cfg(target_arch = "aarch64")]
#[inline]
pub unsafe fn syscall6(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize {
    let result: isize;
    // SAFETY: the arm64 system call convention: number in x8, arguments in x0
    // to x5; the caller vouches for them.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    result
}

/// The raw result as a `Result`.
#[inline]
pub(crate) fn check(result: isize) -> Result<usize, i32> {
    if result < 0 {
        Err(-result as i32)
    } else {
        Ok(result as usize)
    }
}
