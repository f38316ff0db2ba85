//! The root file system: layers, scratch, what is hidden and what is fixed.
#[allow(missing_docs)]
mod common;

use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::time::Duration;

use ardock_launch::*;
use common::look::home_mounts;
use common::*;

#[test]
fn a_read_only_root_takes_no_write_and_what_is_mounted_on_it_does() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        for scratch in [Scratch::Memory { size: 0 }, Scratch::None] {
            let mut spec = bench.shell("touch /x; echo $?; touch /dev/shm/x; echo $?; touch /etc/hosts; echo $?");
            spec.root.readonly = true;
            spec.root.scratch = scratch;
            let ended = bench.run(&spec);
            assert_eq!(ended.lines(), ["1", "0", "0"], "{ended:?}");
            assert!(ended.stderr.contains("Read-only file system"), "{ended:?}");
        }
        assert!(!std::path::Path::new("/store/rootfs/x").exists());
    });
}

#[test]
fn the_topmost_layer_wins_and_the_lower_ones_stay_as_they_are() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|folder, _| {
            let layer = |name: &str| {
                let path = folder.join(name);
                std::fs::create_dir(&path).unwrap();
                std::fs::write(path.join("who"), name).unwrap();
                std::fs::write(path.join(name), "").unwrap();
                host::open_root(&path).unwrap()
            };
            vec![layer("top"), layer("middle")]
        });
        let mut spec = bench.shell("cat /who; ls -d /top /middle; rm /who; echo new > /middle");
        spec.root.layers = vec![Source::Fd(0), Source::Fd(1), Source::Path("/roots/1".into())];
        let ended = bench.run(&spec);
        assert_eq!(ended.stdout, "top/middle\n/top\n", "{ended:?}");
        assert_eq!(std::fs::read_to_string("/store/top/who").unwrap(), "top");
        assert_eq!(std::fs::read_to_string("/store/middle/middle").unwrap(), "");
    });
}

#[test]
fn scratch_in_memory_has_its_size_and_leaves_the_layer_alone() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("dd if=/dev/zero of=/big bs=64k; stat -c %s /big");
        spec.root.scratch = Scratch::Memory { size: 8 << 20 };
        let ended = bench.run(&spec);
        assert!(ended.stderr.contains("No space left on device"), "{ended:?}");
        let size: u64 = ended.stdout.trim().parse().unwrap();
        assert!((7 << 20..=8 << 20).contains(&size), "{size} bytes fit into 8 MB");
        assert!(!std::path::Path::new("/store/rootfs/big").exists());
    });
}

#[test]
fn scratch_on_disk_holds_the_writes_and_goes_with_the_container() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        std::fs::create_dir("/store/scratch").unwrap();
        for volatile in [false, true] {
            let mut spec = bench.shell("echo data > /made; rm /etc/group; echo up; read line; exit 0");
            spec.stdio.stdin = Stream::PIPE;
            spec.root.scratch = Scratch::Disk { dir: "/store/scratch/one".into(), volatile, keep: false };
            let mut running = bench.start(&spec);
            assert_eq!(running.line(), "up");
            assert_eq!(std::fs::read_to_string("/store/scratch/one/u/made").unwrap(), "data\n");
            let table = std::fs::read_to_string(format!("/proc/{}/mounts", running.launched.pid)).unwrap();
            assert_eq!(table.lines().next().unwrap().contains("volatile"), volatile, "{table}");
            assert_eq!(running.finish().code, 0);
            assert_eq!(std::fs::read_dir("/store/scratch").unwrap().count(), 0, "the scratch folder is left");
            assert!(std::path::Path::new("/store/rootfs/etc/group").exists());
        }
    });
}

#[test]
fn a_scratch_folder_that_exists_is_refused_and_not_touched() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        std::fs::create_dir_all("/store/other/u").unwrap();
        std::fs::write("/store/other/u/precious", "x").unwrap();
        let mut spec = bench.spec(&["true"]);
        spec.root.scratch = Scratch::Disk { dir: "/store/other".into(), volatile: false, keep: false };
        let error = bench.refused(&spec);
        assert!(error.step == Step::Scratch && error.errno == libc::EEXIST, "{error}");
        assert!(std::path::Path::new("/store/other/u/precious").exists(), "another container's files were removed");
    });
}

