//! The stack that a child runs on until its execve.

use std::ops::Range;
use std::ptr::NonNull;

use crate::error::{LaunchError, Step};
use crate::sys;

/// A stack for the child, with a guard page below it.
#[derive(Debug)]
pub(super) struct Stack {
    base: NonNull<u8>,
}

impl Stack {
    /// One page, of the largest size that a supported machine has.
    const GUARD: usize = sys::LARGEST_PAGE;
    /// Without the guard page.
    pub(super) const SIZE: usize = 64 * 1024;

    #[allow(unsafe_code)]
    fn map() -> Result<Self, LaunchError> {
        use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
        let failed = |errno: rustix::io::Errno| LaunchError::os(Step::Clone, "a stack", errno.raw_os_error());
        // SAFETY: a fresh anonymous mapping overlaps nothing.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                Self::GUARD + Self::SIZE,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::STACK,
            )
        }
        .map_err(failed)?;
        let stack = Self { base: NonNull::new(base.cast()).ok_or_else(|| failed(rustix::io::Errno::NOMEM))? };
        // SAFETY: the first page of the mapping just made; nothing uses it.
        unsafe { rustix::mm::mprotect(base, Self::GUARD, MprotectFlags::empty()) }.map_err(failed)?;
        // There now, and the launcher's: a child that was cloned into a group
        // whose memory is used up would take the fault for its stack again
        // and again, since the kernel's OOM killer passes over a process in
        // vfork. Kernels before 5.14 do not know the advice; a launch's
        // deadline ends it there.
        let advice = rustix::mm::Advice::LinuxPopulateWrite;
        // SAFETY: fresh pages, above the guard page.
        let _unknown = unsafe { rustix::mm::madvise(base.cast::<u8>().add(Self::GUARD).cast(), Self::SIZE, advice) };
        Ok(stack)
    }

    /// Its addresses, without the guard page.
    pub(super) fn range(&self) -> Range<usize> {
        let bottom = self.base.as_ptr() as usize + Self::GUARD;
        bottom..bottom + Self::SIZE
    }
}

impl Drop for Stack {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`; the child that ran on it has
        // called execve or ended (CLONE_VFORK), or has a copy of its own.
        let _unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), Self::GUARD + Self::SIZE) };
    }
}

thread_local! {
    /// Made once for each launching thread.
    static STACK: std::cell::OnceCell<Stack> = const { std::cell::OnceCell::new() };
}

/// Runs something with the calling thread's stack for children.
pub(super) fn with_stack<T>(run: impl FnOnce(&Stack) -> T) -> Result<T, LaunchError> {
    STACK.with(|cell| {
        if cell.get().is_none() {
            let _first = cell.set(Stack::map()?);
        }
        cell.get().map(run).ok_or_else(|| LaunchError::os(Step::Clone, "a stack", libc::ENOMEM))
    })
}
