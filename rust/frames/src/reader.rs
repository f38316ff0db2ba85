//! Whole messages out of pieces of a stream.

use crate::error::FrameError;
use crate::scanner::Scanner;

/// Keeps the bytes of a message until it is whole.
#[derive(Debug)]
pub struct FrameReader {
    scanner: Scanner,
    /// The beginning of a message of which more is to come.
    begun: Vec<u8>,
    failed: Option<FrameError>,
}

impl FrameReader {
    /// A reader of messages of `max_frame` bytes and `max_depth` levels at most.
    #[must_use]
    pub fn new(max_frame: usize, max_depth: usize) -> Self {
        Self { scanner: Scanner::new(max_frame, max_depth), begun: Vec::new(), failed: None }
    }

    /// Bytes that are kept of a message that is not whole.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.begun.len()
    }

    /// Takes the next piece of the stream and gives `frame` each message that
    /// is whole with it, in order. The messages before an error are given; every
    /// call after it gives the same error, since where the next message would
    /// begin is not known.
    pub fn feed(&mut self, data: &[u8], mut frame: impl FnMut(&[u8])) -> Result<(), FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut rest = data;
        loop {
            match self.scanner.scan(rest) {
                Ok(Some(end)) => {
                    let (message, next) = rest.split_at(end);
                    rest = next;
                    if self.begun.is_empty() {
                        frame(message);
                    } else {
                        self.begun.extend_from_slice(message);
                        // Taken, not cleared: one long message must not hold its memory
                        // for as long as the connection lasts.
                        frame(&std::mem::take(&mut self.begun));
                    }
                }
                Ok(None) => {
                    self.begun.extend_from_slice(rest);
                    return Ok(());
                }
                Err(error) => {
                    self.failed = Some(error);
                    self.begun = Vec::new();
                    return Err(error);
                }
            }
        }
    }
}
