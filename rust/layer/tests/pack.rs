//! What is packed is what was there: the same bytes wherever it lies, and what
//! a layer has changed, as the overlay file system and whole trees tell it.

mod common;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use ardock_layer::{changes, copy_tree, import_directory, pack, Compression, Error, LayerSummary, Layout, Pack};
use common::{ingest, is_root, listing, Archive, Folder, Whiteouts};
use rustix::fs::{lsetxattr, XattrFlags};

fn packed(dirs: &[&Path], below: &[&Path], layout: Layout, compression: Compression) -> (Vec<u8>, LayerSummary) {
    let mut file = tempfile();
    let what = Pack { dirs, below, layout, subpath: "", hidden: &[], compression };
    let summary = pack(&what, Some(file.as_fd()), &|| false).unwrap();
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut file).unwrap();
    std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, summary.size);
    assert_eq!(pack(&what, None, &|| false).unwrap(), summary);
    (bytes, summary)
}

fn tempfile() -> fs::File {
    let path =
        std::env::temp_dir().join(format!("ardock-pack-{}-{:?}", std::process::id(), std::thread::current().id()));
    let file = fs::File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
    fs::remove_file(path).unwrap();
    file
}

fn tree(dir: &Path) -> (Vec<u8>, LayerSummary) {
    packed(&[dir], &[], Layout::Overlay, Compression::None)
}

fn told(dirs: &[&Path], below: &[&Path], layout: Layout) -> Vec<String> {
    let changes = changes(dirs, below, layout, &|| false).unwrap();
    changes.iter().map(|(change, path)| format!("{} {}", change.letter(), String::from_utf8_lossy(path))).collect()
}

/// Names of an archive's entries by the real tar.
fn names(archive: &[u8]) -> Vec<String> {
    let path =
        std::env::temp_dir().join(format!("ardock-names-{}-{:?}", std::process::id(), std::thread::current().id()));
    fs::write(&path, archive).unwrap();
    let output = Command::new("tar").arg("-tf").arg(&path).output().unwrap();
    fs::remove_file(path).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// A tree with something of everything.
fn odd(folder: &Folder, name: &str) -> PathBuf {
    let root = folder.make(name);
    fs::create_dir_all(root.join("d/e")).unwrap();
    fs::write(root.join("d/e/file"), "content").unwrap();
    fs::hard_link(root.join("d/e/file"), root.join("a-link")).unwrap();
    symlink("anywhere", root.join("l")).unwrap();
    fs::write(root.join("n".repeat(200)), vec![7; 700_000]).unwrap();
    fs::write(root.join("ümlaut"), "").unwrap();
    fs::set_permissions(root.join("ümlaut"), fs::Permissions::from_mode(0o6711)).unwrap();
    lsetxattr(root.join("d"), "user.key", b"value\n", XattrFlags::empty()).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"middle", 1 << 20).unwrap();
    std::os::unix::fs::lchown(root.join("l"), Some(3_000_000), Some(7)).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
    assert!(Command::new("mknod").arg(root.join("null")).args(["c", "1", "3"]).status().unwrap().success());
    root
}

#[test]
fn a_tree_that_is_packed_and_unpacked_is_packed_to_the_same_bytes() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let root = odd(&folder, "root");
    let (bytes, summary) = tree(&root);
    assert_eq!(summary.files, 10);
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let (archive, known) = packed(&[&root], &[], Layout::Overlay, compression);
        assert_eq!(known.diff_id, summary.diff_id);
        let target = folder.make(&format!("{compression:?}"));
        let read = ingest(&archive, &target, Whiteouts::Overlay).unwrap();
        assert_eq!((read.digest, read.diff_id, read.media), (known.digest, known.diff_id, known.media));
        let mut expected = listing(&root);
        // The root itself is as docker has it: without an entry.
        expected.remove(&b""[..]);
        let mut found = listing(&target);
        found.remove(&b""[..]);
        assert_eq!(found, expected);
        assert_eq!(tree(&target).0, bytes);
    }
    // The real tar takes it, too.
    let target = folder.make("tar");
    fs::write(folder.path().join("archive"), &bytes).unwrap();
    let status = Command::new("tar")
        .arg("-C")
        .arg(&target)
        .args(["--xattrs", "--xattrs-include=*", "-xf"])
        .arg(folder.path().join("archive"))
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(tree(&target).0, bytes);
}

