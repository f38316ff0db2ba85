//! What is known of a layer.

use super::Media;

/// A layer's digests and sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSummary {
    /// Of the bytes as they came, `ALGORITHM:HEX`.
    pub digest: String,
    /// Bytes as they came.
    pub size: u64,
    /// SHA-256 of the uncompressed archive, to its stream's end; empty where it was not unpacked.
    pub diff_id: String,
    /// Bytes of the uncompressed archive.
    pub diff_size: u64,
    /// Bytes of its regular files, with their holes.
    pub content: u64,
    /// Entries, without the root and whiteouts.
    pub files: u64,
    /// How it is compressed.
    pub media: Media,
}

impl Default for LayerSummary {
    fn default() -> Self {
        Self {
            digest: String::new(),
            size: 0,
            diff_id: String::new(),
            diff_size: 0,
            content: 0,
            files: 0,
            media: Media::Plain,
        }
    }
}
