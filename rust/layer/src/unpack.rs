//! A tar stream into a directory.

use std::path::Path;

use crate::digest::Summary;
use crate::tar::Parser;
use crate::write::{Limits, Writer};
use crate::{Cancelled, Result};

/// Unpacks an archive that comes by pieces of any size. After an error, or
/// dropped before its end, the directory holds a part of it.
#[derive(Debug)]
pub struct Unpacker {
    parser: Parser,
    writer: Writer,
}

impl Unpacker {
    /// Unpacks into the existing, empty directory `target`.
    pub fn new(target: &Path) -> Result<Self> {
        let writer = Writer::new(target, None, Limits { size: u64::MAX, ..Limits::default() }, false)?;
        Ok(Self { parser: Parser::default(), writer })
    }

    /// The next piece of the archive.
    pub fn feed(&mut self, data: &[u8]) -> Result<()> {
        self.parser.feed(data, &mut self.writer)
    }

    /// The archive has ended; its tree is whole and on the disk.
    pub fn finish(self, cancelled: Cancelled<'_>) -> Result<Summary> {
        self.parser.finish()?;
        self.writer.target.summarize(cancelled)
    }
}
