//! Layers as they come: compressed in every way that is about, whole and cut
//! off, with all that an archive may hold.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ardock_layer::{Error, Ingest, LayerSummary, Limits, Media, Plan};
use common::{ingest, is_root, listing, plan, Archive, Folder, Whiteouts};
use rustix::fs::{lgetxattr, lsetxattr, XattrFlags};
use rustix::io::Errno;

/// What a program makes of `data`.
fn through(data: &[u8], program: &str, arguments: &[&str]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let data = data.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&data));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn run(plan: Plan, data: &[u8], size: usize) -> Result<LayerSummary, Error> {
    let ingest = Ingest::new(plan)?;
    for piece in data.chunks(size) {
        ingest.feed(piece)?;
    }
    ingest.finish(&|| false)
}

fn noise(count: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut step = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u8
    };
    (0..count).map(|_| step()).collect()
}

#[test]
fn every_way_of_gzip_and_zstd_gives_the_same_content() {
    let folder = Folder::new();
    let archive = Archive::default().file("a", &noise(700_000)).file("b", &vec![7; 900_000]).file("c", b"x").end();
    let (front, back) = archive.split_at(300_001);
    let plain = run(plan(&folder.make("plain"), Whiteouts::Overlay), &archive, usize::MAX).unwrap();
    assert_eq!((plain.media, &plain.digest, plain.size), (Media::Plain, &plain.diff_id, archive.len() as u64));
    let gzip = |data: &[u8], how: &[&str]| through(data, "gzip", &[&["-c"], how].concat());
    let zstd = |data: &[u8], how: &[&str]| through(data, "zstd", &[&["-qc"], how].concat());
    let skippable =
        |count: usize| [&[0x53, 0x2a, 0x4d, 0x18][..], &(count as u32).to_le_bytes(), &vec![9; count]].concat();
    let named = {
        // With a name, a comment, a checksum of the header and an extra field.
        let member = gzip(&archive, &["-6", "-n"]);
        let mut named = member[..10].to_vec();
        named[3] = 2 | 4 | 8 | 16;
        named.extend_from_slice(b"\x04\0abcdname\0comment\0");
        let mut crc = flate2::Crc::new();
        crc.update(&named);
        named.extend_from_slice(&(crc.sum() as u16).to_le_bytes());
        named.extend_from_slice(&member[10..]);
        named
    };
    let cases: Vec<(&str, Media, Vec<u8>)> = vec![
        ("gzip1", Media::Gzip, gzip(&archive, &["-1"])),
        ("gzip9", Media::Gzip, gzip(&archive, &["-9"])),
        ("pigz", Media::Gzip, through(&archive, "pigz", &["-c", "-b128", "-p4"])),
        ("pigz-zero", Media::Gzip, through(&archive, "pigz", &["-c", "-0"])),
        ("named", Media::Gzip, named),
        ("members", Media::Gzip, [gzip(front, &["-1"]), gzip(b"", &[]), gzip(back, &["-9"])].concat()),
        ("padded", Media::Gzip, [gzip(&archive, &[]), vec![0; 2000]].concat()),
        ("zstd1", Media::Zstd, zstd(&archive, &["-1"])),
        ("zstd19", Media::Zstd, zstd(&archive, &["-19", "--no-check"])),
        ("zstd-long", Media::Zstd, zstd(&archive, &["--long=27"])),
        ("frames", Media::Zstd, [zstd(front, &["-1"]), zstd(b"", &[]), zstd(back, &["-9"])].concat()),
        (
            "skippable",
            Media::Zstd,
            [skippable(5), zstd(front, &[]), skippable(300_000), skippable(0), zstd(back, &[]), skippable(1)].concat(),
        ),
    ];
    for (name, media, data) in cases {
        for size in [usize::MAX, 70_001, 997] {
            let target = folder.make(&format!("{name}{size}"));
            let summary =
                run(plan(&target, Whiteouts::Overlay), &data, size).unwrap_or_else(|it| panic!("{name}: {it}"));
            assert_eq!(
                (summary.media, &summary.diff_id, summary.diff_size),
                (media, &plain.diff_id, plain.size),
                "{name}"
            );
            assert_eq!((summary.size, summary.files), (data.len() as u64, 3));
            assert_eq!(fs::read(target.join("b")).unwrap(), vec![7; 900_000]);
        }
    }
}

