//! What goes in comes out, from an archive and from a directory alike.

mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use ardock_layer::{import_directory, pack, Compression, Error, LayerSummary, Layout, Pack};
use common::{is_root, listing, unpack, Archive, Folder};
use rustix::fs::{lgetxattr, lsetxattr, XattrFlags};

fn copy(source: &Path, target: &Path) -> Result<LayerSummary, Error> {
    import_directory(source, target, &[], &|| false)
}

/// The digest of a tree's archive.
fn digest_of(dir: &Path) -> String {
    let (dirs, compression) = ([dir], Compression::None);
    let what = Pack { dirs: &dirs, below: &[], layout: Layout::Overlay, subpath: "", hidden: &[], compression };
    pack(&what, None, &|| false).unwrap().diff_id
}

#[test]
fn an_archive_is_unpacked_with_all_that_it_says() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let long = format!("d/{}", "n".repeat(200));
    let archive = Archive::default()
        .raw(b"./", b'5', b"", b"", |block| block[100..108].copy_from_slice(b"0000711\0"))
        .directory("d")
        .raw(b"d/suid", b'0', b"", b"#!", |block| {
            block[100..108].copy_from_slice(b"0104755\0");
            block[108..116].copy_from_slice(b"0001750\0");
            block[116..124].copy_from_slice(b"\x80\0\0\0\0\x12\xd6\x87");
        })
        .pax(&[(b"mtime", b"-1.5"), (b"SCHILY.xattr.user.key", b"a\0b"), (b"uid", b"70000000")])
        .file("d/pax", b"content")
        .raw(b"././@LongLink", b'L', b"", long.as_bytes(), |_| ())
        .file("short", b"long")
        .raw(b"name", b'0', b"", b"", |block| block[345..351].copy_from_slice(b"prefix"))
        .raw(b"v7/", b'0', b"", b"", |block| block[257..265].fill(0))
        .raw(b"fifo", b'6', b"", b"", |_| ())
        .symlink("link", "/anywhere/../else")
        .hard_link("hard", "d/pax")
        .raw(b"label", b'V', b"", b"", |_| ())
        .raw(b"old", b'7', b"", &[7; 1000], |_| ())
        .device("zero", b'3', 1, 5);
    let (target, result) = archive.unpack(&folder, "target");
    let summary = result.unwrap();
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o711);
    let suid = fs::metadata(target.join("d/suid")).unwrap();
    assert_eq!((suid.mode(), suid.uid(), suid.gid()), (0o104_755, 1000, 1_234_567));
    let pax = fs::metadata(target.join("d/pax")).unwrap();
    assert_eq!((pax.mtime(), pax.mtime_nsec(), pax.uid(), pax.nlink()), (-2, 500_000_000, 70_000_000, 2));
    let mut value = [0; 10];
    assert_eq!(lgetxattr(target.join("d/pax"), "user.key", &mut value), Ok(3));
    assert_eq!(&value[..3], b"a\0b");
    assert_eq!(fs::metadata(target.join("d")).unwrap().mtime(), 15);
    assert_eq!(fs::read(target.join(&long)).unwrap(), b"long");
    assert!(target.join("prefix/name").is_file());
    assert_eq!(fs::metadata(target.join("prefix")).unwrap().mode() & 0o7777, 0o755);
    assert!(target.join("v7").is_dir());
    assert!(fs::metadata(target.join("fifo")).unwrap().file_type().is_fifo());
    assert_eq!(fs::read_link(target.join("link")).unwrap().as_os_str(), "/anywhere/../else");
    assert_eq!(fs::read(target.join("hard")).unwrap(), b"content");
    assert_eq!(fs::read(target.join("old")).unwrap(), [7; 1000]);
    assert!(!target.join("label").exists());
    assert_eq!((summary.files, summary.content), (11, 2 + 7 + 4 + 1000));
    // The copy has all of it, and the same digest.
    let again = folder.make("again");
    assert_eq!(copy(&target, &again).unwrap().diff_id, digest_of(&target));
    assert_eq!(listing(&again), listing(&target));
}

