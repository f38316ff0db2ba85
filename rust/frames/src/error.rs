//! Why a stream of bytes is no stream of messages.

use std::fmt;

use thiserror::Error;

/// What is wrong, as one sentence for whoever sent it. Nothing after it can be
/// understood any more: the connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The first byte of a message is not that of an array of 3 or 4 values.
    #[error("a message begins with {}, not with a MessagePack array of 3 or 4 values{}", Byte(*.0), hint(*.0))]
    Start(u8),
    /// 0xc1, which MessagePack keeps unused.
    #[error("byte {offset} of a message is 0xc1, which is no MessagePack")]
    Reserved {
        /// Where, from the message's first byte.
        offset: usize,
    },
    /// A message that is longer than allowed, or would be: its lengths say so.
    #[error("a message is longer than {max} bytes, which is the most that is allowed")]
    TooLong {
        /// The bound in bytes.
        max: usize,
    },
    /// Arrays and maps within one another.
    #[error("a message has arrays and maps within one another deeper than {max} levels")]
    TooDeep {
        /// The bound in levels, the message's own array being the first.
        max: usize,
    },
}

struct Byte(u8);

impl fmt::Display for Byte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the byte 0x{:02x}", self.0)?;
        if self.0.is_ascii_graphic() {
            write!(f, " ('{}')", self.0 as char)?;
        }
        Ok(())
    }
}

/// What usually begins so. Only the first byte is looked at, so that the
/// sentence does not depend on how the stream came in pieces.
fn hint(byte: u8) -> &'static str {
    match byte {
        b'A'..=b'Z' => "; HTTP is not spoken on this socket",
        0x16 => "; TLS is not spoken on this socket",
        b'{' | b'[' => "; JSON is not spoken on this socket",
        0xdc | 0xdd => " in its short form (0x93 or 0x94)",
        _ => "",
    }
}