#[test]
fn what_is_no_layer_is_told_by_name() {
    let folder = Folder::new();
    let archive = Archive::default().file("a", &noise(50_000)).end();
    let gzip = through(&archive, "gzip", &["-c"]);
    let zstd = through(&archive, "zstd", &["-qc"]);
    let damaged = |data: &[u8], at: usize| {
        let mut data = data.to_vec();
        data[at] ^= 0xff;
        data
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "it is no tar archive: it is empty"),
        (b"x".to_vec(), "it is no tar archive"),
        (vec![1; 5000], "it is no tar archive"),
        (through(b"", "gzip", &["-c"]), "it is no tar archive: it is empty"),
        (through(&[1; 5000], "gzip", &["-c"]), "it is no tar archive"),
        (through(&gzip, "gzip", &["-c"]), "it is no tar archive but compressed with gzip"),
        (
            through(&archive, "xz", &["-c"]),
            "it is compressed with xz, which is not taken: repack it: xz -dc FILE | gzip",
        ),
        (through(&archive, "bzip2", &["-c"]), "it is compressed with bzip2, which is not taken: repack it"),
        ([&gzip[..], b"rubbish"].concat(), "its gzip data is damaged"),
        ([&gzip[..], &[0, 0, 1]].concat(), "something follows the end of its gzip data"),
        ([&zstd[..], b"rubbish"].concat(), "its zstd data is damaged"),
        (damaged(&gzip, gzip.len() - 6), "its gzip data is damaged"),
        (damaged(&gzip, 9000), ""),
        (damaged(&zstd, zstd.len() - 2), "its zstd data is damaged"),
        (
            through(&noise(300_000_000 / 100).repeat(1), "zstd", &["-qc", "--ultra", "--long=28"]),
            "its zstd data needs a window of more than 128 MiB",
        ),
    ];
    for (number, (data, words)) in cases.into_iter().enumerate() {
        let result = ingest(&data, &folder.make(&number.to_string()), Whiteouts::Overlay);
        let text = result.expect_err(words).to_string();
        assert!(text.contains(words), "{text:?} is not about {words:?}");
    }
}

#[test]
fn cut_off_anywhere_is_told() {
    let folder = Folder::new();
    let archive = Archive::default().pax(&[(b"path", b"long")]).file("a", &noise(700)).directory("d").end();
    let target = folder.make("target");
    let strict = || Plan { strict: true, ..plan(&target, Whiteouts::Overlay) };
    for cut in 0..archive.len() - 1024 {
        let error = run(strict(), &archive[..cut], 300).expect_err(&cut.to_string());
        assert!(matches!(error, Error::Cut { .. } | Error::NoTar(_)), "{error}");
    }
    for (program, arguments) in [("gzip", ["-c"]), ("zstd", ["-qc"])] {
        let data = through(&archive, program, &arguments);
        for cut in 0..data.len() {
            let error = ingest(&data[..cut], &target, Whiteouts::Overlay).expect_err(&cut.to_string());
            assert!(matches!(error, Error::Compressed { .. } | Error::NoTar(_)), "{program} {cut}: {error}");
        }
        ingest(&data, &target, Whiteouts::Overlay).unwrap();
    }
    // Without an end mark, as some writers leave it: taken where a digest speaks for it, and where a gzip's does.
    let unmarked = &archive[..archive.len() - 1024];
    assert!(matches!(run(strict(), unmarked, 300), Err(Error::Cut { .. })));
    assert_eq!(ingest(unmarked, &target, Whiteouts::Overlay).unwrap().files, 2);
    let zipped = through(unmarked, "gzip", &["-c"]);
    assert_eq!(run(strict(), &zipped, 300).unwrap().files, 2);
    // What follows the end is hashed as well.
    let more = [&archive[..], &[0; 9000], b"anything"].concat();
    let summary = ingest(&through(&more, "gzip", &["-c"]), &target, Whiteouts::Overlay).unwrap();
    assert_eq!(summary.diff_size, more.len() as u64);
    assert_eq!(summary.diff_id, ingest(&more, &target, Whiteouts::Overlay).unwrap().digest);
}

