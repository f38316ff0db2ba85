//! Memory that a launch shares with whoever watches it.

#![allow(unsafe_code)]

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use crate::error::Step;
use crate::sys;

/// Points of the child's clock; see [`crate::timings`].
pub(crate) const MARKS: usize = 6;

/// Where one launch stands. It lies in a shared mapping, because the child
/// writes it (in a memory of its own or its launcher's) and the keeper reads
/// it when a launch passes its deadline. Whoever reads it distrusts it: the
/// numbers come from a process that may be a container's by now.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Slot {
    /// The child, once it is cloned (by the kernel, before it runs).
    pub child_pid: AtomicI32,
    /// The helper of an exec, which shares no memory with its launcher.
    pub helper_pid: AtomicI32,
    /// The [`Step`] it is at.
    pub step: AtomicU32,
    /// Which of the step's things (the third mount, say).
    pub index: AtomicU32,
    /// Why it failed; 0 while it has not.
    pub errno: AtomicI32,
    /// When the child passed each mark, ns on `CLOCK_MONOTONIC`.
    pub(crate) marks: [AtomicU64; MARKS],
}

impl Slot {
    pub(crate) fn reset(&self) {
        self.child_pid.store(0, Ordering::Relaxed);
        self.helper_pid.store(0, Ordering::Relaxed);
        self.step.store(Step::Spec as u32, Ordering::Relaxed);
        self.index.store(0, Ordering::Relaxed);
        self.errno.store(0, Ordering::Relaxed);
        for mark in &self.marks {
            mark.store(0, Ordering::Relaxed);
        }
    }

    /// The step that was entered last.
    #[must_use]
    pub fn current_step(&self) -> Step {
        Step::from_number(self.step.load(Ordering::Relaxed)).unwrap_or(Step::Spec)
    }

    pub(crate) fn enter(&self, step: Step, index: usize) {
        self.step.store(step as u32, Ordering::Relaxed);
        self.index.store(index as u32, Ordering::Relaxed);
    }

    pub(crate) fn mark(&self, number: usize) {
        self.marks[number].store(sys::now_ns(), Ordering::Relaxed);
    }
}

/// A number of [`Slot`]s in a shared anonymous mapping of their own.
#[derive(Debug)]
pub struct Slots {
    base: NonNull<Slot>,
    count: usize,
}

// SAFETY: a `Slot` is atomics only, and the mapping lives as long as `Slots`.
unsafe impl Send for Slots {}
// SAFETY: as above.
unsafe impl Sync for Slots {}

impl Slots {
    /// Maps `count` slots, all zero. A process forked later shares them.
    pub fn map(count: usize) -> std::io::Result<Self> {
        // SAFETY: a fresh anonymous mapping overlaps nothing.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                count * size_of::<Slot>(),
                rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
                rustix::mm::MapFlags::SHARED,
            )
        }?;
        let base = NonNull::new(base.cast()).ok_or_else(|| std::io::Error::other("mmap returned address 0"))?;
        Ok(Self { base, count })
    }
}

impl Deref for Slots {
    type Target = [Slot];

    fn deref(&self) -> &[Slot] {
        // SAFETY: the mapping holds `count` slots, all-zero bytes are a valid
        // `Slot`, and it is never unmapped before `self` goes.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.count) }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `map`; references into it
        // borrow from `self`.
        let _unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.count * size_of::<Slot>()) };
    }
}
