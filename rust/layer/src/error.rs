//! Why a tree could not be made.

use rustix::io::Errno;
use thiserror::Error;

/// Each names the entry at fault where there is one, as it stands in the
/// source, with what is no UTF-8 replaced.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The source is no tar archive from its first byte on.
    #[error("it is no tar archive{0}")]
    NoTar(&'static str),
    /// The archive is damaged, or of a make that nobody makes.
    #[error("the archive is damaged at byte {offset}: {what}")]
    Damaged {
        /// Where the header begins.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The stream ended within the archive.
    #[error("the archive was cut off after {offset} bytes{}", within(.name))]
    Cut {
        /// The bytes that came.
        offset: u64,
        /// The entry whose content is missing; empty between entries.
        name: String,
    },
    /// A well-formed entry of a kind that is not taken.
    #[error("{name:?} {what}")]
    Unsupported {
        /// The entry.
        name: String,
        /// What it is, and the remedy.
        what: &'static str,
    },
    /// A name or a hard link's target leads out of the tree.
    #[error("{name:?} leads out of the archive's root")]
    Leaves {
        /// The name or target.
        name: String,
    },
    /// An entry that contradicts itself or the others.
    #[error("{name:?} {why}")]
    Refused {
        /// The entry.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// A system call failed.
    #[error("cannot {step} {name:?}: {}", reason(*.errno))]
    Step {
        /// What was tried, as a verb.
        step: &'static str,
        /// On what.
        name: String,
        /// The kernel's reason.
        errno: Errno,
    },
    /// The stream is compressed in a way that no layer is.
    #[error("it is compressed with {what}, which is not taken: {remedy}")]
    Compression {
        /// The program.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The compressed stream is damaged.
    #[error("the compressed data is damaged at byte {offset}: {what}")]
    Compressed {
        /// So many bytes were taken.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// It unfolds to more than is allowed.
    #[error("refused as a bomb: {what} (the limit is {limit})")]
    Bomb {
        /// What it unfolds to.
        what: String,
        /// The limit that it exceeds.
        limit: u64,
    },
    /// An entry of a kind that is forbidden here.
    #[error("{name:?} is {what}, which is forbidden here")]
    Forbidden {
        /// The entry.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// What came is not what was to come.
    #[error("the content that came has the digest {found} and not {expected}")]
    Digest {
        /// Of what came.
        found: String,
        /// Of what was to come.
        expected: String,
    },
    /// The caller wanted no more of it.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Whether it may be because of what the source holds, rather than the machine's.
    pub(crate) fn is_about_content(&self) -> bool {
        match self {
            Self::Step { errno, .. } => !matches!(
                *errno,
                Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS | Errno::MFILE | Errno::NFILE | Errno::NOMEM
            ),
            Self::Cancelled => false,
            _ => true,
        }
    }

    /// For `map_err` behind a system call about `name`.
    pub(crate) fn step(step: &'static str, name: &[u8]) -> impl FnOnce(Errno) -> Self {
        let name = shown(name);
        move |errno| Self::Step { step, name, errno }
    }
}

/// A name of any bytes for an error's text.
pub(crate) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn within(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!(", within {name:?}")
    }
}

fn reason(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