#[test]
fn sparse_files_of_every_form_are_what_they_were() {
    let folder = Folder::new();
    let source = folder.make("source");
    for (name, size, pieces) in [
        ("hole", 5 << 20, vec![]),
        ("few", 3 << 20, vec![1 << 20]),
        ("begins", 3 << 20, vec![0, 2 << 20]),
        ("many", 8 << 20, (0..60).map(|it| it * 131_072).collect::<Vec<u64>>()),
        ("ends", (1 << 20) + 10, vec![1 << 20]),
    ] {
        let file = fs::File::create(source.join(name)).unwrap();
        file.set_len(size).unwrap();
        for at in pieces {
            std::os::unix::fs::FileExt::write_at(&file, &noise(10), at).unwrap();
        }
    }
    fs::write(source.join("zz-after"), "after").unwrap();
    for (number, form) in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ]
    .iter()
    .enumerate()
    {
        let output = Command::new("tar")
            .args(*form)
            .args(["--sparse", "--sort=name", "-C"])
            .arg(&source)
            .args(["-cf", "-", "."])
            .output()
            .unwrap();
        assert!(output.status.success());
        assert!(output.stdout.len() < 3 << 20, "{form:?}");
        for size in [usize::MAX, 511] {
            let target = folder.make(&format!("{number}-{size}"));
            let summary = run(plan(&target, Whiteouts::Overlay), &output.stdout, size).unwrap();
            assert_eq!(summary.content, (5 << 20) + (3 << 20) * 2 + (8 << 20) + (1 << 20) + 10 + 5);
            for entry in fs::read_dir(&source).unwrap() {
                let name = entry.unwrap().file_name();
                assert!(fs::read(source.join(&name)).unwrap() == fs::read(target.join(&name)).unwrap(), "{name:?}");
                let blocks = fs::metadata(target.join(&name)).unwrap().blocks();
                assert!(blocks <= fs::metadata(source.join(&name)).unwrap().blocks() + 8, "{name:?}: {blocks}");
            }
        }
        // Cut off within the map, and within the data.
        let strict = Plan { strict: true, ..plan(&folder.make(&format!("cut{number}")), Whiteouts::Overlay) };
        for cut in (1000..output.stdout.len() - 10_240).step_by(1777) {
            assert!(run(strict.clone(), &output.stdout[..cut], 4096).is_err());
        }
    }
}

#[test]
fn maps_of_sparse_files_that_lie_are_refused() {
    let folder = Folder::new();
    let sparse = |size: &str, map: &str, data: &[u8]| {
        let records: [(&[u8], &[u8]); 3] =
            [(b"GNU.sparse.size", size.as_bytes()), (b"GNU.sparse.map", map.as_bytes()), (b"GNU.sparse.name", b"f")];
        Archive::default().pax(&records).file("f", data).end()
    };
    let target = folder.make("target");
    for (size, map, data) in [
        ("10", "0,5,4,5", &[1; 10][..]),
        ("10", "0,5", &[1; 10]),
        ("10", "8,5", &[1; 5]),
        ("10", "0,5,6", &[1; 5]),
        ("10", "18446744073709551615,5", &[1; 5]),
        ("99999999999999999999", "0,5", &[1; 5]),
        ("9223372036854775808", "0,5", &[1; 5]),
        ("x", "0,5", &[1; 5]),
    ] {
        let error = ingest(&sparse(size, map, data), &target, Whiteouts::Overlay).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{size} {map}: {error}");
    }
    let huge = ingest(&sparse("4611686018427387904", "0,5", &[1; 5]), &target, Whiteouts::Overlay).unwrap_err();
    assert!(matches!(huge, Error::Bomb { .. }), "{huge}");
}