#[test]
fn a_scratch_folder_that_is_kept_is_there_again_at_the_next_launch() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("cat /made /etc/group 2>&1; echo data > /made; rm -f /etc/group");
        // Neither the folder nor the one that it lies in is there.
        let dir = "/store/containers/one";
        spec.root.scratch = Scratch::Disk { dir: dir.into(), volatile: true, keep: true };
        let first = bench.run(&spec);
        assert!(first.stdout.contains("open '/made'") && first.stdout.contains("root:x:0:"), "{first:?}");
        assert_eq!(std::fs::read_to_string(format!("{dir}/u/made")).unwrap(), "data\n");
        let second = bench.run(&spec);
        assert!(second.stdout.starts_with("data\n") && second.stdout.contains("open '/etc/group'"), "{second:?}");
        // A launch that fails removes nothing either.
        spec.process.argv = vec![b"/no-such-program".to_vec().into()];
        bench.refused(&spec);
        assert_eq!(std::fs::read_to_string(format!("{dir}/u/made")).unwrap(), "data\n");
        let mut spec = bench.shell("cat /proc/mounts");
        spec.root.scratch = Scratch::Disk { dir: dir.into(), volatile: true, keep: true };
        let mounts = bench.run(&spec).stdout;
        assert!(mounts.contains(dir) && !mounts.contains("volatile"), "{mounts}");
        // A file in its place is told by its path.
        std::fs::write("/store/containers/two", "").unwrap();
        spec.root.scratch = Scratch::Disk { dir: "/store/containers/two".into(), volatile: false, keep: true };
        let error = bench.refused(&spec);
        assert!(error.step == Step::Scratch && error.errno == libc::ENOTDIR, "{error}");
    });
}

#[test]
fn without_scratch_writes_go_into_the_directory_itself() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let mut spec = bench.shell("echo kept > /kept");
        spec.root.scratch = Scratch::None;
        assert_eq!(bench.run(&spec).code, 0);
        assert_eq!(std::fs::read_to_string("/store/rootfs/kept").unwrap(), "kept\n");
    });
}

#[test]
fn a_root_handed_over_once_serves_many_launches_until_it_is_let_go() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|_, rootfs| vec![host::open_root(rootfs).unwrap()]);
        let before = home_mounts().len();
        bench.home.add_root(7, bench.fds[0].as_fd()).unwrap();
        let mut spec = bench.spec(&["cat", "/etc/passwd"]);
        spec.root.layers = vec![Source::Path("/roots/7".into())];
        for scratch in [Scratch::Memory { size: 0 }, Scratch::None, Scratch::Memory { size: 0 }] {
            spec.root.scratch = scratch;
            assert!(bench.run(&spec).stdout.starts_with("root:"));
        }
        let mut lasting = spec.clone();
        lasting.process.argv = words(&["sh", "-c", "read line; cat /etc/passwd"]);
        lasting.stdio.stdin = Stream::PIPE;
        let running = bench.start(&lasting);
        bench.home.remove_root(7).unwrap();
        assert_eq!(home_mounts().len(), before);
        running.tell("go");
        assert!(running.finish().stdout.starts_with("root:"), "a running container lost its root");
        let error = bench.refused(&spec);
        assert!(error.step == Step::Root && error.errno == libc::ENOENT, "{error}");
        assert!(bench.home.remove_root(7).is_err());
    });
}

#[test]
fn a_layers_path_may_hold_the_characters_that_overlay_splits_at() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|folder, _| {
            for name in ["a:b", "a,b", "a\\b", "a\\,:b", "upperdir=x,c"] {
                std::fs::create_dir(folder.join(name)).unwrap();
                std::fs::write(folder.join(name).join("who"), name).unwrap();
            }
            vec![]
        });
        for name in ["a:b", "a,b", "a\\b", "a\\,:b", "upperdir=x,c"] {
            let mut spec = bench.spec(&["cat", "/who"]);
            spec.root.layers = vec![Source::Path(format!("/store/{name}")), Source::Path("/roots/1".into())];
            let ended = bench.run(&spec);
            assert_eq!(ended.stdout, name, "{ended:?}");
        }
    });
}

/// With what the kernel has, and on one that has nothing of it.
fn kernels() -> [Features; 2] {
    let all = Feature::ALL.iter().filter(|feature| **feature != Feature::Overlay);
    [Features::default(), all.fold(Features::default(), |all, feature| all.with(*feature))]
}

