//! What a stream is compressed with, told by its first bytes, and its content.
//!
//! Media types are not asked: registries hold layers whose type says something
//! else than what they are, and every other engine looks at the bytes too.
//!
//! References: RFC 1952 (gzip), RFC 8878 (zstd).

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::error::Error;
use crate::Result;

/// The most that a zstd frame may make its reader keep: 128 MiB, as the zstd
/// program takes without being told otherwise. Each level but the
/// `--long` ones stays within.
const MOST_WINDOW_LOG: u32 = 27;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// Not at all.
    Plain,
    /// gzip, of one or more members.
    Gzip,
    /// zstd, of one or more frames, skippable ones among them.
    Zstd,
}

impl Media {
    /// How many first bytes it takes to tell.
    pub(crate) const TELLING: usize = 6;

    /// Its name: `none`, `gzip` or `zstd`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// By the first bytes of a stream, [`Self::TELLING`] of them where it has so many.
    pub(crate) fn of(first: &[u8]) -> Result<Self> {
        match first {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
                Err(Error::Compression { what: "xz", remedy: "repack it: xz -dc FILE | gzip" })
            }
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => {
                Err(Error::Compression { what: "bzip2", remedy: "repack it: bzip2 -dc FILE | gzip" })
            }
            _ => Ok(Self::Plain),
        }
    }
}

/// Takes a compressed stream by pieces and gives its content by pieces.
pub(crate) enum Decompressor {
    Plain,
    Gzip(Gzip),
    Zstd(Zstd),
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Plain => "Plain",
            Self::Gzip(_) => "Gzip",
            Self::Zstd(_) => "Zstd",
        })
    }
}

pub(crate) struct Gzip {
    inner: Decompress,
    state: Member,
    /// Bytes of the compressed stream taken, for errors.
    offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    /// Nothing of the next one has come.
    Between,
    Within,
    /// Zeros that fill the last record up, as tapes have them (and the gzip program ignores them).
    Padding,
}

pub(crate) struct Zstd {
    inner: Decoder<'static>,
    /// Nothing of the next frame has come.
    between: bool,
    offset: u64,
}

impl Decompressor {
    pub fn new(media: Media) -> Result<Self> {
        Ok(match media {
            Media::Plain => Self::Plain,
            Media::Gzip => Self::Gzip(Gzip { inner: Decompress::new_gzip(15), state: Member::Between, offset: 0 }),
            Media::Zstd => {
                let failed = |_| Error::Compressed { offset: 0, what: "zstd has no memory" };
                let mut inner = Decoder::new().map_err(failed)?;
                inner.set_parameter(DParameter::WindowLogMax(MOST_WINDOW_LOG)).map_err(failed)?;
                Self::Zstd(Zstd { inner, between: true, offset: 0 })
            }
        })
    }

    /// Takes from `input` and appends to `output`, up to its capacity. Where
    /// it took all of `input` and `output` has room left, it has nothing more
    /// to give for now. Gives the number of bytes taken.
    pub fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize> {
        match self {
            Self::Plain => {
                let count = input.len().min(output.capacity() - output.len());
                output.extend_from_slice(&input[..count]);
                Ok(count)
            }
            Self::Gzip(gzip) => gzip.step(input, output),
            Self::Zstd(zstd) => zstd.step(input, output),
        }
    }

    /// The stream has ended.
    pub fn finish(&self) -> Result<()> {
        let (whole, offset) = match self {
            Self::Plain => return Ok(()),
            Self::Gzip(gzip) => (gzip.state != Member::Within, gzip.offset),
            Self::Zstd(zstd) => (zstd.between, zstd.offset),
        };
        if whole {
            Ok(())
        } else {
            Err(Error::Compressed { offset, what: "it ends within its compressed data: it was cut off" })
        }
    }
}

impl Gzip {
    fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize> {
        let mut read = 0;
        while read < input.len() {
            match self.state {
                Member::Between if input[read] == 0 => self.state = Member::Padding,
                Member::Between => {
                    self.inner.reset(true);
                    self.state = Member::Within;
                }
                Member::Padding => {
                    if input[read..].iter().any(|byte| *byte != 0) {
                        return Err(self.fault("something follows the end of its gzip data that is no gzip"));
                    }
                    self.offset += (input.len() - read) as u64;
                    return Ok(input.len());
                }
                Member::Within => {
                    if output.len() == output.capacity() {
                        break;
                    }
                    let (taken, given) = (self.inner.total_in(), output.len());
                    let status = self.inner.decompress_vec(&input[read..], output, FlushDecompress::None);
                    let taken = self.inner.total_in() - taken;
                    read += taken as usize;
                    self.offset += taken;
                    match status {
                        Ok(Status::StreamEnd) => self.state = Member::Between,
                        Ok(_) if taken == 0 && given == output.len() => {
                            return Err(self.fault("its gzip data is damaged"));
                        }
                        Ok(_) => {}
                        Err(_) => return Err(self.fault("its gzip data is damaged")),
                    }
                }
            }
        }
        // What zlib holds back for want of room comes without input.
        if read == input.len() && self.state == Member::Within && output.len() < output.capacity() {
            match self.inner.decompress_vec(&[], output, FlushDecompress::None) {
                Ok(Status::StreamEnd) => self.state = Member::Between,
                Ok(_) => {}
                Err(_) => return Err(self.fault("its gzip data is damaged")),
            }
        }
        Ok(read)
    }

    fn fault(&self, what: &'static str) -> Error {
        Error::Compressed { offset: self.offset, what }
    }
}

impl Zstd {
    fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize> {
        let mut source = InBuffer::around(input);
        loop {
            let start = output.len();
            if start == output.capacity() || (self.between && source.pos() == input.len()) {
                break;
            }
            let before = source.pos();
            let hint = {
                let mut room = OutBuffer::around_pos(output, start);
                self.inner.run(&mut source, &mut room)
            };
            self.offset += (source.pos() - before) as u64;
            match hint {
                Ok(hint) => self.between = hint == 0,
                Err(error) => {
                    let text = error.to_string();
                    // zstd's own words for ZSTD_error_frameParameter_windowTooLarge.
                    let what = if text.contains("too much memory") {
                        "its zstd data needs a window of more than 128 MiB: compress it without --long or --ultra"
                    } else {
                        "its zstd data is damaged"
                    };
                    return Err(Error::Compressed { offset: self.offset, what });
                }
            }
            if source.pos() == input.len() && output.len() < output.capacity() {
                break;
            }
            if source.pos() == before && output.len() == start {
                return Err(Error::Compressed { offset: self.offset, what: "its zstd data is damaged" });
            }
        }
        Ok(source.pos())
    }
}