#[test]
fn bombs_and_devices_are_refused_where_that_is_asked() {
    let folder = Folder::new();
    let target = folder.make("target");
    let with = |limits: Limits| Plan { limits, ..plan(&target, Whiteouts::Overlay) };
    let zeros = through(&Archive::default().file("zeros", &vec![0; 80 << 20]).end(), "zstd", &["-qc"]);
    let ratio = run(with(Limits { ratio: 1000, ..Limits::default() }), &zeros, 1 << 20).unwrap_err();
    assert!(matches!(&ratio, Error::Bomb { limit: 1000, .. }), "{ratio}");
    let size = run(with(Limits { size: 1 << 20, ratio: u64::MAX, devices: true }), &zeros, 1 << 20).unwrap_err();
    assert!(matches!(&size, Error::Bomb { limit: 1_048_576, .. }), "{size}");
    // Many entries of nothing.
    let entries = (0..4000).fold(Archive::default(), |it, number| it.file(&number.to_string(), b"")).end();
    let many = run(with(Limits { size: 1 << 20, ..Limits::default() }), &entries, 1 << 16).unwrap_err();
    assert!(matches!(&many, Error::Bomb { .. }), "{many}");
    if is_root() {
        for flag in [b'3', b'4'] {
            let archive = Archive::default().device("null", flag, 1, 3).end();
            let forbidden = run(with(Limits { devices: false, ..Limits::default() }), &archive, 512).unwrap_err();
            assert!(matches!(&forbidden, Error::Forbidden { name, .. } if name == "null"), "{forbidden}");
            ingest(&archive, &target, Whiteouts::Overlay).unwrap();
        }
        let whiteout = ingest(&Archive::default().device("w", b'3', 0, 0).end(), &target, Whiteouts::Overlay);
        assert!(matches!(whiteout, Err(Error::Unsupported { .. })));
    }
}

#[test]
fn attributes_survive_and_come_last() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    // cap_net_raw+ep, version 2.
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    // user::rwx,user:7:rwx,group::r-x,mask::rwx,other::r-x
    let acl = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x07\0\x07\0\0\0\x04\0\x05\0\xff\xff\xff\xff\x10\0\x07\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff";
    let setgid = |it: &mut [u8]| {
        it[100..108].copy_from_slice(b"0002775\0");
        it[116..124].copy_from_slice(b"0000062\0");
    };
    let (target, result) = {
        let archive = Archive::default()
            .pax(&[(b"SCHILY.xattr.security.capability", capability), (b"uid", b"5"), (b"SCHILY.xattr.user.a", b"b")])
            .raw(b"ping", b'0', b"", &vec![1; 300_000], |it| it[100..108].copy_from_slice(b"0004755\0"))
            .raw(b"shared/", b'5', b"", b"", setgid)
            .file("shared/file", b"x")
            .directory("shared/dir")
            .symlink("shared/link", "x")
            .pax(&[(b"SCHILY.xattr.system.posix_acl_default", acl)])
            .directory("listed")
            .file("listed/file", b"x")
            .directory("listed/dir")
            .end();
        let target = folder.make("target");
        let result = ingest(&archive, &target, Whiteouts::Overlay);
        (target, result)
    };
    result.unwrap();
    let ping = fs::metadata(target.join("ping")).unwrap();
    assert_eq!((ping.mode() & 0o7777, ping.uid()), (0o4755, 5));
    let mut value = [0; 100];
    assert_eq!(lgetxattr(target.join("ping"), "security.capability", &mut value), Ok(20));
    assert_eq!(&value[..20], capability);
    for name in ["shared/file", "shared/dir", "shared/link"] {
        assert_eq!(fs::symlink_metadata(target.join(name)).unwrap().gid(), 0, "{name}");
    }
    assert_eq!(fs::metadata(target.join("shared/dir")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(target.join("shared")).unwrap().mode() & 0o7777, 0o2775);
    assert_eq!(lgetxattr(target.join("listed"), "system.posix_acl_default", &mut value), Ok(acl.len()));
    for name in ["listed/file", "listed/dir"] {
        for list in ["system.posix_acl_access", "system.posix_acl_default"] {
            assert_eq!(lgetxattr(target.join(name), list, &mut value), Err(Errno::NODATA), "{name} {list}");
        }
    }
}

