//! Archives that mean harm: nothing outside of the target is touched, and what
//! is refused names the entry.

mod common;

use std::fs;
use std::os::unix::fs::{symlink, FileTypeExt, MetadataExt};
use std::path::Path;

use ardock_layer::Error;
use common::{is_root, unpack, Archive, Folder};

/// A folder with a bystander in it, whose content and inode must not change.
struct Bystander {
    folder: Folder,
    before: (u64, u64, i64, u32),
}

impl Bystander {
    fn new() -> Self {
        let folder = Folder::new();
        fs::create_dir(folder.path().join("etc")).unwrap();
        fs::write(folder.path().join("etc/passwd"), "root").unwrap();
        let before = Self::look(&folder);
        Self { folder, before }
    }

    fn look(folder: &Folder) -> (u64, u64, i64, u32) {
        let file = fs::metadata(folder.path().join("etc/passwd")).unwrap();
        (file.ino(), file.nlink(), file.mtime_nsec(), file.mode())
    }

    fn check(&self) {
        assert_eq!(Self::look(&self.folder), self.before);
        assert_eq!(fs::read_to_string(self.folder.path().join("etc/passwd")).unwrap(), "root");
        assert_eq!(names(&self.folder.path().join("etc")), ["passwd"]);
    }
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn names_that_lead_out_are_refused_by_name() {
    let by = Bystander::new();
    for (number, name) in ["../etc/passwd", "a/../../etc/passwd", "/../etc/passwd", ".."].iter().enumerate() {
        for (kind, archive) in [
            ("file", Archive::default().file(name, b"evil")),
            ("directory", Archive::default().directory(name)),
            ("symlink", Archive::default().symlink(name, "x")),
            ("link name", Archive::default().file("x", b"").hard_link(name, "x")),
            ("link target", Archive::default().hard_link("x", name)),
            ("pax", Archive::default().pax(&[(b"path", name.as_bytes())]).file("x", b"evil")),
            ("gnu", Archive::default().raw(b"L", b'L', b"", name.as_bytes(), |_| ()).file("x", b"evil")),
        ] {
            let (_, result) = archive.unpack(&by.folder, &format!("{kind}{number}"));
            assert_eq!(result, Err(Error::Leaves { name: (*name).to_owned() }), "{kind}");
        }
    }
    by.check();
}

#[test]
fn absolute_names_and_link_targets_begin_at_the_root() {
    let by = Bystander::new();
    let passwd = by.folder.path().join("etc/passwd");
    let passwd = passwd.to_str().unwrap();
    let (target, result) = Archive::default()
        .file(passwd, b"mine")
        .hard_link("/again", passwd)
        .file("/etc/shadow", b"x")
        .unpack(&by.folder, "target");
    assert_eq!(result.unwrap().content, 5);
    assert_eq!(fs::read(target.join(&passwd[1..])).unwrap(), b"mine");
    assert_eq!(fs::read(target.join("again")).unwrap(), b"mine");
    assert_eq!(fs::metadata(target.join("again")).unwrap().nlink(), 2);
    assert_eq!(fs::read(target.join("etc/shadow")).unwrap(), b"x");
    by.check();

    // A file of the host's cannot be linked into the tree.
    let (_, result) = Archive::default().hard_link("mine", "/etc/passwd").unpack(&by.folder, "host");
    assert!(matches!(&result, Err(Error::Refused { name, why }) if name == "mine" && why.contains("not before it")));
}

#[test]
fn links_on_the_way_lead_to_a_place_within() {
    let by = Bystander::new();
    let etc = by.folder.path().join("etc");
    for (name, to) in [("absolute", etc.to_str().unwrap()), ("relative", "../etc"), ("far", "../../../../../../etc")] {
        // The link's target is made first, as the tree's own, so that the way is whole.
        let own = if name == "absolute" { etc.to_str().unwrap() } else { "etc" };
        let (target, result) = Archive::default()
            .directory(own)
            .symlink("a", to)
            .file("a/passwd", b"evil")
            .directory("a/sub")
            .symlink("a/link", "passwd")
            .hard_link("a/hard", "a/passwd")
            .unpack(&by.folder, name);
        result.unwrap();
        let own = target.join(own.trim_start_matches('/'));
        assert_eq!(names(&own), ["hard", "link", "passwd", "sub"]);
        by.check();
    }
    // A link to what is not there in the tree does not make it up there, nor outside.
    let (target, result) =
        Archive::default().symlink("a", etc.to_str().unwrap()).file("a/passwd", b"evil").unpack(&by.folder, "dangling");
    assert!(matches!(result, Err(Error::Refused { why: "lies behind a link that leads nowhere", .. })), "{result:?}");
    assert_eq!(names(&target), ["a"]);
    by.check();
}

type Change = fn(Archive) -> Archive;

#[test]
fn what_has_the_name_is_replaced_and_never_followed() {
    let by = Bystander::new();
    let passwd = by.folder.path().join("etc/passwd");
    let archive = |last: Change| last(Archive::default().symlink("x", passwd.to_str().unwrap()));
    let cases: [(&str, Change); 5] = [
        ("file", |it| it.file("x", b"evil")),
        ("directory", |it| it.directory("x")),
        ("symlink", |it| it.symlink("x", "elsewhere")),
        ("hard link", |it| it.file("y", b"").hard_link("x", "y")),
        ("fifo", |it| it.raw(b"x", b'6', b"", b"", |_| ())),
    ];
    for (name, last) in cases {
        let (target, result) = archive(last).unpack(&by.folder, name);
        result.unwrap();
        let kind = fs::symlink_metadata(target.join("x")).unwrap().file_type();
        match name {
            "directory" => assert!(kind.is_dir()),
            "symlink" => assert_eq!(fs::read_link(target.join("x")).unwrap().to_str(), Some("elsewhere")),
            "fifo" => assert!(kind.is_fifo()),
            _ => assert!(kind.is_file()),
        }
        by.check();
    }
}

#[test]
fn a_hard_link_to_a_link_is_the_link_and_not_what_it_leads_to() {
    let by = Bystander::new();
    let passwd = by.folder.path().join("etc/passwd");
    let (target, result) = Archive::default()
        .symlink("link", passwd.to_str().unwrap())
        .hard_link("hard", "link")
        .unpack(&by.folder, "target");
    result.unwrap();
    assert!(fs::symlink_metadata(target.join("hard")).unwrap().is_symlink());
    by.check();
    // Written to, it is replaced.
    let (target, result) = Archive::default()
        .symlink("link", passwd.to_str().unwrap())
        .hard_link("hard", "link")
        .file("hard", b"evil")
        .unpack(&by.folder, "written");
    result.unwrap();
    assert_eq!(fs::read(target.join("hard")).unwrap(), b"evil");
    assert!(fs::symlink_metadata(target.join("link")).unwrap().is_symlink());
    by.check();
}

#[test]
fn magic_links_of_proc_lead_nowhere() {
    let by = Bystander::new();
    for to in ["/proc/self/root", "/proc/self/cwd", "/proc/1/root"] {
        let name = to.replace('/', "-");
        let (_, result) = Archive::default().symlink("a", to).file("a/etc/passwd", b"evil").unpack(&by.folder, &name);
        assert!(matches!(result, Err(Error::Refused { .. })), "{result:?}");
    }
    by.check();
}

#[test]
fn loops_and_files_on_the_way_are_refused() {
    let folder = Folder::new();
    let (_, result) = Archive::default().symlink("a", "b").symlink("b", "a").file("a/x", b"").unpack(&folder, "loop");
    assert!(
        matches!(result, Err(Error::Refused { why: "lies, or is linked to what lies, behind a loop of links", .. })),
        "{result:?}"
    );
    let (_, result) = Archive::default().file("a", b"").file("a/x", b"").unpack(&folder, "file");
    assert!(matches!(result, Err(Error::Refused { why: "lies in something that is no directory", .. })), "{result:?}");
    let (_, result) = Archive::default().file("", b"").unpack(&folder, "root");
    assert!(matches!(result, Err(Error::Refused { why: "is the root and must be a directory", .. })), "{result:?}");
    let (_, result) = Archive::default().hard_link("x", "x").unpack(&folder, "self");
    assert!(matches!(result, Err(Error::Refused { why: "is a hard link to itself", .. })), "{result:?}");
    let (_, result) = Archive::default().directory("d").hard_link("x", "d").unpack(&folder, "directory");
    assert!(matches!(result, Err(Error::Refused { why: "is a hard link to a directory", .. })), "{result:?}");
}

#[test]
fn a_device_is_made_and_never_opened() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    // /dev/full: to write to it would fail.
    let (target, result) = Archive::default()
        .device("full", b'3', 1, 7)
        .file("full", b"content")
        .device("loop", b'4', 7, 0)
        .device("pipe", b'6', 0, 0)
        .file("pipe", b"content")
        .device("kept", b'3', 1, 7)
        .unpack(&folder, "target");
    result.unwrap();
    assert_eq!(fs::read(target.join("full")).unwrap(), b"content");
    assert_eq!(fs::read(target.join("pipe")).unwrap(), b"content");
    let kept = fs::metadata(target.join("kept")).unwrap();
    assert!(kept.file_type().is_char_device());
    assert_eq!((rustix::fs::major(kept.rdev()), rustix::fs::minor(kept.rdev())), (1, 7));
    assert!(fs::metadata(target.join("loop")).unwrap().file_type().is_block_device());
    // Nothing in a device that was replaced by a directory of the same name.
    let (_, result) = Archive::default().device("d", b'3', 1, 7).file("d/x", b"").unpack(&folder, "under");
    assert!(matches!(result, Err(Error::Refused { .. })), "{result:?}");
}

