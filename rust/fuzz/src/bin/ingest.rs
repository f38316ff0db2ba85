//! A layer as a whole: any bytes, compressed or not, are decompressed, parsed and
//! written into a directory. Nothing is made outside of it, the same bytes in
//! other pieces give the same tree, and what was made can be packed and removed.
#![no_main]

use std::path::{Path, PathBuf};

use ardock_fuzz::mend;
use ardock_layer::{
    pack, remove_tree, Compression, Error, Ingest, LayerSummary, Layout, Limits, Pack, Plan, Whiteouts,
};
use libfuzzer_sys::fuzz_target;

fn ingest(target: &Path, whiteouts: Whiteouts, data: &[u8], size: usize) -> Result<LayerSummary, Error> {
    let limits = Limits { size: 4 << 20, ..Limits::default() };
    let ingest = Ingest::new(Plan {
        blob: None,
        target: Some(target.to_owned()),
        whiteouts,
        algorithm: ardock_layer::Algorithm::Sha256,
        limits,
        strict: false,
        expected: None,
    })?;
    for piece in data.chunks(size) {
        ingest.feed(piece)?;
    }
    ingest.finish(&|| false)
}

fn packed(target: &Path) -> Result<LayerSummary, Error> {
    let dirs = [target];
    let compression = Compression::None;
    pack(&Pack { dirs: &dirs, below: &[], layout: Layout::Tree, subpath: "", hidden: &[], compression }, None, &|| {
        false
    })
}

/// A folder in memory, with a directory in it to unpack into.
fn folder() -> PathBuf {
    let folder = PathBuf::from(format!("/dev/shm/ardock-fuzz-{}", std::process::id()));
    remove_tree(&folder).expect("it can be removed, whatever was made in it");
    std::fs::create_dir(&folder).expect("there is a /dev/shm");
    folder
}

fuzz_target!(|data: &[u8]| {
    let Some((how, archive)) = data.split_first() else { return };
    let mut archive = archive.to_vec();
    if how & 1 == 0 {
        mend(&mut archive);
    }
    let whiteouts = [Whiteouts::Overlay, Whiteouts::Apply, Whiteouts::Aufs][usize::from(how >> 1 & 3) % 3];
    let folder = folder();
    let mut results = Vec::new();
    for (name, size) in [("one", usize::MAX), ("two", 1 + usize::from(*how))] {
        let target = folder.join(name);
        std::fs::create_dir(&target).expect("it is new");
        let result = ingest(&target, whiteouts, &archive, size);
        results.push(result.map(|summary| (summary, packed(&target))));
    }
    assert_eq!(results[0], results[1]);
    let names = std::fs::read_dir(&folder).expect("it is there").count();
    assert_eq!(names, 2);
    remove_tree(&folder).expect("it can be removed, whatever was made in it");
});