#[test]
fn the_format_of_packed_archives_does_not_change() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let (target, result) = Archive::default()
        .directory("b")
        .file("b/c", b"hello")
        .symlink("a", "b/c")
        .hard_link("d", "b/c")
        .pax(&[(b"SCHILY.xattr.user.x", b"y")])
        .file("e", b"")
        .unpack(&folder, "target");
    result.unwrap();
    // What was imported is pushed under the name that it was given then.
    assert_eq!(digest_of(&target), "sha256:e4e048cf13c4d397066137166cf0b184de8487414e3f7874da3cc07da6840ff3");
}

#[test]
fn every_difference_makes_another_digest() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let base = |it: Archive| it.directory("d").file("d/f", b"x").file("g", b"x").symlink("l", "t");
    let digest = |name: &str, archive: Archive| {
        let (target, result) = archive.unpack(&folder, name);
        result.unwrap();
        digest_of(&target)
    };
    let mut seen = vec![digest("base", base(Archive::default()))];
    for (name, archive) in [
        ("more", base(Archive::default()).file("h", b"")),
        ("content", base(Archive::default()).file("g", b"y")),
        ("mode", base(Archive::default()).raw(b"g", b'0', b"", b"x", |it| it[105] = b'0')),
        ("owner", base(Archive::default()).raw(b"g", b'0', b"", b"x", |it| it[113] = b'1')),
        ("group", base(Archive::default()).raw(b"g", b'0', b"", b"x", |it| it[121] = b'1')),
        ("root", base(Archive::default()).raw(b".", b'5', b"", b"", |it| it[105] = b'0')),
        ("target", base(Archive::default()).symlink("l", "u")),
        ("hard", base(Archive::default()).hard_link("g", "d/f")),
        ("attribute", base(Archive::default()).pax(&[(b"SCHILY.xattr.user.a", b"")]).file("g", b"x")),
        ("device", base(Archive::default()).device("g", b'3', 1, 2)),
        ("minor", base(Archive::default()).device("g", b'3', 1, 3)),
        ("pipe", base(Archive::default()).device("g", b'6', 0, 0)),
    ] {
        let it = digest(name, archive);
        assert!(!seen.contains(&it), "{name}");
        seen.push(it);
    }
    let other_time = |it: &mut [u8]| it[146] = b'1';
    assert_ne!(digest("time", base(Archive::default()).raw(b"g", b'0', b"", b"x", other_time)), seen[0]);
    assert_eq!(
        digest("label", base(Archive::default()).pax(&[(b"SCHILY.xattr.security.selinux", b"x")]).file("g", b"x")),
        seen[0]
    );
    let order = Archive::default().symlink("l", "t").file("g", b"x").file("d/f", b"x").directory("d");
    assert_eq!(digest("order", order), seen[0]);
}

#[test]
fn what_is_no_archive_is_told_apart() {
    let folder = Folder::new();
    let whole = Archive::default().file("a", &[1; 1000]).end();
    let mut number = 0;
    let mut result = |data: &[u8]| {
        number += 1;
        unpack(data, &folder.make(&number.to_string()), 100).unwrap_err()
    };
    assert_eq!(result(b"").to_string(), "it is no tar archive: it is empty");
    assert_eq!(result(b"hello").to_string(), "it is no tar archive");
    assert_eq!(result(&[1; 4096]).to_string(), "it is no tar archive");
    for cut in [1, 511] {
        assert_eq!(result(&whole[..cut]), Error::NoTar(""));
    }
    for cut in [512, 1000, 1511] {
        assert_eq!(result(&whole[..cut]), Error::Cut { offset: cut as u64, name: "a".to_owned() });
    }
    // Behind the file, and with the end mark torn.
    for cut in [1512, 1536, 1600, 2047] {
        assert_eq!(result(&whole[..cut]), Error::Cut { offset: cut as u64, name: String::new() });
    }
    let mut damaged = Archive::default().file("a", b"").file("b", b"").end();
    damaged[600] ^= 1;
    assert_eq!(result(&damaged), Error::Damaged { offset: 512, what: "the sum is wrong" });
    let lone = Archive::default().pax(&[(b"path", b"x")]).end();
    assert!(matches!(result(&lone), Error::Damaged { offset: 1024, .. }));
    for (flag, word) in [(b'M', "multi-volume"), (b'Z', "no format")] {
        let odd = Archive::default().raw(b"odd", flag, b"", b"", |_| ()).end();
        assert!(result(&odd).to_string().contains(word));
    }
    for (key, word) in [
        (&b"GNU.sparse.major"[..], "sparse file's size is missing"),
        (b"SCHILY.realsize", "star"),
        (b"SCHILY.acl.access", "--no-acls"),
    ] {
        let odd = Archive::default().pax(&[(key, b"1")]).file("odd", b"").end();
        assert!(result(&odd).to_string().contains(word));
    }
    let range = Archive::default().pax(&[(b"uid", b"4294967295")]).file("a", b"").end();
    assert_eq!(result(&range), Error::Damaged { offset: 1024, what: "the owner is out of range" });
}

