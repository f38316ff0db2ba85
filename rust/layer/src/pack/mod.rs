//! Trees as archives and as other trees.
//!
//! The same tree gives the same bytes, wherever it lies: what is in a directory
//! comes in the order of the names' bytes, each directory before what is in it;
//! names that are one file are hard links to the first of them; the headers are
//! those of `tar::header`. Sockets are left out (they mean nothing without their
//! process), and holes are zeros.

mod compress;
mod copier;
mod stream;

use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::diff::{walk, Options};
use crate::error::{shown, Error};
use crate::ingest::LayerSummary;
use crate::name::Name;
use crate::stack::{Layout, Stack};
use crate::target::{Options as TargetOptions, Target};
use crate::writing::own_umask;
use crate::{Cancelled, Result};

pub use compress::Compression;
use copier::Copier;
use stream::Stream;

/// What is to be packed.
#[derive(Debug, Clone, Copy)]
pub struct Pack<'a, P> {
    /// The directories, topmost first.
    pub dirs: &'a [P],
    /// Those whose tree it is told apart from; none: all is packed.
    pub below: &'a [P],
    /// How they hide one another.
    pub layout: Layout,
    /// The directory to pack, links on the way followed within the tree.
    pub subpath: &'a str,
    /// Paths from the root, with all beneath, that are left out as if they were nowhere.
    pub hidden: &'a [&'a Path],
    /// Of the archive.
    pub compression: Compression,
}

/// Writes an archive to `out`, or takes its digests alone.
pub fn pack<P: AsRef<Path> + Sync>(
    what: &Pack<'_, P>,
    out: Option<BorrowedFd<'_>>,
    cancelled: Cancelled<'_>,
) -> Result<LayerSummary> {
    Stream::run(what.compression, out, cancelled, |stream| {
        let mut new = Stack::open(what.dirs, what.layout, &[])?;
        let mut old = Stack::open(what.below, what.layout, &[])?;
        let subpath = Name::parse(what.subpath.as_bytes())?;
        let start = match new.resolve(&subpath)? {
            Some(item) if item.is_directory() => item,
            Some(_) => return Err(Error::Refused { name: what.subpath.to_owned(), why: "is no directory" }),
            None => return Err(Error::Refused { name: what.subpath.to_owned(), why: "is not there" }),
        };
        if start.name != Name::root() && !old.is_empty() {
            return Err(Error::Refused {
                name: what.subpath.to_owned(),
                why: "is a part, and only wholes are compared",
            });
        }
        let old = (!old.is_empty()).then_some(&mut old);
        let hidden = what.hidden.iter().map(|path| Name::parse(path.as_os_str().as_encoded_bytes()));
        let options = Options { directories: true, hidden: hidden.collect::<Result<_>>()? };
        let mut copier = Copier::new(Some(stream), None, start.name.clone(), cancelled);
        walk(&mut new, start, old, options, cancelled, &mut copier)?;
        copier.finish()
    })
}

/// Copies the directory `source` into the existing, empty directory `target`,
/// and takes the digests of what `pack` will give of it.
///
/// What is mounted within is not copied: a mount point is there and empty. So
/// is each directory of `hidden`, wherever it is met. On an error `target`
/// holds a part of it.
pub fn import_directory(
    source: &Path,
    target: &Path,
    hidden: &[&Path],
    cancelled: Cancelled<'_>,
) -> Result<LayerSummary> {
    Stream::run(Compression::None, None, cancelled, |stream| {
        let mut new = Stack::open(&[source], Layout::Tree, hidden)?;
        let target = Target::open(target, TargetOptions { exact: own_umask(), ..TargetOptions::default() })?;
        let start = new.root()?;
        let mut copier = Copier::new(Some(stream), Some(target), Name::root(), cancelled);
        walk(&mut new, start, None, Options::default(), cancelled, &mut copier)?;
        copier.finish()
    })
}

/// Copies what is in the directory `subpath` of a tree into the existing
/// directory `target`, which gets its owner, permissions, time and extended
/// attributes. Bytes of regular files and number of entries: none where the
/// tree has no such directory.
pub fn copy_tree<P: AsRef<Path>>(
    dirs: &[P],
    subpath: &str,
    target: &Path,
    layout: Layout,
    cancelled: Cancelled<'_>,
) -> Result<(u64, u64)> {
    let mut new = Stack::open(dirs, layout, &[])?;
    let start = match new.resolve(&Name::parse(subpath.as_bytes())?)? {
        Some(item) if item.is_directory() => item,
        Some(_) => return Err(Error::Refused { name: shown(subpath.as_bytes()), why: "is no directory" }),
        None => return Ok((0, 0)),
    };
    let target = Target::open(target, TargetOptions::default())?;
    let mut copier = Copier::new(None, Some(target), start.name.clone(), cancelled);
    walk(&mut new, start, None, Options::default(), cancelled, &mut copier)?;
    copier.finish().map(|done| (done.content, done.files))
}