#[test]
fn compressed_bytes_are_the_same_each_time_and_the_real_programs_read_them() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let root = odd(&folder, "root");
    let text: Vec<u8> =
        (0..500_000u32).flat_map(|it| it.wrapping_mul(2_654_435_761).to_string().into_bytes()).collect();
    fs::write(root.join("text"), &text[..3_000_000]).unwrap();
    let (plain, _) = tree(&root);
    for (compression, program) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
        let (bytes, _) = packed(&[&root], &[], Layout::Overlay, compression);
        assert_eq!(packed(&[&root], &[], Layout::Overlay, compression).0, bytes);
        let path = folder.path().join(program);
        fs::write(&path, &bytes).unwrap();
        let output = Command::new(program).arg("-dc").stdin(fs::File::open(&path).unwrap()).output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == plain);
        let unpacked = folder.path().join(format!("{program}.tar"));
        assert_eq!(ardock_layer::decompress_file(&path, &unpacked, &|| false).unwrap(), plain.len() as u64);
        assert!(fs::read(unpacked).unwrap() == plain);
    }
}

#[test]
fn an_imported_directory_is_named_as_it_is_packed_later() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let root = odd(&folder, "root");
    fs::set_permissions(&root, fs::Permissions::from_mode(0o750)).unwrap();
    fs::hard_link(root.join("sparse"), folder.path().join("outside")).unwrap();
    let target = folder.make("target");
    let imported = import_directory(&root, &target, &[], &|| false).unwrap();
    let (bytes, summary) = tree(&target);
    assert_eq!(imported, summary);
    assert_eq!(packed(&[&root], &[], Layout::Tree, Compression::None).0, bytes);
    let (mut expected, found) = (listing(&root), listing(&target));
    // Its other name is none of the tree's.
    expected.insert(b"sparse".to_vec(), found[&b"sparse"[..]].clone());
    assert_eq!(found, expected);
    assert!(fs::metadata(target.join("sparse")).unwrap().blocks() < 100);
    assert_eq!(names(&bytes)[0], "./");
}

/// A mounted overlay, for as long as it lives.
struct Overlay(PathBuf);

impl Overlay {
    fn new(folder: &Folder, lower: &[&Path], upper: &Path) -> Self {
        let (work, merged) = (folder.make("work"), folder.make("merged"));
        let lower: Vec<&str> = lower.iter().map(|it| it.to_str().unwrap()).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            upper.to_str().unwrap(),
            work.to_str().unwrap()
        );
        let status =
            Command::new("mount").args(["-t", "overlay", "ardock-test", "-o", &options]).arg(&merged).status().unwrap();
        assert!(status.success());
        Self(merged)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().unwrap();
    }
}

