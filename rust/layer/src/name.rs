//! Names within a tree.

use crate::error::{shown, Error};
use crate::Result;

/// A path from a tree's root: components joined by `/`, none of them empty,
/// `.` or `..`; the root itself is the empty one.
///
/// It says nothing about symbolic links: they are met, beneath the root, when
/// the name is resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Vec<u8>);

impl Name {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self(Vec::new())
    }

    /// What a name in an archive means: an absolute one begins at the tree's
    /// root, and `a/../b` is `b` (both as docker reads them). One that leads
    /// above the root is refused rather than held back there: nobody means it.
    pub fn parse(text: &[u8]) -> Result<Self> {
        if text.contains(&0) {
            return Err(Error::Refused { name: shown(text), why: "is a name with a zero byte in it" });
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in text.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    if parts.pop().is_none() {
                        return Err(Error::Leaves { name: shown(text) });
                    }
                }
                part => parts.push(part),
            }
        }
        Ok(Self(parts.join(&b'/')))
    }

    /// The path; empty for the root.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name of what is called `last` in this directory.
    pub(crate) fn join(&self, last: &[u8]) -> Self {
        let mut path = self.0.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(last);
        Self(path)
    }

    /// The directory that it lies in; of the root the root.
    pub(crate) fn parent(&self) -> Self {
        Self(self.split().map_or(Vec::new(), |(parent, _)| parent.to_vec()))
    }

    /// The path from `start`, which it lies in, on.
    pub(crate) fn below(&self, start: &Self) -> Self {
        let rest = self.0.strip_prefix(&start.0[..]).unwrap_or(&self.0);
        Self(rest.strip_prefix(b"/").unwrap_or(rest).to_vec())
    }

    pub(crate) fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }

    /// The directory that it lies in and its last component; None for the root.
    pub(crate) fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(at) => Some((&self.0[..at], &self.0[at + 1..])),
            None => Some((b"", &self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_as_docker_reads_them() {
        let cases: [(&[u8], &[u8]); 9] = [
            (b"a/b", b"a/b"),
            (b"./a//b/", b"a/b"),
            (b"/etc/passwd", b"etc/passwd"),
            (b"a/../b", b"b"),
            (b".", b""),
            (b"", b""),
            (b"///", b""),
            (b"...", b"..."),
            (b"a/..", b""),
        ];
        for (text, path) in cases {
            assert_eq!(Name::parse(text).unwrap().as_bytes(), path);
        }
        for text in [&b".."[..], b"/..", b"a/../../b", b"./..", b"a/b/../../../a"] {
            assert_eq!(Name::parse(text), Err(Error::Leaves { name: shown(text) }));
        }
        assert!(matches!(Name::parse(b"a\0b"), Err(Error::Refused { .. })));
    }

    proptest! {
        #[test]
        fn no_name_has_a_component_that_moves(text in "[a./]{0,30}") {
            if let Ok(name) = Name::parse(text.as_bytes()) {
                let path = name.as_bytes();
                prop_assert!(path.is_empty() || path.split(|it| *it == b'/').all(|it| !matches!(it, b"" | b"." | b"..")));
                prop_assert_eq!(Name::parse(path).unwrap(), Name(path.to_vec()));
            }
        }
    }
}
