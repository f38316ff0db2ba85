//! System calls that must work where a C library may not: in a child that
//! shares its launcher's memory, between clone and execve.
//!
//! Everything here is one trap to the kernel and nothing else: no `errno` (the
//! child shares the launcher's thread-local storage), no cancellation point,
//! no allocation. Results are `Result<usize, i32>` with the kernel's errno.

pub mod call;
pub mod clone;
pub mod raw;

pub use call::*;

/// arm64 kernels may have pages of this size.
pub const LARGEST_PAGE: usize = 64 * 1024;