#[test]
fn directories_keep_their_times_whatever_is_done_in_them() {
    let folder = Folder::new();
    let target = folder.make("target");
    let archive = Archive::default()
        .directory("d")
        .file("d/x", b"")
        .file("implied/y", b"")
        .directory("late/z")
        .directory("late")
        .file("d/x", b"again")
        .directory("d/e")
        .file("d/e", b"file now")
        .end();
    ingest(&archive, &target, Whiteouts::Overlay).unwrap();
    for (name, time) in [("d", 15), ("late", 15), ("late/z", 15), ("implied", 0), ("", 0)] {
        assert_eq!(fs::metadata(target.join(name)).unwrap().mtime(), time, "{name}");
    }
    // Onto what is there: what has no entry stays as it was.
    let set = |name: &str, s: i64| {
        let file = fs::File::open(target.join(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(s as u64)).unwrap();
    };
    for (name, s) in [("d", 1000), ("late", 2000), ("implied", 3000), ("", 4000)] {
        set(name, s);
    }
    fs::set_permissions(target.join("implied"), fs::Permissions::from_mode(0o700)).unwrap();
    let archive = Archive::default()
        .file("d/.wh.x", b"")
        .file("late/.wh.z", b"")
        .directory("late")
        .file("implied/more/inner", b"")
        .file("top", b"")
        .end();
    ingest(&archive, &target, Whiteouts::Apply).unwrap();
    for (name, time) in [("d", 1000), ("late", 15), ("implied", 3000), ("implied/more", 0), ("", 4000)] {
        assert_eq!(fs::metadata(target.join(name)).unwrap().mtime(), time, "{name}");
    }
    assert_eq!(fs::metadata(target.join("implied")).unwrap().mode() & 0o7777, 0o700);
    assert!(!target.join("d/x").exists() && !target.join("late/z").exists());
}

fn is_whiteout(path: &Path) -> bool {
    let stat = fs::symlink_metadata(path).unwrap();
    stat.file_type().is_char_device() && stat.rdev() == 0
}

fn is_opaque(path: &Path) -> bool {
    lgetxattr(path, "trusted.overlay.opaque", &mut [0u8; 1]) == Ok(1)
}

#[test]
fn whiteouts_become_the_overlays_and_hide_nothing_of_their_own_layer() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let target = folder.make("target");
    let archive = Archive::default()
        .file(".wh.gone", b"")
        .file("implied/.wh.x", b"")
        .file("before", b"kept")
        .file(".wh.before", b"")
        .file(".wh.after", b"")
        .file("after", b"kept")
        .directory("dir-before")
        .file(".wh.dir-before", b"")
        .file(".wh.dir-after", b"")
        .directory("dir-after")
        .file(".wh.way", b"")
        .file("way/to/file", b"")
        .directory("o")
        .file("o/kept", b"")
        .file("o/.wh..wh..opq", b"")
        .file("p/.wh..wh..opq", b"content is nobody's")
        .directory("flip")
        .file("flip", b"")
        .directory("flip")
        .directory(".wh..wh.aufs")
        .file(".wh..wh.plnk/1", b"linked")
        .hard_link("linked", ".wh..wh.plnk/1")
        .end();
    let summary = ingest(&archive, &target, Whiteouts::Overlay).unwrap();
    for name in ["gone", "implied/x"] {
        assert!(is_whiteout(&target.join(name)), "{name}");
    }
    for name in ["before", "after"] {
        assert_eq!(fs::read(target.join(name)).unwrap(), b"kept");
    }
    for name in ["dir-before", "dir-after", "way", "o", "p", "flip"] {
        assert!(is_opaque(&target.join(name)), "{name}");
    }
    assert!(
        !is_opaque(&target.join("implied")) && target.join("o/kept").exists() && target.join("way/to/file").exists()
    );
    let linked = fs::metadata(target.join("linked")).unwrap();
    assert_eq!((linked.len(), linked.nlink()), (6, 1));
    assert_eq!(
        fs::read_dir(&target)
            .unwrap()
            .filter(|it| it.as_ref().unwrap().file_name().to_string_lossy().starts_with(".wh"))
            .count(),
        0
    );
    assert_eq!(summary.files, 12);
    for name in [".wh.", ".wh..", ".wh...", "d/.wh."] {
        let refused = ingest(&Archive::default().file(name, b"").end(), &target, Whiteouts::Overlay);
        assert!(matches!(refused, Err(Error::Refused { .. })), "{name}: {refused:?}");
    }
    let leaving = ingest(&Archive::default().file("../.wh.x", b"").end(), &target, Whiteouts::Overlay);
    assert!(matches!(leaving, Err(Error::Leaves { .. })));
    // As aufs has them.
    let aufs = folder.make("aufs");
    ingest(&archive, &aufs, Whiteouts::Aufs).unwrap();
    assert!(
        aufs.join(".wh.gone").is_file() && aufs.join("o/.wh..wh..opq").is_file() && !aufs.join(".wh..wh.plnk").exists()
    );
}

