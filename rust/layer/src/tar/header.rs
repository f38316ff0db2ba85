//! One 512-byte header block.

/// Bytes of a block.
pub(crate) const BLOCK: usize = 512;

type Block = [u8; BLOCK];
/// What is wrong with a field.
pub(crate) type Fault = &'static str;

/// The fields as they stand in the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub flag: u8,
    pub mode: i64,
    pub uid: i64,
    pub gid: i64,
    pub size: i64,
    pub mtime: i64,
    pub major: i64,
    pub minor: i64,
}

/// Whether the block is the end mark.
pub(crate) fn is_end(block: &Block) -> bool {
    block.iter().all(|byte| *byte == 0)
}

impl Header {
    /// Whether the sum fits: of all bytes, the sum's own field read as blanks.
    /// Old writers added signed bytes up.
    pub fn sum_fits(block: &Block) -> bool {
        let byte = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { b' ' } else { *byte };
        let unsigned: i64 = block.iter().enumerate().map(byte).map(i64::from).sum();
        let signed: i64 = block.iter().enumerate().map(byte).map(|it| i64::from(it as i8)).sum();
        number(&block[148..156]).is_some_and(|sum| sum == unsigned || sum == signed)
    }

    /// Reads the fields of a block whose sum fits.
    pub fn parse(block: &Block) -> Result<Self, Fault> {
        let flag = block[156];
        let magic = &block[257..265];
        let posix = magic.starts_with(b"ustar\0");
        let gnu = magic == b"ustar  \0";
        let mut name = text(&block[..100]).to_vec();
        // GNU has other things where ustar has the front part of a long name.
        if posix {
            let prefix = if &block[508..] == b"tar\0" { &block[345..476] } else { &block[345..500] };
            let prefix = text(prefix);
            if !prefix.is_empty() {
                name = [prefix, b"/", &name].concat();
            }
        }
        // v7 has no device numbers, and rubbish may be where they are later.
        let device = |field: &[u8]| {
            if matches!(flag, b'3' | b'4') && (posix || gnu) {
                number(field).ok_or("a device number is malformed")
            } else {
                Ok(0)
            }
        };
        Ok(Self {
            name,
            link: text(&block[157..257]).to_vec(),
            flag,
            mode: number(&block[100..108]).ok_or("the permissions are malformed")?,
            uid: number(&block[108..116]).ok_or("the owner is malformed")?,
            gid: number(&block[116..124]).ok_or("the group is malformed")?,
            size: number(&block[124..136]).ok_or("the size is malformed")?,
            mtime: number(&block[136..148]).ok_or("the time is malformed")?,
            major: device(&block[329..337])?,
            minor: device(&block[337..345])?,
        })
    }
}

/// Up to the first zero byte.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Octal digits with blanks and zero bytes around them, nothing at all being
/// 0; or, with the first bit set, GNU's big-endian two's complement.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        let negative = field[0] & 0x40 != 0;
        // The mark itself is no part of the number.
        let first = if negative { field[0] } else { field[0] & 0x7f };
        let mut value: i64 = if negative { -1 } else { 0 };
        for byte in std::iter::once(first).chain(field[1..].iter().copied()) {
            // Shifting must lose nothing but copies of the sign.
            let shifted = value.checked_mul(256)?;
            value = shifted | i64::from(byte);
        }
        return Some(value);
    }
    let digits = field.trim_ascii_start();
    let digits = digits.split(|byte| matches!(byte, 0 | b' ')).next().unwrap_or_default();
    let mut value: i64 = 0;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return None;
        }
        value = value.checked_mul(8)? | i64::from(digit - b'0');
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let cases: [(&[u8], Option<i64>); 12] = [
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644\0junk", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"0000648\0", None),
            (b"-1\0\0\0\0\0\0", None),
            (b"77777777777\0", Some(0o777_7777_7777)),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00", Some(-256)),
            (b"\x80\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ];
        for (field, value) in cases {
            assert_eq!(number(field), value, "{field:?}");
        }
        assert_eq!(number(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), Some(i64::MAX));
        assert_eq!(number(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), None);
    }
}
