#![allow(unsafe_code)]
//! Signal numbers as they come from an engine.

use rustix::process::Signal;

/// A signal from its number, real-time ones included; not the two that libcs
/// keep for themselves.
#[must_use]
pub fn from_number(number: i32) -> Option<Signal> {
    Signal::from_named_raw(number).or_else(|| {
        // SAFETY: 34 to 64 are valid for the kernel, and no libc of this
        // process reserves them; the value is only ever sent, not handled.
        (34..=64).contains(&number).then(|| unsafe { Signal::from_raw_unchecked(number) })
    })
}
