//! Reading tar: a sans-I/O parser of the formats that are about (v7, ustar,
//! PAX, GNU with its sparse files), fed by pieces of any size.
//!
//! References: POSIX `pax` (ustar and extended headers), the GNU tar manual's
//! "Basic Tar Format", libarchive's tar(5).

mod build;
mod header;
mod parser;
mod pax;
mod sparse;

pub(crate) use build::header;
pub use parser::{Entry, Kind, Parser, Sink};
