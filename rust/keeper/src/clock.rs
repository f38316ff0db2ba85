//! The clocks: the wall's, which people read and somebody may set, and the
//! one since the machine's start, by which durations are measured.

use rustix::time::{clock_gettime, ClockId};

/// ns since 1970.
#[must_use]
pub fn now() -> i64 {
    read(ClockId::Realtime)
}

/// ns since the machine's start, the time that it was suspended included.
#[must_use]
pub fn boot() -> i64 {
    read(ClockId::Boottime)
}

fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
