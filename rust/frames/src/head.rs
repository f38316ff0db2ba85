//! What the first byte of a MessagePack value says (the format's table,
//! <https://github.com/msgpack/msgpack/blob/master/spec.md#formats>).

/// The rest of a value whose first byte was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// So many bytes and the value is whole: numbers, short strings, extensions
    /// of fixed size (their type byte counted in).
    Bytes(u8),
    /// So many values follow (a map's keys and values are two each).
    Values(u8),
    /// A length of `width` bytes, then as many bytes and `extra` more.
    Sized { width: u8, extra: u8 },
    /// A count of `width` bytes, then `times` as many values.
    Counted { width: u8, times: u8 },
    /// 0xc1.
    Reserved,
}

impl Head {
    pub(crate) const fn of(byte: u8) -> Self {
        match byte {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Self::Bytes(0),
            0x80..=0x8f => Self::Values(2 * (byte & 0x0f)),
            0x90..=0x9f => Self::Values(byte & 0x0f),
            0xa0..=0xbf => Self::Bytes(byte & 0x1f),
            0xc1 => Self::Reserved,
            0xc4 | 0xd9 => Self::Sized { width: 1, extra: 0 },
            0xc5 | 0xda => Self::Sized { width: 2, extra: 0 },
            0xc6 | 0xdb => Self::Sized { width: 4, extra: 0 },
            0xc7 => Self::Sized { width: 1, extra: 1 },
            0xc8 => Self::Sized { width: 2, extra: 1 },
            0xc9 => Self::Sized { width: 4, extra: 1 },
            0xca | 0xce | 0xd2 => Self::Bytes(4),
            0xcb | 0xcf | 0xd3 => Self::Bytes(8),
            0xcc | 0xd0 => Self::Bytes(1),
            0xcd | 0xd1 | 0xd4 => Self::Bytes(2),
            0xd5 => Self::Bytes(3),
            0xd6 => Self::Bytes(5),
            0xd7 => Self::Bytes(9),
            0xd8 => Self::Bytes(17),
            0xdc => Self::Counted { width: 2, times: 1 },
            0xdd => Self::Counted { width: 4, times: 1 },
            0xde => Self::Counted { width: 2, times: 2 },
            0xdf => Self::Counted { width: 4, times: 2 },
        }
    }
}
