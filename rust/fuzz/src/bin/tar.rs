//! The tar parser: any bytes, in any pieces, give the same entries and the
//! same end, and a file's content has the length that was told.
#![no_main]

use ardock_fuzz::mend;
use ardock_layer::tar::{Entry, Kind, Parser, Sink};
use ardock_layer::Error;
use libfuzzer_sys::fuzz_target;

#[derive(Default, PartialEq, Debug)]
struct Entries {
    /// Each with its data, the bytes of its holes and whether it has ended.
    seen: Vec<(Entry, Vec<u8>, u64, bool)>,
}

impl Sink for Entries {
    fn entry(&mut self, entry: Entry) -> Result<(), Error> {
        if let Some((Entry { kind: Kind::File(_), .. }, .., whole)) = self.seen.last() {
            assert!(whole);
        }
        self.seen.push((entry, Vec::new(), 0, false));
        Ok(())
    }

    fn data(&mut self, data: &[u8]) -> Result<(), Error> {
        let (entry, content, _, whole) = self.seen.last_mut().expect("content follows its entry");
        assert!(matches!(entry.kind, Kind::File(_)) && !*whole);
        content.extend_from_slice(data);
        Ok(())
    }

    fn hole(&mut self, count: u64) -> Result<(), Error> {
        let (entry, _, holes, whole) = self.seen.last_mut().expect("content follows its entry");
        assert!(matches!(entry.kind, Kind::File(_)) && !*whole && count > 0);
        *holes += count;
        Ok(())
    }

    fn end_of_file(&mut self) -> Result<(), Error> {
        let (entry, content, holes, whole) = self.seen.last_mut().expect("content follows its entry");
        assert_eq!(entry.kind, Kind::File(content.len() as u64 + *holes));
        *whole = true;
        Ok(())
    }
}

fn read<'a>(mut pieces: impl Iterator<Item = &'a [u8]>) -> (Entries, Result<(), Error>) {
    let (mut parser, mut entries) = (Parser::default(), Entries::default());
    let fed = pieces.try_for_each(|piece| parser.feed(piece, &mut entries));
    (entries, fed.and_then(|()| parser.finish()))
}

fuzz_target!(|data: &[u8]| {
    let Some((size, archive)) = data.split_first() else { return };
    let mut archive = archive.to_vec();
    if size & 1 == 0 {
        mend(&mut archive);
    }
    let whole = read(std::iter::once(&archive[..]));
    assert_eq!(read(archive.chunks(1 + usize::from(*size))), whole);
});