/// `count` folders beneath `folder`, named by `name`, each with a file of its
/// number and with its number in `who`.
fn layers(folder: &std::path::Path, count: usize, name: impl Fn(usize) -> String) -> Vec<String> {
    let make = |number: usize| {
        let name = name(number);
        let path = folder.join(&name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join(format!("n{number}")), "").unwrap();
        std::fs::write(path.join("who"), number.to_string()).unwrap();
        name
    };
    (0..count).map(make).collect()
}

/// Runs on `paths` and the usual root below them; each must be seen.
fn run_on_layers(bench: &Bench, paths: &[String], scratch: Scratch) {
    let mut spec =
        bench.shell("cat /who; echo; ls / | grep -c '^n[0-9]'; touch /made; grep ' / overlay' /proc/mounts | wc -l");
    spec.root.layers = paths.iter().map(|path| Source::Path(path.clone())).collect();
    spec.root.layers.push(Source::Path("/roots/1".into()));
    spec.root.scratch = scratch;
    let ended = bench.run(&spec);
    assert_eq!(ended.lines(), ["0", paths.len().to_string().as_str(), "1"], "{} layers: {ended:?}", paths.len());
}

#[test]
fn as_many_layers_as_overlay_takes_are_all_seen_on_every_kernel() {
    for absent in kernels() {
        needs_root!();
        alone_for(Duration::from_secs(300), move || {
            let bench = Bench::without(absent, |folder, _| {
                layers(folder, 499, |number| format!("layer-{number:03}"));
                std::fs::create_dir(folder.join("scratch")).unwrap();
                vec![]
            });
            let all: Vec<String> = (0..499).map(|number| format!("/store/layer-{number:03}")).collect();
            for count in [126, 499] {
                run_on_layers(&bench, &all[..count], Scratch::Memory { size: 0 });
                for volatile in [false, true] {
                    let scratch = Scratch::Disk { dir: "/store/scratch/one".into(), volatile, keep: false };
                    run_on_layers(&bench, &all[..count], scratch);
                }
            }
            let mut spec = bench.spec(&["true"]);
            spec.root.layers = all.iter().chain(&all[..2]).map(|path| Source::Path(path.clone())).collect();
            let error = bench.refused(&spec);
            assert!(error.step == Step::Root, "{error}");
            assert!(error.to_string().contains("501 layers, and overlay takes 500"), "{error}");
        });
    }
}

#[test]
fn many_layers_may_have_long_paths_and_ones_that_overlay_would_split() {
    for absent in kernels() {
        needs_root!();
        alone(move || {
            let name = |number: usize, filler: &str| format!("{number},a:b\\c\\,:{}", filler.repeat(200));
            let bench = Bench::without(absent, |folder, _| {
                layers(folder, 130, |number| name(number, "x"));
                let deep = folder.join("y".repeat(200));
                std::fs::create_dir(&deep).unwrap();
                layers(&deep, 130, |number| name(number, "y"));
                vec![]
            });
            let short: Vec<String> = (0..130).map(|number| format!("/store/{}", name(number, "x"))).collect();
            run_on_layers(&bench, &short, Scratch::Memory { size: 0 });
            // Longer than one string of fsconfig's.
            let deep = "y".repeat(200);
            let long: Vec<String> = (0..130).map(|number| format!("/store/{deep}/{}", name(number, "y"))).collect();
            run_on_layers(&bench, &long, Scratch::Memory { size: 0 });
        });
    }
}

#[test]
fn many_layers_by_descriptor_are_mounted_on_every_kernel() {
    for absent in kernels() {
        needs_root!();
        alone(move || {
            let bench = Bench::without(absent, |folder, _| {
                let names = layers(folder, 400, |number| format!("layer-{number}"));
                names.iter().map(|name| host::open_root(&folder.join(name)).unwrap()).collect()
            });
            // What it was put together from is not in the container's table.
            let mut spec =
                bench.shell("cat /who; echo; ls / | grep -c '^n[0-9]'; grep -c ' /stage' /proc/self/mountinfo");
            spec.root.layers = (0..400).map(Source::Fd).collect();
            spec.root.layers.push(Source::Path("/roots/1".into()));
            assert_eq!(bench.run(&spec).lines(), ["0", "400", "0"]);
        });
    }
}