/// Changes of all kinds to a tree.
fn change(root: &Path) {
    fs::write(root.join("added"), "x").unwrap();
    fs::create_dir_all(root.join("new/inner")).unwrap();
    fs::write(root.join("new/inner/file"), "x").unwrap();
    fs::write(root.join("changed"), "another").unwrap();
    fs::remove_file(root.join("removed")).unwrap();
    fs::remove_dir_all(root.join("gone")).unwrap();
    // A directory that is another one of the same name now.
    fs::remove_dir_all(root.join("again")).unwrap();
    fs::create_dir(root.join("again")).unwrap();
    fs::write(root.join("again/kept"), "new").unwrap();
    fs::create_dir(root.join("again/sub")).unwrap();
    fs::write(root.join("again/sub/new"), "new").unwrap();
    // Something else of the same name.
    fs::remove_dir_all(root.join("becomes-file")).unwrap();
    fs::write(root.join("becomes-file"), "x").unwrap();
    fs::remove_file(root.join("becomes-directory")).unwrap();
    fs::create_dir(root.join("becomes-directory")).unwrap();
    fs::set_permissions(root.join("mode"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(root.join("deep/a/b/c"), "changed").unwrap();
}

fn base(folder: &Folder) -> PathBuf {
    let root = folder.make("base");
    for dir in ["gone/x", "again/sub", "becomes-file", "mode", "deep/a/b", "same/inner"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for file in [
        "changed",
        "removed",
        "gone/x/y",
        "again/old",
        "again/kept",
        "again/sub/old",
        "becomes-file/x",
        "becomes-directory",
        "deep/a/b/c",
        "deep/a/other",
        "same/inner/file",
        "same/file",
    ] {
        fs::write(root.join(file), file).unwrap();
    }
    root
}

const CHANGES: [&str; 20] = [
    "A /added",
    "C /again",
    "C /again/kept",
    "D /again/old",
    "C /again/sub",
    "A /again/sub/new",
    "D /again/sub/old",
    "C /becomes-directory",
    "C /becomes-file",
    "C /changed",
    "C /deep",
    "C /deep/a",
    "C /deep/a/b",
    "C /deep/a/b/c",
    "D /gone",
    "C /mode",
    "A /new",
    "A /new/inner",
    "A /new/inner/file",
    "D /removed",
];

fn expected() -> Vec<String> {
    let mut changes: Vec<String> = CHANGES.iter().map(|it| (*it).to_owned()).collect();
    changes.sort_by(|one, other| one[2..].cmp(&other[2..]));
    changes
}

#[test]
fn an_overlays_upper_directory_is_packed_as_what_it_changes() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let (base, upper, empty) = (base(&folder), folder.make("upper"), folder.make("empty"));
    let overlay = Overlay::new(&folder, &[&empty, &base], &upper);
    change(&overlay.0);
    let dirs: [&Path; 3] = [&upper, &empty, &base];
    assert_eq!(told(&dirs[..1], &dirs[1..], Layout::Overlay), expected());
    let (archive, _) = packed(&dirs[..1], &dirs[1..], Layout::Overlay, Compression::None);
    let names = names(&archive);
    for name in [".wh.removed", ".wh.gone", "again/.wh..wh..opq", "becomes-directory/", "becomes-file"] {
        assert_eq!(names.iter().filter(|it| *it == name).count(), 1, "{name} in {names:?}");
    }
    assert_eq!(names.iter().filter(|it| it.contains(".wh.")).count(), 3, "{names:?}");
    // Merged, it is what is mounted.
    let merged = packed(&dirs, &[], Layout::Overlay, Compression::None).0;
    assert_eq!(merged, packed(&[&overlay.0], &[], Layout::Tree, Compression::None).0);
    // Unpacked onto a copy of what is below, and as a layer above it, it is that again.
    let whole = folder.make("whole");
    import_directory(&base, &whole, &[], &|| false).unwrap();
    ingest(&archive, &whole, Whiteouts::Apply).unwrap();
    assert_eq!(tree(&whole).0, merged);
    let layer = folder.make("layer");
    ingest(&archive, &layer, Whiteouts::Overlay).unwrap();
    assert_eq!(packed(&[&layer, &base], &[], Layout::Overlay, Compression::None).0, merged);
    assert_eq!(packed(&[&layer], &[&base], Layout::Overlay, Compression::None).0, archive);
}

#[test]
fn a_whole_tree_is_packed_as_what_differs() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let (base, whole) = (base(&folder), folder.make("whole"));
    copy_tree(&[&base], "", &whole, Layout::Tree, &|| false).unwrap();
    assert_eq!(told(&[&whole], &[&base], Layout::Tree), Vec::<String>::new());
    change(&whole);
    assert_eq!(told(&[&whole], &[&base], Layout::Tree), expected());
    let (archive, _) = packed(&[&whole], &[&base], Layout::Tree, Compression::None);
    let again = folder.make("again");
    copy_tree(&[&base], "", &again, Layout::Tree, &|| false).unwrap();
    ingest(&archive, &again, Whiteouts::Apply).unwrap();
    assert_eq!(tree(&again).0, tree(&whole).0);
}

#[test]
fn aufs_branches_are_told_by_their_files() {
    let folder = Folder::new();
    let (lower, upper) = (folder.make("lower"), folder.make("upper"));
    for dir in ["d", "o"] {
        fs::create_dir(lower.join(dir)).unwrap();
        fs::create_dir(upper.join(dir)).unwrap();
        fs::write(lower.join(dir).join("x"), "").unwrap();
    }
    fs::write(upper.join("d/.wh.x"), "").unwrap();
    fs::write(upper.join("o/.wh..wh..opq"), "").unwrap();
    fs::write(upper.join("o/y"), "").unwrap();
    fs::create_dir(upper.join(".wh..wh.plnk")).unwrap();
    assert_eq!(told(&[&upper], &[&lower], Layout::Aufs), ["C /d", "D /d/x", "C /o", "D /o/x", "A /o/y"]);
    let (archive, _) = packed(&[&upper], &[&lower], Layout::Aufs, Compression::None);
    assert_eq!(names(&archive), ["d/", "d/.wh.x", "o/", "o/.wh..wh..opq", "o/y"]);
    let merged = packed(&[&upper, &lower], &[], Layout::Aufs, Compression::None).0;
    assert_eq!(names(&merged), ["d/", "o/", "o/y"]);
}

#[test]
fn a_part_of_a_tree_is_copied_through_links_and_stays_within() {
    let folder = Folder::new();
    let (lower, upper, target) = (folder.make("lower"), folder.make("upper"), folder.make("target"));
    fs::create_dir_all(lower.join("run/data")).unwrap();
    fs::write(lower.join("run/data/low"), "l").unwrap();
    fs::create_dir_all(upper.join("run/data")).unwrap();
    fs::write(upper.join("run/data/up"), "up").unwrap();
    fs::set_permissions(upper.join("run/data"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::create_dir(lower.join("var")).unwrap();
    symlink("../../../run", lower.join("var/run")).unwrap();
    let dirs: [&Path; 2] = [&upper, &lower];
    assert_eq!(copy_tree(&dirs, "/var/run/data", &target, Layout::Overlay, &|| false), Ok((3, 2)));
    assert_eq!(fs::read(target.join("low")).unwrap(), b"l");
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(copy_tree(&dirs, "/nowhere", &target, Layout::Overlay, &|| false), Ok((0, 0)));
    let file = copy_tree(&dirs, "var/run/data/up", &target, Layout::Overlay, &|| false);
    assert!(matches!(file, Err(Error::Refused { why: "is no directory", .. })));
    let what = Pack {
        dirs: &dirs,
        below: &[],
        layout: Layout::Overlay,
        subpath: "run",
        hidden: &[],
        compression: Compression::None,
    };
    assert_eq!(pack(&what, None, &|| false).unwrap().files, 3);
    let hidden = [Path::new("/run/data/up")];
    assert_eq!(pack(&Pack { hidden: &hidden, ..what }, None, &|| false).unwrap().files, 2);
}

#[test]
fn what_a_layer_cannot_hold_is_refused_by_name() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let root = folder.make("root");
    fs::write(root.join(".wh.name"), "").unwrap();
    let what = |dir: &Path| {
        let dirs = [dir];
        let what = Pack {
            dirs: &dirs,
            below: &[],
            layout: Layout::Overlay,
            subpath: "",
            hidden: &[],
            compression: Compression::None,
        };
        pack(&what, None, &|| false).unwrap_err().to_string()
    };
    assert!(what(&root).contains("\".wh.name\" has a name that means"));
    let moved = folder.make("moved");
    fs::create_dir(moved.join("d")).unwrap();
    lsetxattr(moved.join("d"), "trusted.overlay.redirect", b"/x", XattrFlags::empty()).unwrap();
    assert!(what(&moved).contains("\"d\" has an extended attribute of the overlay file system's own"));
    let device = folder.make("device");
    assert!(Command::new("mknod").arg(device.join("w")).args(["c", "0", "0"]).status().unwrap().success());
    let imported = import_directory(&device, &folder.make("target"), &[], &|| false).unwrap_err();
    assert!(imported.to_string().contains("character device 0/0"));
    let deep = Archive::default().file("a", b"x").end();
    assert_eq!(ingest(&deep, &folder.make("ok"), Whiteouts::Overlay).unwrap().files, 1);
}
