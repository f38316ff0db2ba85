//! Sparse files: the archive holds their data without their holes, and a map
//! of where it goes. GNU has made four forms of it.
//!
//! Reference: the GNU tar manual, "Storing Sparse Files".

use crate::tar::header::{number, Fault, BLOCK};

/// Most pieces of one file: an archive may not make its reader keep more (16 MiB).
const MOST_PIECES: usize = 1 << 20;

/// Where a sparse file's data lies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Map {
    /// Offset and length of each piece, in the order of the file.
    pieces: Vec<(u64, u64)>,
    /// Bytes of the whole file.
    pub size: u64,
}

impl Map {
    pub fn push(&mut self, offset: u64, length: u64) -> Result<(), Fault> {
        if self.pieces.len() == MOST_PIECES {
            return Err("a sparse file has more than a million pieces");
        }
        self.pieces.push((offset, length));
        Ok(())
    }

    /// Takes the pieces of an old GNU header, or of a block that goes on with it.
    pub fn read_old(&mut self, fields: &[u8]) -> Result<(), Fault> {
        let fault = "a sparse file's map is malformed";
        for piece in fields.chunks_exact(24) {
            // Unused ones are filled with zero bytes.
            if piece[0] == 0 {
                return Ok(());
            }
            let field = |field: &[u8]| number(field).and_then(|it| u64::try_from(it).ok()).ok_or(fault);
            self.push(field(&piece[..12])?, field(&piece[12..])?)?;
        }
        Ok(())
    }

    /// `offset,length,offset,length`
    pub fn read_list(&mut self, text: &[u8]) -> Result<(), Fault> {
        let fault = "a sparse file's map is malformed";
        if text.is_empty() {
            return Ok(());
        }
        let mut numbers = text.split(|byte| *byte == b',').map(decimal);
        while let Some(offset) = numbers.next() {
            let length = numbers.next().flatten().ok_or(fault)?;
            self.push(offset.ok_or(fault)?, length)?;
        }
        Ok(())
    }

    /// The map and `stored` bytes of data fit each other: the data's pieces
    /// in turn.
    pub fn pieces(self, stored: u64) -> Result<Pieces, Fault> {
        let (mut end, mut sum) = (0u64, 0u64);
        for (offset, length) in &self.pieces {
            if *offset < end {
                return Err("a sparse file's pieces overlap");
            }
            end = offset.checked_add(*length).ok_or("a sparse file's map is out of range")?;
            sum += length; // each ends behind the one before it
        }
        if end > self.size || i64::try_from(self.size).is_err() {
            return Err("a sparse file's map is out of range");
        }
        if sum != stored {
            return Err("a sparse file's map does not fit its data");
        }
        let pieces = self.pieces.into_iter().filter(|(_, length)| *length > 0).collect::<Vec<_>>();
        Ok(Pieces { next: pieces.into_iter(), current: (0, 0), at: 0, size: self.size })
    }
}

/// Goes through a map as the data comes.
#[derive(Debug)]
pub(crate) struct Pieces {
    next: std::vec::IntoIter<(u64, u64)>,
    /// Offset and rest of the one that is being read.
    current: (u64, u64),
    at: u64,
    size: u64,
}

impl Pieces {
    /// The hole before the next byte of data, 0 for none, and how much data
    /// follows in one piece.
    pub fn next(&mut self) -> (u64, u64) {
        if self.current.1 == 0 {
            self.current = self.next.next().unwrap_or((self.size, 0));
        }
        let hole = self.current.0 - self.at;
        self.at = self.current.0;
        (hole, self.current.1)
    }

    /// So many bytes of the piece have been taken.
    pub fn taken(&mut self, count: u64) {
        self.current = (self.current.0 + count, self.current.1 - count);
        self.at += count;
    }

    /// The hole behind the last piece.
    pub fn rest(&self) -> u64 {
        self.size - self.at
    }
}

/// The map at the beginning of a file's data in form 1.0: decimal numbers, each
/// with a newline behind it, the number of pieces first; up to the next block.
#[derive(Debug, Default)]
pub(crate) struct MapReader {
    map: Map,
    /// Digits of the number that is being read.
    digits: Vec<u8>,
    count: Option<u64>,
    offset: Option<u64>,
}

impl MapReader {
    /// Takes a whole block; whether the map goes on in the next one.
    pub fn block(&mut self, block: &[u8; BLOCK]) -> Result<bool, Fault> {
        let fault = "a sparse file's map is malformed";
        for byte in block {
            if *byte != b'\n' {
                if self.digits.len() > 20 {
                    return Err(fault);
                }
                self.digits.push(*byte);
                continue;
            }
            let value = decimal(&self.digits).ok_or(fault)?;
            self.digits.clear();
            match (self.count, self.offset.take()) {
                (None, _) => self.count = Some(value),
                (Some(_), None) => self.offset = Some(value),
                (Some(_), Some(offset)) => self.map.push(offset, value)?,
            }
            if self.offset.is_none() && self.count == Some(self.map.pieces.len() as u64) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The map, once it is whole.
    pub fn finish(self, size: u64) -> Map {
        Map { size, ..self.map }
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
