//! The API's byte stream: any bytes, in any pieces, give the same messages and
//! the same end, and each message is one that was in the stream.
#![no_main]

use ardock_frames::{FrameError, FrameReader};
use libfuzzer_sys::fuzz_target;

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

fuzz_target!(|data: &[u8]| {
    // The first byte says how the rest is cut.
    let Some((size, stream)) = data.split_first() else { return };
    let whole = read(std::iter::once(stream));
    assert_eq!(read(stream.chunks(1 + usize::from(*size))), whole);
    let (frames, end) = whole;
    let joined = frames.concat();
    assert_eq!(joined, stream[..joined.len()]);
    if let Ok(pending) = end {
        assert_eq!(joined.len() + pending, stream.len());
    }
    for frame in frames {
        assert!(frame.len() <= MAX);
        assert_eq!(read(std::iter::once(&frame[..])), (vec![frame.clone()], Ok(0)));
    }
});
