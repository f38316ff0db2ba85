//! The API's byte stream: any bytes, in any pieces, give the same messages and
//! the same end, and the messages are those that a plain decoder of other
//! people's finds in the stream.
#![no_main]

use ardock_frames::{FrameError, FrameReader};
use libfuzzer_sys::fuzz_target;
use rmp::decode::{read_marker, Bytes, RmpRead};
use rmp::Marker;

const MAX: usize = 1 << 12;
const DEPTH: usize = 8;

type Read = (Vec<Vec<u8>>, Result<usize, FrameError>);

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let (mut reader, mut frames) = (FrameReader::new(MAX, DEPTH), Vec::new());
    for piece in pieces {
        if let Err(error) = reader.feed(piece, |frame| frames.push(frame.to_vec())) {
            return (frames, Err(error));
        }
        assert!(reader.pending() <= MAX);
    }
    let pending = reader.pending();
    (frames, Ok(pending))
}

/// Goes past one value; None where it is not whole, or is none, or too deep.
fn pass(from: &mut Bytes, depth: usize) -> Option<()> {
    let big_endian = |from: &mut Bytes, width: usize| {
        (0..width).try_fold(0u64, |value, _| Some(value << 8 | u64::from(from.read_u8().ok()?)))
    };
    let (bytes, values) = match read_marker(from).ok()? {
        Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => (0, 0),
        Marker::U8 | Marker::I8 => (1, 0),
        Marker::U16 | Marker::I16 => (2, 0),
        Marker::U32 | Marker::I32 | Marker::F32 => (4, 0),
        Marker::U64 | Marker::I64 | Marker::F64 => (8, 0),
        Marker::FixStr(length) => (u64::from(length), 0),
        Marker::Str8 | Marker::Bin8 => (big_endian(from, 1)?, 0),
        Marker::Str16 | Marker::Bin16 => (big_endian(from, 2)?, 0),
        Marker::Str32 | Marker::Bin32 => (big_endian(from, 4)?, 0),
        Marker::Ext8 => (1 + big_endian(from, 1)?, 0),
        Marker::Ext16 => (1 + big_endian(from, 2)?, 0),
        Marker::Ext32 => (1 + big_endian(from, 4)?, 0),
        Marker::FixExt1 => (2, 0),
        Marker::FixExt2 => (3, 0),
        Marker::FixExt4 => (5, 0),
        Marker::FixExt8 => (9, 0),
        Marker::FixExt16 => (17, 0),
        Marker::FixArray(count) => (0, u64::from(count)),
        Marker::Array16 => (0, big_endian(from, 2)?),
        Marker::Array32 => (0, big_endian(from, 4)?),
        Marker::FixMap(count) => (0, 2 * u64::from(count)),
        Marker::Map16 => (0, 2 * big_endian(from, 2)?),
        Marker::Map32 => (0, 2 * big_endian(from, 4)?),
        Marker::Reserved => return None,
    };
    let rest = from.remaining_slice();
    if bytes > rest.len() as u64 || (values > 0 && depth == DEPTH) {
        return None;
    }
    *from = Bytes::new(&rest[bytes as usize..]);
    (0..values).try_for_each(|_| pass(from, depth + 1))
}

/// The messages at the stream's beginning that are whole and within the bounds.
fn expected(stream: &[u8]) -> Vec<Vec<u8>> {
    let (mut frames, mut rest) = (Vec::new(), stream);
    while matches!(rest.first(), Some(0x93 | 0x94)) {
        let mut from = Bytes::new(rest);
        let Some(()) = pass(&mut from, 0) else { break };
        let length = rest.len() - from.remaining_slice().len();
        if length > MAX {
            break;
        }
        frames.push(rest[..length].to_vec());
        rest = &rest[length..];
    }
    frames
}

fuzz_target!(|data: &[u8]| {
    // The first byte says how the rest is cut.
    let Some((size, stream)) = data.split_first() else { return };
    let whole = read(std::iter::once(stream));
    assert_eq!(read(stream.chunks(1 + usize::from(*size))), whole);
    let (frames, end) = whole;
    assert_eq!(frames, expected(stream));
    if let Ok(pending) = end {
        assert_eq!(frames.concat().len() + pending, stream.len());
    }
});
