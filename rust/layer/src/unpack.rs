//! A tar stream into a directory.

use std::path::Path;

use rustix::fs::FileType;

use crate::digest::Summary;
use crate::error::Error;
use crate::name::Name;
use crate::tar::{Entry, Kind, Parser, Sink};
use crate::target::{Node, Target, Writing};
use crate::{Cancelled, Result};

/// Unpacks an archive that comes by pieces of any size. After an error, or
/// dropped before its end, the directory holds a part of it.
#[derive(Debug)]
pub struct Unpacker {
    parser: Parser,
    writer: Writer,
}

#[derive(Debug)]
struct Writer {
    target: Target,
    writing: Option<Writing>,
}

impl Unpacker {
    /// Unpacks into the existing, empty directory `target`.
    pub fn new(target: &Path) -> Result<Self> {
        let writer = Writer { target: Target::open(target)?, writing: None };
        Ok(Self { parser: Parser::default(), writer })
    }

    /// The next piece of the archive.
    pub fn feed(&mut self, data: &[u8]) -> Result<()> {
        self.parser.feed(data, &mut self.writer)
    }

    /// The archive has ended; its tree is whole and on the disk.
    pub fn finish(self, cancelled: Cancelled<'_>) -> Result<Summary> {
        self.parser.finish()?;
        self.writer.target.finish(cancelled)
    }
}

impl Sink for Writer {
    fn entry(&mut self, entry: Entry) -> Result<()> {
        let name = Name::parse(&entry.name)?;
        let attributes = entry.attributes;
        let mut node = |kind, major, minor| self.target.node(&name, Node { kind, major, minor }, &attributes);
        match entry.kind {
            Kind::CharacterDevice(major, minor) => node(FileType::CharacterDevice, major, minor),
            Kind::BlockDevice(major, minor) => node(FileType::BlockDevice, major, minor),
            Kind::Fifo => node(FileType::Fifo, 0, 0),
            Kind::Directory => self.target.directory(&name, &attributes),
            Kind::Symlink(target) => self.target.symlink(&name, &target, &attributes),
            // The file's attributes are those of its first name.
            Kind::HardLink(existing) => self.target.hard_link(&name, &Name::parse(&existing)?),
            Kind::File(_) => {
                self.writing = Some(self.target.file(&name, attributes)?);
                Ok(())
            }
        }
    }

    fn data(&mut self, data: &[u8]) -> Result<()> {
        match &mut self.writing {
            Some(writing) => writing.write(data),
            None => Err(Error::Damaged { offset: 0, what: "there is content without a file" }),
        }
    }

    fn end_of_file(&mut self) -> Result<()> {
        match self.writing.take() {
            Some(writing) => self.target.finish_file(writing),
            None => Err(Error::Damaged { offset: 0, what: "there is content without a file" }),
        }
    }
}
