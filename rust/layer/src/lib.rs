//! File trees of images: made from a tar stream or a directory, and named by
//! the digest of what they hold.
//!
//! A tree is written as root into a directory that nobody else may enter.
//! What it is made from is not trusted: every name in it is resolved beneath
//! that directory by `openat2`, never by string; no object is ever opened that
//! the source could have made something else than what was asked for; and what
//! cannot be kept as it is, is refused by name instead of being left out.

mod attributes;
mod copy;
mod diff;
mod digest;
mod error;
mod hide;
mod ingest;
mod name;
mod pack;
mod remove;
mod stack;
pub mod tar;
mod target;
mod unpack;
mod write;
mod writing;

pub use attributes::{Attributes, Time};
pub use copy::copy_directory;
pub use diff::{changes, Change};
pub use digest::Summary;
pub use error::Error;
pub use ingest::{decompress_file, Algorithm, Ingest, LayerSummary, Media, Plan};
pub use name::Name;
pub use pack::{copy_tree, import_directory, pack, Compression, Pack};
pub use remove::remove_tree;
pub use stack::Layout;
pub use unpack::Unpacker;
pub use write::{Limits, Whiteouts};

/// Asked now and then by what takes long; true: end with [`Error::Cancelled`].
pub type Cancelled<'a> = &'a (dyn Fn() -> bool + Sync);

type Result<T> = std::result::Result<T, Error>;