#[test]
fn a_directory_that_is_replaced_goes_with_all_in_it() {
    let by = Bystander::new();
    let (target, result) = Archive::default()
        .directory("d")
        .symlink("d/out", by.folder.path().join("etc").to_str().unwrap())
        .file("d/a/b/c", b"x")
        .file("d", b"file now")
        .unpack(&by.folder, "target");
    assert_eq!(result.unwrap().files, 4);
    assert_eq!(names(&target), ["d"]);
    assert_eq!(fs::read(target.join("d")).unwrap(), b"file now");
    by.check();
    // The directory's time was to be set at the end; the link that has its name now is not followed.
    let (target, result) =
        Archive::default().directory("other").directory("d").symlink("d", "other").unpack(&by.folder, "renamed");
    result.unwrap();
    assert!(fs::symlink_metadata(target.join("d")).unwrap().is_symlink());
}

#[test]
fn attributes_of_the_overlay_file_system_are_refused() {
    let folder = Folder::new();
    for key in [&b"SCHILY.xattr.trusted.overlay.redirect"[..], b"SCHILY.xattr.user.overlay.whiteout"] {
        let name = String::from_utf8_lossy(key).into_owned();
        let (_, result) = Archive::default().pax(&[(key, b"/etc")]).directory("d").unpack(&folder, &name);
        assert!(matches!(&result, Err(Error::Unsupported { name, .. }) if name == "d"), "{result:?}");
    }
}