#[test]
fn whiteouts_that_are_applied_delete_what_is_below_and_nothing_else() {
    let folder = Folder::new();
    let bystander = folder.make("bystander");
    fs::write(bystander.join("file"), "kept").unwrap();
    let target = folder.make("target");
    for name in ["gone/deep/x", "o/old/x", "o/mixed/old", "o/file", "own/x", "first", "other/x", "replaced/x"] {
        fs::create_dir_all(target.join(name).parent().unwrap()).unwrap();
        fs::write(target.join(name), "old").unwrap();
    }
    fs::hard_link(target.join("first"), target.join("second")).unwrap();
    std::os::unix::fs::symlink(&bystander, target.join("out")).unwrap();
    std::os::unix::fs::symlink("other", target.join("way")).unwrap();
    let archive = Archive::default()
        .file(".wh.gone", b"")
        .file("o/mixed/new", b"new")
        .file("o/own", b"new")
        .file("o/.wh..wh..opq", b"")
        .file("o/later", b"new")
        .file("own/x", b"new")
        .file("own/.wh.x", b"")
        .hard_link("third", "first")
        .file(".wh.first", b"")
        .file(".wh.out", b"")
        .file("out-of/.wh.nothing", b"")
        .file("way/new", b"new")
        .file("other/.wh.new", b"")
        .file("other/.wh.x", b"")
        .file(".wh.replaced", b"")
        .file("replaced", b"a file now")
        .end();
    ingest(&archive, &target, Whiteouts::Apply).unwrap();
    let found: Vec<String> =
        listing(&target).keys().map(|it| String::from_utf8(it.clone()).unwrap()).filter(|it| !it.is_empty()).collect();
    assert_eq!(
        found,
        [
            "o",
            "o/later",
            "o/mixed",
            "o/mixed/new",
            "o/own",
            "other",
            "other/new",
            "own",
            "own/x",
            "replaced",
            "second",
            "third",
            "way"
        ]
    );
    assert_eq!(fs::read(target.join("own/x")).unwrap(), b"new");
    assert_eq!(fs::read(bystander.join("file")).unwrap(), b"kept");
}

#[test]
fn a_directory_that_is_written_over_has_the_new_attributes_alone() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let target = folder.make("target");
    fs::create_dir(target.join("d")).unwrap();
    lsetxattr(target.join("d"), "user.old", b"x", XattrFlags::empty()).unwrap();
    lsetxattr(target.join("d"), "user.both", b"old", XattrFlags::empty()).unwrap();
    let archive = Archive::default().pax(&[(b"SCHILY.xattr.user.both", b"new")]).directory("d").end();
    ingest(&archive, &target, Whiteouts::Apply).unwrap();
    let mut value = [0; 9];
    assert_eq!(lgetxattr(target.join("d"), "user.old", &mut value), Err(Errno::NODATA));
    assert_eq!(lgetxattr(target.join("d"), "user.both", &mut value), Ok(3));
    assert_eq!(&value[..3], b"new");
}

#[test]
fn any_tree_of_this_machine_is_the_same_as_the_real_tar_makes_it() {
    if !is_root() {
        return;
    }
    let folder = Folder::new();
    let make = |form: &str, from: &str| {
        let output = Command::new("tar").arg(form).args(["--xattrs", "-C", from, "-cf", "-", "."]).output().unwrap();
        output.stdout
    };
    for form in ["--format=gnu", "--format=pax", "--format=ustar", "--format=v7"] {
        let archive = make(form, "/etc");
        let (ours, theirs): (PathBuf, PathBuf) =
            (folder.make(&format!("ours{form}")), folder.make(&format!("tar{form}")));
        ingest(&through(&archive, "gzip", &["-c"]), &ours, Whiteouts::Overlay).unwrap();
        let mut tar = Command::new("tar")
            .args(["--numeric-owner", "--xattrs", "-C"])
            .arg(&theirs)
            .args(["-xpf", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        assert!(tar.wait().unwrap().success());
        assert_eq!(listing(&ours), listing(&theirs), "{form}");
    }
}