#[test]
fn mounts_are_as_they_should_be_without_what_newer_kernels_have() {
    needs_root!();
    let table = |absent| {
        let (tell, told) = std::sync::mpsc::channel();
        alone(move || {
            let bench = Bench::without(absent, |_, _| vec![]);
            let script = "awk '{ print $5, $6 }' /proc/self/mountinfo";
            tell.send(bench.run(&bench.shell(script)).stdout).unwrap();
        });
        told.recv().unwrap()
    };
    let [new, old] = kernels().map(table);
    assert!(new.contains("/proc/sys ro,") && new.contains("/dev/shm rw,nosuid,nodev,noexec"), "{new}");
    assert_eq!(new, old);
}

#[test]
fn wrong_roots_are_refused_in_words() {
    needs_root!();
    alone(|| {
        let folder = Folder::new();
        std::fs::write(folder.0.join("file"), "").unwrap();
        for (path, words) in [("file", "a root file system is a directory"), ("none", "the directory must exist")] {
            let error = host::open_root(&folder.0.join(path)).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
        let bench = Bench::new();
        let mut spec = bench.spec(&["true"]);
        spec.root.layers = vec![];
        assert!(bench.refused(&spec).to_string().contains("no directory was given"));
        spec.root.layers = vec![Source::Fd(9)];
        assert!(bench.refused(&spec).to_string().contains("descriptor number 9"));
        spec.root.layers = vec![Source::Path("roots/1".into())];
        assert!(bench.refused(&spec).to_string().contains("must be absolute"));
        spec.root.layers = vec![Source::Path("/roots/1".into()), Source::Path("/roots/1".into())];
        spec.root.scratch = Scratch::None;
        assert!(bench.refused(&spec).to_string().contains("several layers need scratch"));
    });
}

#[test]
fn a_proc_dev_or_sys_that_is_no_folder_is_refused() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|folder, _| {
            for name in ["proc", "dev", "sys"] {
                let (link, file) = (folder.join(format!("link-{name}")), folder.join(format!("file-{name}")));
                std::fs::create_dir(&link).unwrap();
                std::fs::create_dir(&file).unwrap();
                symlink("/tmp", link.join(name)).unwrap();
                std::fs::write(file.join(name), "").unwrap();
            }
            vec![]
        });
        for (name, step) in [("proc", Step::Proc), ("dev", Step::Dev), ("sys", Step::Sys)] {
            for what in ["link", "file"] {
                let mut spec = bench.spec(&["true"]);
                let layer = Source::Path(format!("/store/{what}-{name}"));
                spec.root.layers.insert(0, layer);
                let error = bench.refused(&spec);
                assert_eq!(error.step, step, "{what} {name}: {error}");
                assert!(error.to_string().contains("not a folder in the root"), "{error}");
            }
        }
    });
}

#[test]
fn missing_proc_dev_and_sys_are_made() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|_, rootfs| {
            for name in ["proc", "dev", "sys"] {
                std::fs::remove_dir(rootfs.join(name)).unwrap();
            }
            vec![]
        });
        assert_eq!(bench.output("ls -d /proc/1 /dev/null /sys/class"), "/dev/null\n/proc/1\n/sys/class\n");
    });
}

#[test]
fn masked_paths_are_empty_and_read_only_ones_take_no_write() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let ended = bench.run(&bench.shell(
            "for file in kcore keys timer_list; do [ ! -e /proc/$file ] || wc -c < /proc/$file; done | uniq; \
             ls /sys/firmware | wc -l; echo 1 > /proc/sys/kernel/panic; echo $?; \
             echo x > /proc/keys; echo $?; touch /sys/firmware/x; echo $?",
        ));
        assert_eq!(ended.lines(), ["0", "0", "1", "1", "1"], "{ended:?}");
        assert!(ended.stderr.contains("Read-only file system"), "{ended:?}");
        // With the rights of --privileged they stay as they are.
        let mut spec = bench.shell("mount -o remount,rw /sys/firmware; touch /sys/firmware/x; mount -o remount,rw,bind /proc/keys; echo x > /proc/keys");
        spec.process.capabilities = caps(DOCKER_CAPS | SYS_ADMIN);
        let ended = bench.run(&spec);
        assert_ne!(ended.code, 0, "what masks are made of was written to: {ended:?}");
        assert_eq!(std::fs::metadata("/empty/file").unwrap().len(), 0);
        assert_eq!(std::fs::read_dir("/empty/dir").unwrap().count(), 0);
        // Without them, what is hidden is there.
        let mut spec = bench.shell("wc -c < /proc/timer_list; test -w /proc/sys/kernel/panic && echo w");
        (spec.masked, spec.readonly) = (vec![], vec![]);
        let out = bench.run(&spec).stdout;
        assert!(!out.starts_with("0\n") && out.ends_with("w\n"), "{out}");
    });
}