#[test]
fn a_tree_deeper_than_any_path_is_not_packed_and_can_be_removed() {
    let folder = Folder::new();
    // Each link leads 900 levels further down than the one before it.
    let deep = vec!["d"; 900].join("/");
    let mut archive = Archive::default();
    let mut at = String::new();
    for number in 0..6 {
        let path = format!("{at}{deep}");
        archive = archive.pax(&[(b"path", format!("{path}/x").as_bytes())]).file("x", b"");
        let target = if at.is_empty() { deep.clone() } else { path };
        archive = archive.pax(&[(b"linkpath", target.as_bytes())]).symlink(&format!("l{number}"), "x");
        at = format!("l{number}/");
    }
    let (target, result) = archive.unpack(&folder, "target");
    result.unwrap();
    let result = ardock_layer::import_directory(&target, &folder.make("copy"), &[], &|| false);
    assert!(
        matches!(&result, Err(Error::Step { errno, .. }) if *errno == rustix::io::Errno::NAMETOOLONG),
        "{result:?}"
    );
    ardock_layer::remove_tree(&target).unwrap();
    assert!(!target.exists());
}

#[test]
fn removing_follows_no_link() {
    let by = Bystander::new();
    let tree = by.folder.make("tree");
    symlink(by.folder.path().join("etc"), tree.join("etc")).unwrap();
    fs::create_dir(tree.join(".ardock-removing-1")).unwrap();
    ardock_layer::remove_tree(&tree).unwrap();
    assert!(!tree.exists());
    by.check();
    symlink(by.folder.path().join("etc"), &tree).unwrap();
    ardock_layer::remove_tree(&tree).unwrap();
    by.check();
    ardock_layer::remove_tree(&tree).unwrap();
}

#[test]
fn archives_that_claim_what_is_not_there_cost_nothing() {
    let folder = Folder::new();
    // An extended header, and a name, of 8 GiB.
    for flag in [b'x', b'g', b'L', b'K'] {
        let archive = Archive::default()
            .raw(b"x", flag, b"", b"", |block| block[124..136].copy_from_slice(b"77777777777\0"))
            .end();
        let target = folder.make(&format!("{flag}"));
        assert!(matches!(unpack(&archive, &target, 512), Err(Error::Damaged { offset: 0, .. })));
    }
    // A file of 8 EiB that is not there.
    let archive = Archive::default().raw(b"big", b'0', b"", b"", |block| {
        block[124..136].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\0\0");
    });
    let (_, result) = archive.unpack(&folder, "big");
    assert!(matches!(result, Err(Error::Bomb { .. })), "{result:?}");
}
