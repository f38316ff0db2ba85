//! Walks through one message after another, a piece of the stream at a time.

use crate::error::FrameError;
use crate::head::Head;

/// Where in a value the stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Before a message's first byte.
    Start,
    /// Before a value's first byte.
    Value,
    /// In the length or count of a value: `left` bytes of it are missing.
    Number { left: u8, value: u32, head: Head },
    /// In the bytes of a value: so many are missing.
    Bytes { left: u64 },
}

/// Finds the ends of messages.
#[derive(Debug, Clone)]
pub struct Scanner {
    max_frame: usize,
    max_depth: usize,
    within: Within,
    /// How many values are missing in each array or map that is open; never 0.
    open: Vec<u64>,
    /// Values of which not even the first byte was seen.
    missing: u64,
    /// Bytes of the message so far.
    length: usize,
}

impl Scanner {
    /// A scanner of messages of `max_frame` bytes and `max_depth` levels at most.
    #[must_use]
    pub fn new(max_frame: usize, max_depth: usize) -> Self {
        Self { max_frame, max_depth, within: Within::Start, open: Vec::new(), missing: 0, length: 0 }
    }

    /// Bytes of the message that is begun and not whole; 0 between messages.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Goes on with `data`. Where a message ends in it: the number of bytes up
    /// to there, and the rest is for the next call; else None, all was taken.
    ///
    /// After an error the scanner is not to be used again.
    pub fn scan(&mut self, data: &[u8]) -> Result<Option<usize>, FrameError> {
        let mut at = 0;
        while at < data.len() {
            let mut value_ends = false;
            match self.within {
                Within::Bytes { left } => {
                    let taken = left.min((data.len() - at) as u64) as usize;
                    at += taken;
                    self.length += taken;
                    let left = left - taken as u64;
                    self.within = Within::Bytes { left };
                    value_ends = left == 0;
                }
                Within::Start => {
                    let byte = data[at];
                    if !matches!(byte, 0x93 | 0x94) {
                        return Err(FrameError::Start(byte));
                    }
                    at += 1;
                    self.length = 1;
                    self.enter(u64::from(byte & 0x0f))?;
                }
                Within::Value => {
                    let head = Head::of(data[at]);
                    at += 1;
                    self.missing -= 1;
                    self.length += 1;
                    match head {
                        Head::Bytes(0) | Head::Values(0) => value_ends = true,
                        Head::Bytes(count) => self.expect(u64::from(count))?,
                        Head::Values(count) => self.enter(u64::from(count))?,
                        Head::Sized { width, .. } | Head::Counted { width, .. } => {
                            self.within = Within::Number { left: width, value: 0, head };
                        }
                        Head::Reserved => return Err(FrameError::Reserved { offset: self.length - 1 }),
                    }
                }
                Within::Number { left, value, head } => {
                    let value = value << 8 | u32::from(data[at]);
                    at += 1;
                    self.length += 1;
                    if left > 1 {
                        self.within = Within::Number { left: left - 1, value, head };
                    } else {
                        value_ends = self.number(head, value)?;
                    }
                }
            }
            if value_ends && self.leave() {
                if self.length > self.max_frame {
                    return Err(self.too_long());
                }
                self.length = 0;
                return Ok(Some(at));
            }
            self.check_length(0)?;
        }
        Ok(None)
    }

    /// A length or count is whole; whether the value ends with it.
    fn number(&mut self, head: Head, value: u32) -> Result<bool, FrameError> {
        match head {
            Head::Sized { extra, .. } => {
                let bytes = u64::from(value) + u64::from(extra);
                if bytes == 0 {
                    return Ok(true);
                }
                self.expect(bytes)?;
            }
            Head::Counted { times, .. } => {
                let values = u64::from(value) * u64::from(times);
                if values == 0 {
                    return Ok(true);
                }
                self.enter(values)?;
            }
            Head::Bytes(_) | Head::Values(_) | Head::Reserved => unreachable!("these have no number"),
        }
        Ok(false)
    }

    /// So many bytes follow, one at least.
    fn expect(&mut self, bytes: u64) -> Result<(), FrameError> {
        self.within = Within::Bytes { left: bytes };
        self.check_length(bytes)
    }

    /// So many values follow, one at least.
    fn enter(&mut self, values: u64) -> Result<(), FrameError> {
        if self.open.len() >= self.max_depth {
            return Err(FrameError::TooDeep { max: self.max_depth });
        }
        self.open.push(values);
        self.missing += values;
        self.within = Within::Value;
        self.check_length(0)
    }

    /// A value has ended, and with it each array or map whose last one it was;
    /// whether the message has.
    fn leave(&mut self) -> bool {
        while let Some(values) = self.open.last_mut() {
            *values -= 1;
            if *values > 0 {
                self.within = Within::Value;
                return false;
            }
            self.open.pop();
        }
        self.within = Within::Start;
        true
    }

    /// Refuses a message as soon as its own numbers say that it will be too
    /// long, and not only when so many bytes were kept: an attacker's claim
    /// costs him what it costs us.
    fn check_length(&self, bytes: u64) -> Result<(), FrameError> {
        if self.length as u64 + bytes + self.missing > self.max_frame as u64 {
            return Err(self.too_long());
        }
        Ok(())
    }

    fn too_long(&self) -> FrameError {
        FrameError::TooLong { max: self.max_frame }
    }
}
