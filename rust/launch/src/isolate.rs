//! What a program cloned into an existing pid namespace has of its launcher's
//! memory: nothing but code and its own strings.
//!
//! The container sees that process before its execve and may read all of its
//! memory. A plain fork would hand it the launcher's heap: the environment of
//! other containers, say. So what its last steps need lies in a mapping of its
//! own, and the helper marks all the rest as not to be copied
//! (`MADV_DONTFORK`) before it clones it (DESIGN 3.3). The pages around the
//! thread's own data are an exception: a C library has registered a place in
//! them into which the kernel writes whenever it pleases (rseq(2)), so they
//! have to be there, but are copied as zeros (`MADV_WIPEONFORK`).

#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::OnceLock;

use libc::c_char;

use crate::error::{LaunchError, Step};
use crate::process::Last;
use crate::sys;

/// Above every address of a process.
const TOP: usize = 0x00ff_ffff_ffff_f000;

/// The place of rseq(2) lies within so many bytes before or after the thread
/// pointer: in glibc's thread descriptor, or beyond the thread's static data.
const THREAD_DATA: usize = 64 * 1024;

/// A mapping of its own, filled once.
#[derive(Debug)]
struct Arena {
    base: NonNull<u8>,
    size: usize,
    used: usize,
}

impl Arena {
    fn map(size: usize) -> Result<Self, LaunchError> {
        use rustix::mm::{MapFlags, ProtFlags};
        let failed = |errno: rustix::io::Errno| LaunchError::os(Step::Clone, "memory", errno.raw_os_error());
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh anonymous mapping overlaps nothing.
        let base = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), size, protection, MapFlags::PRIVATE) };
        let base = NonNull::new(base.map_err(failed)?.cast()).ok_or_else(|| failed(rustix::io::Errno::NOMEM))?;
        Ok(Self { base, size, used: 0 })
    }

    /// Copies `items` into it. What is returned lives as long as the arena.
    fn put<T: Copy>(&mut self, items: &[T]) -> *const [T] {
        let at = self.used.next_multiple_of(align_of::<T>());
        let end = at + size_of_val(items);
        assert!(end <= self.size, "the arena was measured too small");
        self.used = end;
        // SAFETY: `at..end` lies within the mapping (just checked), is aligned
        // for `T` (the mapping for a page) and nothing else refers to it.
        unsafe {
            let place = self.base.as_ptr().add(at).cast::<T>();
            std::ptr::copy_nonoverlapping(items.as_ptr(), place, items.len());
            std::ptr::slice_from_raw_parts(place, items.len())
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`; what refers to it borrows from
        // the `Isolated` that owns it.
        let _unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.size) };
    }
}

/// A program's last steps in memory of their own, and all the rest.
#[derive(Debug)]
pub(crate) struct Isolated {
    arena: Arena,
    candidates: *const [*const c_char],
    argv: *const [*const c_char],
    env: *const [*const c_char],
    seccomp: Option<*const [libc::sock_filter]>,
    no_new_privileges: bool,
    terminal: bool,
    /// Address ranges that the program's process must not get.
    private: Vec<Range<usize>>,
    /// Those of which it gets zeros, where there is anything.
    thread: Vec<Range<usize>>,
    page: usize,
}

/// The bytes of a C string with its NUL.
fn bytes(string: *const c_char) -> &'static [u8] {
    // SAFETY: called for the strings of a `Last` alone, which are alive and
    // NUL-terminated; the slice is not kept beyond `Isolated::new`.
    unsafe { std::ffi::CStr::from_ptr(string) }.to_bytes_with_nul()
}

impl Isolated {
    /// Copies what `last` refers to. `stack` is what the helper runs on.
    pub fn new(last: &Last<'_>, stack: Range<usize>) -> Result<Self, LaunchError> {
        let lists = [last.candidates, last.argv, last.env];
        let code = last.seccomp.unwrap_or_default();
        let strings: usize = lists.iter().copied().flatten().filter(|s| !s.is_null()).map(|s| bytes(*s).len()).sum();
        let pointers: usize = lists.iter().map(|list| size_of_val(*list)).sum();
        let room = strings + pointers + size_of_val(code) + 64;
        let mut arena = Arena::map(room.next_multiple_of(sys::LARGEST_PAGE))?;
        let seccomp = last.seccomp.map(|code| arena.put(code));
        let mut list = |from: &[*const c_char]| {
            let mut copies = Vec::with_capacity(from.len());
            for string in from {
                let copy = if string.is_null() { *string } else { arena.put(bytes(*string)).cast::<c_char>() };
                copies.push(copy);
            }
            arena.put(&copies)
        };
        let (candidates, argv, env) = (list(last.candidates), list(last.argv), list(last.env));
        let own = arena.base.as_ptr() as usize;
        let mut kept = images().to_vec();
        kept.push(stack);
        kept.push(own..own + arena.size);
        let page = page_size();
        let pointer = sys::thread_pointer() / page * page;
        let window = pointer.saturating_sub(THREAD_DATA)..pointer + THREAD_DATA;
        let (thread, private) = split(gaps(kept), &window);
        Ok(Self {
            private,
            thread,
            page,
            arena,
            candidates,
            argv,
            env,
            seccomp,
            no_new_privileges: last.no_new_privileges,
            terminal: last.terminal,
        })
    }

    /// Marks the calling process's memory. System calls only.
    ///
    /// # Safety
    ///
    /// A process forked later may use nothing but this code, its stack and
    /// what [`Self::last`] refers to.
    pub unsafe fn hide_the_rest(&self) -> Result<(), i32> {
        for range in &self.private {
            // SAFETY: as the caller vouches.
            unsafe { sys::dont_fork(range) }?;
        }
        for range in &self.thread {
            for page in range.clone().step_by(self.page) {
                let page = page..page + self.page;
                // SAFETY: as the caller vouches. What cannot be wiped (a file,
                // say) is no thread's data.
                unsafe {
                    if sys::wipe_on_fork(&page).is_err() {
                        sys::dont_fork(&page)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The last steps, in their own memory.
    pub fn last(&self) -> Last<'_> {
        debug_assert!(self.arena.used > 0);
        // SAFETY: all of them lie in the arena, which `self` owns, and are
        // never written again.
        unsafe {
            Last {
                candidates: &*self.candidates,
                argv: &*self.argv,
                env: &*self.env,
                seccomp: self.seccomp.map(|code| &*code),
                no_new_privileges: self.no_new_privileges,
                leads: true,
                terminal: self.terminal,
            }
        }
    }
}

fn page_size() -> usize {
    // SAFETY: asks for a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// What lies between ranges.
fn gaps(mut kept: Vec<Range<usize>>) -> Vec<Range<usize>> {
    kept.sort_by_key(|range| range.start);
    let mut gaps = Vec::with_capacity(kept.len() + 1);
    let mut at = 0;
    for range in kept {
        if range.start > at {
            gaps.push(at..range.start);
        }
        at = at.max(range.end);
    }
    gaps.push(at..TOP);
    gaps
}

/// Ranges divided into their parts within a window and those without.
fn split(ranges: Vec<Range<usize>>, window: &Range<usize>) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let (mut within, mut without) = (Vec::new(), Vec::new());
    for range in ranges {
        let (start, end) = (range.start.max(window.start), range.end.min(window.end));
        if start >= end {
            without.push(range);
            continue;
        }
        within.push(start..end);
        without.extend([range.start..start, end..range.end].into_iter().filter(|part| !part.is_empty()));
    }
    (within, without)
}

/// Where this code and that of the C library (memcpy) are mapped. Found once:
/// neither is ever moved or unloaded while this code runs.
fn images() -> &'static [Range<usize>] {
    static IMAGES: OnceLock<Vec<Range<usize>>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        mapped(&maps, &[images as *const () as usize, libc::memcpy as *const () as usize])
    })
}

/// All mappings of the files of which one mapping holds one of the addresses.
fn mapped(maps: &str, addresses: &[usize]) -> Vec<Range<usize>> {
    let lines: Vec<(Range<usize>, &str)> = maps
        .lines()
        .filter_map(|line| {
            let mut words = line.splitn(6, ' ');
            let (start, end) = words.next()?.split_once('-')?;
            let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
            Some((range, words.nth(4)?.trim_start()))
        })
        .collect();
    let files: Vec<&str> = lines
        .iter()
        .filter(|(range, file)| file.starts_with('/') && addresses.iter().any(|address| range.contains(address)))
        .map(|(_, file)| *file)
        .collect();
    lines.into_iter().filter(|(_, file)| files.contains(file)).map(|(range, _)| range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_not_kept_is_private() {
        assert_eq!(
            gaps(vec![0x9000..0xa000, 0x1000..0x3000, 0x3000..0x4000]),
            [0..0x1000, 0x4000..0x9000, 0xa000..TOP]
        );
    }

    #[test]
    fn a_window_takes_its_part_of_each_range() {
        let ranges = vec![0..10, 20..30, 40..90, 95..99];
        let (within, without) = split(ranges, &(25..60));
        assert_eq!(within, [25..30, 40..60]);
        assert_eq!(without, [0..10, 20..25, 60..90, 95..99]);
    }

    #[test]
    fn images_are_all_mappings_of_the_files_with_the_code() {
        let maps = "\
1000-2000 r--p 00000000 00:01 7 /memfd:ardock-keeper (deleted)
2000-3000 r-xp 00001000 00:01 7 /memfd:ardock-keeper (deleted)
3000-4000 rw-p 00000000 00:00 0 
5000-6000 rw-p 00000000 00:00 0 [heap]
7000-8000 r--p 00000000 00:01 9 /usr/share/data
8000-9000 r-xp 00000000 00:01 8 /lib/libc.so.6
";
        assert_eq!(mapped(maps, &[0x2800, 0x8001]), [0x1000..0x2000, 0x2000..0x3000, 0x8000..0x9000]);
    }

    #[test]
    fn this_code_is_among_the_images() {
        let here = gaps as *const () as usize;
        assert!(images().iter().any(|range| range.contains(&here)));
    }
}
