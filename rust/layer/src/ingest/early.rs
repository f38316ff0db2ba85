//! Writing to the disk while there is more to come.
//!
//! The kernel keeps what was written for up to 30 s, or until a tenth of the
//! memory is full of it: without this, a layer would be in memory as a whole
//! when it is unpacked, and its end would wait for all of it to be written.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use rustix::fs;

/// Bytes that are worth a call, which writes what others have changed on the
/// file system as well.
const STEP: u64 = 128 << 20;

/// One at a time in this process: several layers lie on one file system, and
/// each call is for all of it.
static TURN: Mutex<()> = Mutex::new(());

/// Counts what is written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    count: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    due: bool,
    over: bool,
}

impl Written {
    /// So many bytes more.
    pub fn add(&self, count: usize) {
        let before = self.count.fetch_add(count as u64, Ordering::Relaxed);
        if before / STEP != (before + count as u64) / STEP {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).due = true;
            self.changed.notify_one();
        }
    }

    /// No more comes.
    pub fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.changed.notify_one();
    }

    /// Writes to the disk what the file system `on` has, again and again until
    /// the end. The kernel tells a failure once for each time that a file was
    /// opened (syncfs(2)): it is told here, and not again in the end.
    pub fn follow(&self, on: &OwnedFd) -> rustix::io::Result<()> {
        loop {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            while !state.due && !state.over {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.over {
                return Ok(());
            }
            state.due = false;
            drop(state);
            let Ok(_turn) = TURN.try_lock() else { continue };
            fs::syncfs(on)?;
        }
    }
}