#[test]
fn a_copy_keeps_holes_and_leaves_mounts_sockets_and_hidden_folders_empty() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let source = folder.make("source");
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"middle", 32 << 20).unwrap();
    fs::create_dir(source.join("store")).unwrap();
    fs::write(source.join("store/secret"), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    let target = folder.make("target");
    let summary = import_directory(&source, &target, &[&source.join("store")], &|| false).unwrap();
    assert_eq!((summary.files, summary.content), (2, 64 << 20));
    let copied = fs::metadata(target.join("sparse")).unwrap();
    assert_eq!(copied.len(), 64 << 20);
    assert!(copied.blocks() * 512 < 1 << 20, "{} blocks", copied.blocks());
    assert_eq!(fs::read(source.join("sparse")).unwrap(), fs::read(target.join("sparse")).unwrap());
    assert_eq!(fs::read_dir(target.join("store")).unwrap().count(), 0);
    assert!(!target.join("socket").exists());
    // The same content, written out, is the same tree.
    let full = folder.make("full");
    fs::write(full.join("sparse"), fs::read(source.join("sparse")).unwrap()).unwrap();
    fs::create_dir(full.join("store")).unwrap();
    for name in ["sparse", "store"] {
        let time = fs::metadata(source.join(name)).unwrap().modified().unwrap();
        fs::File::open(full.join(name)).unwrap().set_modified(time).unwrap();
    }
    assert_eq!(copy(&full, &folder.make("second")).unwrap().digest, summary.digest);
}

#[test]
fn a_copy_keeps_attributes_and_a_name_linked_outside_is_one_file() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let source = folder.make("source");
    fs::write(source.join("a"), "x").unwrap();
    lsetxattr(source.join("a"), "trusted.key", b"value", XattrFlags::empty()).unwrap();
    std::os::unix::fs::symlink("nowhere", source.join("l")).unwrap();
    lsetxattr(source.join("l"), "trusted.key", b"link", XattrFlags::empty()).unwrap();
    fs::hard_link(source.join("a"), folder.path().join("outside")).unwrap();
    let target = folder.make("target");
    let linked = copy(&source, &target).unwrap();
    let mut value = [0; 10];
    assert_eq!(lgetxattr(target.join("a"), "trusted.key", &mut value), Ok(5));
    assert_eq!(lgetxattr(target.join("l"), "trusted.key", &mut value), Ok(4));
    fs::remove_file(folder.path().join("outside")).unwrap();
    assert_eq!(copy(&source, &folder.make("alone")).unwrap(), linked);
}

#[test]
fn both_end_when_they_are_cancelled() {
    let folder = Folder::new();
    let source = folder.make("source");
    let hole = fs::File::create(source.join("hole")).unwrap();
    hole.set_len(1 << 40).unwrap();
    let asked = std::sync::atomic::AtomicU32::new(0);
    let third = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= 3;
    assert_eq!(import_directory(&source, &folder.make("copy"), &[], &third), Err(Error::Cancelled));
    let target = folder.make("tar");
    // Of which no end comes, so that it cannot be done already.
    let ingest = ardock_layer::Ingest::new(common::plan(&target, common::Whiteouts::Overlay)).unwrap();
    ingest.feed(&Archive::default().file("a", b"").end()).unwrap();
    ingest.abort();
    assert_eq!(ingest.finish(&|| true), Err(Error::Cancelled));
}

#[test]
fn a_source_that_is_not_there_or_no_directory_is_named() {
    let folder = Folder::new();
    fs::write(folder.path().join("file"), "").unwrap();
    for (name, errno) in [("absent", rustix::io::Errno::NOENT), ("file", rustix::io::Errno::NOTDIR)] {
        let error = copy(&folder.path().join(name), &folder.make(&format!("to-{name}"))).unwrap_err();
        assert!(matches!(&error, Error::Step { name: it, errno: is, .. } if it.ends_with(name) && *is == errno));
    }
}
