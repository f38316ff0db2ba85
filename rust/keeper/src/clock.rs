//! Wall clock.

use rustix::time::{clock_gettime, ClockId};

/// ns since 1970.
#[must_use]
pub fn now() -> i64 {
    let time = clock_gettime(ClockId::Realtime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
