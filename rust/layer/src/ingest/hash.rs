//! Digests in the form `ALGORITHM:HEX`.

use std::fmt::Write;

use sha2::{Digest, Sha256, Sha512};

/// An algorithm that digests of blobs are made with (OCI image specification,
/// "Registered Algorithms").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// `sha256`
    #[default]
    Sha256,
    /// `sha512`
    Sha512,
}

impl Algorithm {
    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "sha256" => Some(Self::Sha256),
            "sha512" => Some(Self::Sha512),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Hash {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hash {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(data),
            Self::Sha512(hash) => hash.update(data),
        }
    }

    pub fn finish(self) -> String {
        match self {
            Self::Sha256(hash) => text("sha256:", &hash.finalize()),
            Self::Sha512(hash) => text("sha512:", &hash.finalize()),
        }
    }
}

fn text(algorithm: &str, digest: &[u8]) -> String {
    digest.iter().fold(algorithm.to_owned(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}"); // writing to a string cannot fail
        out
    })
}
