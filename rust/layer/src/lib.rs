//! File trees of images: made from the streams that layers come as, or from a
//! directory; compared, packed again, and named by the digest of the archive.
//!
//! A tree is written as root into a directory that nobody else may enter.
//! What it is made from is not trusted: every name in it is resolved beneath
//! that directory by `openat2`, never by string; no object is ever opened that
//! the source could have made something else than what was asked for; and what
//! cannot be kept as it is, is refused by name instead of being left out.

mod attributes;
mod diff;
mod error;
mod hide;
mod ingest;
mod name;
mod pack;
mod remove;
mod stack;
pub mod tar;
mod target;
mod write;
mod writing;

pub use attributes::{Attributes, Time};
pub use diff::{changes, Change};
pub use error::Error;
pub use ingest::{decompress_file, Algorithm, Ingest, LayerSummary, Media, Plan};
pub use name::Name;
pub use pack::{copy_tree, import_directory, pack, Compression, Pack};
pub use remove::remove_tree;
pub use stack::Layout;
pub use write::{Limits, Whiteouts};

/// Asked now and then by what takes long; true: end with [`Error::Cancelled`].
pub type Cancelled<'a> = &'a (dyn Fn() -> bool + Sync);

type Result<T> = std::result::Result<T, Error>;
