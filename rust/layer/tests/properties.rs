//! What holds for any archive.

mod common;

use std::fs;
use std::path::Path;

use ardock_layer::{copy_tree, pack, Compression, Error, LayerSummary, Layout, Pack};
use common::{ingest, is_root, listing, Archive, Folder, Whiteouts};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Item {
    File(String, Vec<u8>, u8),
    Directory(String, u8),
    Symlink(String, String),
    HardLink(String, String),
    Fifo(String),
    Whiteout(String),
    Opaque(String),
}

/// Few names, so that they meet.
fn name() -> impl Strategy<Value = String> {
    "[ab](/[abc]){0,3}"
}

fn item(links: bool) -> impl Strategy<Value = Item> {
    let content = proptest::collection::vec(any::<u8>(), 0..1500);
    let target = "(/|\\.\\./){0,2}[abc](/[abc]){0,2}";
    let symlink = (name(), target).prop_map(
        move |(name, target)| {
            if links {
                Item::Symlink(name, target)
            } else {
                Item::Fifo(name)
            }
        },
    );
    prop_oneof![
        4 => (name(), content, any::<u8>()).prop_map(|(name, content, mode)| Item::File(name, content, mode)),
        3 => (name(), any::<u8>()).prop_map(|(name, mode)| Item::Directory(name, mode)),
        2 => symlink,
        1 => (name(), name()).prop_map(|(name, target)| Item::HardLink(name, target)),
        1 => name().prop_map(Item::Fifo),
        2 => name().prop_map(Item::Whiteout),
        1 => name().prop_map(Item::Opaque),
    ]
}

fn archive(items: &[Item]) -> Vec<u8> {
    let mut archive = Archive::default();
    for item in items {
        let mode = |mode: u8| move |block: &mut [u8]| block[104..107].copy_from_slice(format!("{mode:03o}").as_bytes());
        archive = match item {
            Item::File(name, content, bits) => archive.raw(name.as_bytes(), b'0', b"", content, mode(*bits)),
            Item::Directory(name, bits) => archive.raw(name.as_bytes(), b'5', b"", b"", mode(*bits)),
            Item::Symlink(name, target) => archive.symlink(name, target),
            Item::HardLink(name, target) => archive.hard_link(name, target),
            Item::Fifo(name) => archive.raw(name.as_bytes(), b'6', b"", b"", |_| ()),
            Item::Whiteout(name) => {
                let (parent, last) = name.rsplit_once('/').unwrap_or(("", name));
                archive.file(&format!("{parent}/.wh.{last}"), b"")
            }
            Item::Opaque(name) => archive.file(&format!("{name}/.wh..wh..opq"), b""),
        };
    }
    archive.end()
}

/// Each directory on the way has an entry: without one, the layers of an
/// overlay have a new directory where a whole tree has the old one.
fn with_ways(items: &[Item]) -> Vec<Item> {
    let mut out = Vec::new();
    for item in items {
        let (Item::File(name, ..)
        | Item::Directory(name, _)
        | Item::Symlink(name, _)
        | Item::HardLink(name, _)
        | Item::Fifo(name)
        | Item::Whiteout(name)
        | Item::Opaque(name)) = item;
        let ends =
            name.match_indices('/').map(|(at, _)| at).chain(matches!(item, Item::Opaque(_)).then_some(name.len()));
        out.extend(ends.map(|at| Item::Directory(name[..at].to_owned(), 0o55)));
        out.push(item.clone());
    }
    out
}

fn packed(dirs: &[&Path], layout: Layout) -> LayerSummary {
    let what = Pack { dirs, below: &[], layout, subpath: "", hidden: &[], compression: Compression::None };
    pack(&what, None, &|| false).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_made_outside_and_what_is_made_is_packed_to_the_same_bytes(
        items in proptest::collection::vec(item(true), 0..14),
        whiteouts in prop_oneof![Just(Whiteouts::Overlay), Just(Whiteouts::Apply), Just(Whiteouts::Aufs)],
    ) {
        if !is_root() {
            return Ok(());
        }
        let folder = Folder::new();
        let target = folder.make("target");
        let result = ingest(&archive(&items), &target, whiteouts);
        prop_assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        if let Err(error) = result {
            prop_assert!(matches!(error, Error::Refused { .. }), "{:?}", error);
            return Ok(());
        }
        // Nothing is left of a mark of what is below where that was deleted.
        let layout = if whiteouts == Whiteouts::Aufs { Layout::Aufs } else { Layout::Overlay };
        let again = folder.make("again");
        copy_tree(&[&target], "", &again, layout, &|| false).unwrap();
        prop_assert_eq!(packed(&[&again], Layout::Tree), packed(&[&target], layout));
        if whiteouts == Whiteouts::Apply {
            prop_assert_eq!(listing(&again), listing(&target));
        }
    }

    #[test]
    fn a_layer_above_another_is_the_tree_that_applying_it_makes(
        below in proptest::collection::vec(item(false), 0..12),
        above in proptest::collection::vec(item(false), 0..12),
    ) {
        if !is_root() {
            return Ok(());
        }
        let folder = Folder::new();
        let (lower, upper, whole) = (folder.make("lower"), folder.make("upper"), folder.make("whole"));
        let base = archive(&with_ways(&below));
        if ingest(&base, &whole, Whiteouts::Apply).is_err() {
            return Ok(());
        }
        ingest(&base, &lower, Whiteouts::Overlay).unwrap();
        let layer = archive(&with_ways(&above));
        // A hard link may lead to what only the layer below has.
        if ingest(&layer, &upper, Whiteouts::Overlay).is_err() {
            return Ok(());
        }
        ingest(&layer, &whole, Whiteouts::Apply).unwrap();
        let merged = packed(&[&upper, &lower], Layout::Overlay);
        if merged != packed(&[&whole], Layout::Tree) {
            let shown = folder.make("shown");
            copy_tree(&[&upper, &lower], "", &shown, Layout::Overlay, &|| false).unwrap();
            prop_assert_eq!(listing(&shown), listing(&whole));
            prop_assert!(false, "the archives differ");
        }
    }
}