/// openat2(2) beneath a root gives up (EAGAIN) on a `..` while something is renamed or mounted anywhere.
#[test]
fn a_link_upwards_is_followed_while_others_rename_and_mount() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|_, rootfs| {
            std::fs::create_dir(rootfs.join("secret")).unwrap();
            std::fs::create_dir_all(rootfs.join("a/b/c/d")).unwrap();
            symlink("../../../../a/b/../../a/b/c/../../../secret", rootfs.join("a/b/c/d/up")).unwrap();
            vec![]
        });
        let stop = std::sync::atomic::AtomicBool::new(false);
        let folder = std::env::temp_dir().join(format!("ardock-rename-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (one, other) = (folder.join("one"), folder.join("other"));
                std::fs::write(&one, "").unwrap();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::fs::rename(&one, &other).unwrap();
                    std::fs::rename(&other, &one).unwrap();
                }
            });
            let mut spec = bench.shell("true");
            spec.readonly.extend((0..40).map(|_| "/a/b/c/d/up".to_owned()));
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for _ in 0..20 {
                    assert_eq!(bench.run(&spec).code, 0);
                }
            }));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(ended.is_ok(), "a launch failed");
        });
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn a_mask_through_a_link_of_the_image_hides_what_lies_beneath_the_root() {
    needs_root!();
    alone(|| {
        let bench = Bench::prepare(|_, rootfs| {
            std::fs::create_dir(rootfs.join("secret")).unwrap();
            std::fs::write(rootfs.join("secret/file"), "hidden").unwrap();
            symlink("/secret", rootfs.join("absolute")).unwrap();
            symlink("../../../secret", rootfs.join("escaping")).unwrap();
            symlink("/nowhere", rootfs.join("dangling")).unwrap();
            vec![]
        });
        for link in ["/absolute", "/escaping", "/absolute/file", "/dangling", "/missing"] {
            let mut spec = bench.shell("cat /secret/file; ls /empty /stage; true");
            spec.masked.push(link.into());
            let ended = bench.run(&spec);
            let hidden = !["/dangling", "/missing"].contains(&link);
            assert_eq!(ended.stdout.is_empty(), hidden, "{link}: {ended:?}");
            let mut spec = bench.shell("echo x > /secret/file");
            spec.readonly.push(link.into());
            assert_eq!(bench.run(&spec).code != 0, hidden, "{link}");
        }
        // The host's own, outside of the root, has stayed as it was.
        assert_eq!(std::fs::read_to_string("/store/rootfs/secret/file").unwrap(), "hidden");
    });
}

#[test]
fn sysfs_and_cgroups_are_read_only_and_the_cgroups_its_own() {
    needs_root!();
    alone(|| {
        let bench = Bench::new();
        let (script, expected, mkdir) = match bench.home.cgroups().version() {
            1 => (
                "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max; mkdir memory/x; echo $?; \
                 echo 1 > memory/memory.limit_in_bytes; echo $?; mkdir x; echo $?; \
                 echo 1 > /sys/class/net/lo/mtu; echo $?; cat memory/tasks | head -n 1",
                ["67108864", "64", "1", "1", "1", "1", "1"],
                "mkdir /sys/fs/cgroup/memory/x && rmdir /sys/fs/cgroup/memory/x",
            ),
            _ => (
                "cd /sys/fs/cgroup; cat memory.max pids.max; mkdir x; echo $?; \
                 echo 1 > memory.max; echo $?; mkdir y; echo $?; \
                 echo 1 > /sys/class/net/lo/mtu; echo $?; cat cgroup.procs | head -n 1",
                ["67108864", "64", "1", "1", "1", "1", "1"],
                "mkdir /sys/fs/cgroup/x && rmdir /sys/fs/cgroup/x",
            ),
        };
        let ended = bench.run(&bench.shell(script));
        assert_eq!(ended.lines(), expected, "{ended:?}");
        assert_eq!(ended.stderr.matches("Read-only file system").count(), 4, "{ended:?}");
        let mut spec = bench.shell(&format!("{mkdir} && echo 1400 > /sys/class/net/lo/mtu"));
        spec.filesystems.writable = true;
        spec.process.capabilities = caps(DOCKER_CAPS | 1 << 12);
        let ended = bench.run(&spec);
        assert_eq!(ended.code, 0, "{ended:?}");
    });
}
