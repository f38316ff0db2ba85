//! Archives made by hand, so that they can be wrong in any way, and a
//! directory of one's own.

#![allow(dead_code)] // each test file uses a part of it

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub use ardock_layer::Whiteouts;
use ardock_layer::{Algorithm, Error, Ingest, LayerSummary, Limits, Plan};

/// A directory that goes when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ardock-layer-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A new, empty directory in it.
    pub fn make(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir(&path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        ardock_layer::remove_tree(&self.0).unwrap();
    }
}

/// An archive that grows.
#[derive(Default, Clone)]
pub struct Archive(pub Vec<u8>);

impl Archive {
    /// A header with content, its sum right.
    pub fn raw(mut self, name: &[u8], flag: u8, link: &[u8], content: &[u8], change: impl Fn(&mut [u8])) -> Self {
        let mut block = [0u8; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..108].copy_from_slice(if flag == b'5' { b"0000755\0" } else { b"0000644\0" });
        block[108..116].copy_from_slice(b"0000000\0");
        block[116..124].copy_from_slice(b"0000000\0");
        block[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        block[136..148].copy_from_slice(b"00000000017\0");
        block[156] = flag;
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        change(&mut block);
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.raw(name.as_bytes(), b'0', b"", content, |_| ())
    }

    pub fn directory(self, name: &str) -> Self {
        self.raw(name.as_bytes(), b'5', b"", b"", |_| ())
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(name.as_bytes(), b'2', target.as_bytes(), b"", |_| ())
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.raw(name.as_bytes(), b'1', target.as_bytes(), b"", |_| ())
    }

    pub fn device(self, name: &str, flag: u8, major: u32, minor: u32) -> Self {
        self.raw(name.as_bytes(), flag, b"", b"", |block| {
            block[329..337].copy_from_slice(format!("{major:07o}\0").as_bytes());
            block[337..345].copy_from_slice(format!("{minor:07o}\0").as_bytes());
        })
    }

    /// An extended header for the next entry.
    pub fn pax(self, records: &[(&[u8], &[u8])]) -> Self {
        let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.raw(b"pax", b'x', b"", &body, |_| ())
    }

    /// With the end mark.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// Unpacked into a new directory `name` of `folder`.
    pub fn unpack(self, folder: &Folder, name: &str) -> (PathBuf, Result<LayerSummary, Error>) {
        let target = folder.make(name);
        let result = unpack(&self.end(), &target, usize::MAX);
        (target, result)
    }
}

fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while body + length.to_string().len() != length {
        length = body + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// Fed by pieces of `size` bytes.
pub fn unpack(archive: &[u8], target: &Path, size: usize) -> Result<LayerSummary, Error> {
    let ingest = Ingest::new(Plan { strict: true, ..plan(target, Whiteouts::Overlay) })?;
    for piece in archive.chunks(size) {
        ingest.feed(piece)?;
    }
    ingest.finish(&|| false)
}

/// Tests that make devices and give files away need root.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// A plan without limits of its own.
pub fn plan(target: &Path, whiteouts: Whiteouts) -> Plan {
    Plan {
        blob: None,
        target: Some(target.to_owned()),
        whiteouts,
        algorithm: Algorithm::Sha256,
        limits: Limits::default(),
        strict: false,
        expected: None,
    }
}

/// All of `data` into `target`.
pub fn ingest(data: &[u8], target: &Path, whiteouts: Whiteouts) -> Result<LayerSummary, Error> {
    let ingest = Ingest::new(plan(target, whiteouts))?;
    ingest.feed(data)?;
    ingest.finish(&|| false)
}

/// Everything that a tree keeps, with times, by path.
pub fn listing(root: &Path) -> BTreeMap<Vec<u8>, String> {
    fn walk(root: &Path, at: &Path, out: &mut BTreeMap<Vec<u8>, String>) {
        let meta = fs::symlink_metadata(at).unwrap();
        let kind = meta.file_type();
        let content = if kind.is_file() {
            format!("{:?}", fs::read(at).unwrap())
        } else if kind.is_symlink() {
            format!("{:?}", fs::read_link(at).unwrap().as_os_str().as_bytes())
        } else {
            format!("{}", meta.rdev())
        };
        let facts = format!(
            "{kind:?} {:o} {}:{} {}.{} {} {content}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            if kind.is_dir() { 0 } else { meta.nlink() }
        );
        out.insert(at.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec(), facts);
        if kind.is_dir() {
            for entry in fs::read_dir(at).unwrap() {
                walk(root, &entry.unwrap().path(), out);
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut out);
    out
}
