//! A bounded pipe of buffers between two threads. The buffers go round: what
//! has been read comes back to be filled again, so that a layer of any size
//! costs the same memory.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of a buffer. Measured from 64 KiB to 2 MiB: smaller ones cost thread
/// switches, larger ones fall out of the cache before the other thread reads
/// them.
pub(crate) const BUFFER: usize = 256 << 10;
/// Buffers of a pipe; so many that one thread can go on while the other waits
/// for the disk.
const BUFFERS: usize = 12;

#[derive(Debug, Default)]
struct State {
    full: VecDeque<Vec<u8>>,
    free: Vec<Vec<u8>>,
    made: usize,
    /// The writer has written all of it.
    ended: bool,
    /// One of the two gives up.
    broken: bool,
}

/// The pipe; one thread writes, one reads.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    state: Mutex<State>,
    filled: Condvar,
    freed: Condvar,
}

/// The other thread has given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

impl Pipe {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty buffer with room for [`BUFFER`] bytes; waits for one.
    pub fn buffer(&self) -> Result<Vec<u8>, Broken> {
        let mut state = self.state();
        loop {
            if state.broken {
                return Err(Broken);
            }
            if let Some(buffer) = state.free.pop() {
                return Ok(buffer);
            }
            if state.made < BUFFERS {
                state.made += 1;
                drop(state);
                return Ok(Vec::with_capacity(BUFFER));
            }
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The buffer last written, to write more into, where the reader has not
    /// taken it yet and it has room; else an empty one.
    pub fn last_or_buffer(&self) -> Result<Vec<u8>, Broken> {
        let mut state = self.state();
        if !state.broken && state.full.back().is_some_and(|last| last.len() < BUFFER) {
            if let Some(last) = state.full.pop_back() {
                return Ok(last);
            }
        }
        drop(state);
        self.buffer()
    }

    /// Hands a buffer to the reader.
    pub fn write(&self, buffer: Vec<u8>) -> Result<(), Broken> {
        let mut state = self.state();
        if state.broken {
            return Err(Broken);
        }
        state.full.push_back(buffer);
        self.filled.notify_one();
        Ok(())
    }

    /// The next buffer; None at the end. Waits for one.
    pub fn read(&self) -> Result<Option<Vec<u8>>, Broken> {
        let mut state = self.state();
        loop {
            if state.broken {
                return Err(Broken);
            }
            if let Some(buffer) = state.full.pop_front() {
                return Ok(Some(buffer));
            }
            if state.ended {
                return Ok(None);
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives a buffer that was read back.
    pub fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.state().free.push(buffer);
        self.freed.notify_one();
    }

    /// Nothing more will be written.
    pub fn end(&self) {
        self.state().ended = true;
        self.filled.notify_one();
    }

    /// Ends both sides, whatever is in it.
    pub fn break_off(&self) {
        self.state().broken = true;
        self.filled.notify_one();
        self.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_goes_in_comes_out_through_few_buffers() {
        let pipe = Pipe::default();
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..1000u32 {
                    let mut buffer = pipe.buffer().unwrap();
                    buffer.extend_from_slice(&number.to_le_bytes());
                    pipe.write(buffer).unwrap();
                }
                pipe.end();
            });
            for number in 0..1000u32 {
                let buffer = pipe.read().unwrap().unwrap();
                assert_eq!(buffer, number.to_le_bytes());
                pipe.give_back(buffer);
            }
            assert_eq!(pipe.read(), Ok(None));
        });
        assert!(pipe.state().made <= BUFFERS);
    }

    #[test]
    fn breaking_it_off_wakes_both_sides() {
        let pipe = Pipe::default();
        thread::scope(|scope| {
            let reader = scope.spawn(|| pipe.read());
            thread::sleep(std::time::Duration::from_millis(20));
            pipe.break_off();
            assert_eq!(reader.join().unwrap(), Err(Broken));
        });
        assert_eq!(pipe.buffer(), Err(Broken));
        assert_eq!(pipe.write(Vec::new()), Err(Broken));
    }

    #[test]
    fn small_pieces_share_a_buffer() {
        let pipe = Pipe::default();
        for _ in 0..100 {
            let mut buffer = pipe.last_or_buffer().unwrap();
            buffer.push(1);
            pipe.write(buffer).unwrap();
        }
        assert_eq!(pipe.read().unwrap().unwrap().len(), 100);
    }
}
